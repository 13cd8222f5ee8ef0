import struct

import numpy as np
import pytest

from eosin.core import SlideError
from eosin.slides.byte_sources import LocalFile
from eosin.slides.dicom_frames import (
    find_elements,
    find_frames,
    read_paths,
    read_positions,
    unwrap,
)

PIXELS = 0x7FE00010
GROUPS = 0x52009230
START = b"\xff\xd8"


def element(tag, kind, value, *, length=None):
    """Encode an element, explicit little endian, as PS3.5 section 7.1.2 says."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
    number = len(value) if length is None else length
    if kind in (b"OB", b"OV", b"SQ", b"UN"):
        return head + struct.pack("<HI", 0, number) + value
    return head + struct.pack("<H", number) + value


def item(value, *, length=None):
    number = len(value) if length is None else length
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", number) + value


END_OF_ITEM = b"\xfe\xff\x0d\xe0\0\0\0\0"
END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def pixels(*items, end=END):
    return element(PIXELS, b"OB", b"".join(items) + end, length=0xFFFFFFFF)


def frame(size, seed=0):
    return START + bytes(np.random.default_rng(seed).integers(0, 255, size - 2, "u1"))


@pytest.fixture
def make(tmp_path):
    """Make a source of bytes, with some before them as a header would be."""

    def make(*parts):
        path = tmp_path / "a.dcm"
        path.write_bytes(b"".join([b"header", *parts]))
        return LocalFile(path)

    return make


def read_all(source, n_frames, frame_bytes=None):
    elements = find_elements(source, 6)
    frames = find_frames(source, elements, n_frames, frame_bytes)
    found = []
    for offset, count in zip(frames.offsets, frames.byte_counts, strict=True):
        data = source.read(int(offset), int(count))
        found.append(unwrap(data) if frames.is_wrapped else data)
    return found


FRAMES = [frame(10), frame(4, 1), frame(30, 2)]
TABLE = struct.pack("<3I", 0, 18, 30)


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        b"",
        # Of another length, not growing, and not from 0 on: none of them is believed.
        TABLE[:8],
        struct.pack("<3I", 0, 30, 18),
        struct.pack("<3I", 4, 22, 34),
    ],
)
def test_frames_are_found_by_their_table_and_without_one(make, table):
    source = make(pixels(item(table), *map(item, FRAMES)))
    assert read_all(source, 3) == FRAMES


def test_frames_are_found_by_an_extended_table(make):
    # The first frame has 9 bytes, and one more to be even.
    tables = (
        element(0x7FE00001, b"OV", struct.pack("<3Q", 0, 18, 30)),
        element(0x7FE00002, b"OV", struct.pack("<3Q", 9, 4, 30)),
    )
    frames = [FRAMES[0][:9] + b"\0", *FRAMES[1:]]
    source = make(*tables, pixels(item(b""), *map(item, frames)))
    assert read_all(source, 3) == frames


@pytest.mark.parametrize(
    ("offsets", "lengths"),
    [
        ((0, 18, 1 << 40), (10, 4, 30)),
        ((0, 18, 1 << 63), (10, 4, 30)),
        ((0, 18, 30), (10, 0, 30)),
        ((0, 18), (10, 4)),
    ],
)
def test_an_extended_table_of_no_sense_is_none(make, offsets, lengths):
    tables = (
        element(0x7FE00001, b"OV", struct.pack(f"<{len(offsets)}Q", *offsets)),
        element(0x7FE00002, b"OV", struct.pack(f"<{len(lengths)}Q", *lengths)),
    )
    source = make(*tables, pixels(item(b""), *map(item, FRAMES)))
    assert read_all(source, 3) == FRAMES


@pytest.mark.parametrize("table", [True, False])
def test_a_frame_in_several_items_is_put_together(make, table):
    frames = [frame(40), frame(30, 1)]
    items = [item(frames[0][at : at + 16]) for at in (0, 16, 32)]
    items += [item(frames[1][at : at + 16]) for at in (0, 16)]
    offsets = struct.pack("<2I", 0, 40 + 3 * 8) if table else b""
    assert read_all(make(pixels(item(offsets), *items)), 2) == frames


def test_one_frame_may_begin_in_any_way(make):
    items = [item(b"abcd"), item(b"efgh")]
    assert read_all(make(pixels(item(b""), *items)), 1) == [b"abcdefgh"]


def test_frames_without_compression_lie_side_by_side(make):
    # 3 x 5 bytes, and one more to be even.
    data = bytes(range(15))
    source = make(element(PIXELS, b"OB", data + b"\0"))
    assert read_all(source, 3, 5) == [data[:5], data[5:10], data[10:]]


def test_a_file_cut_short_keeps_the_frames_it_has(make, tmp_path):
    for table in (TABLE, b""):
        whole = pixels(item(table), *map(item, FRAMES))
        # Cut within the third frame, and within its item's head.
        for left in (20, 42):
            source = make(whole[: len(whole) - left])
            frames = find_frames(source, find_elements(source, 6), 3, None)
            ends = frames.offsets + frames.byte_counts
            assert (ends > source.size).tolist() == [False, False, True]
            found = source.read(int(frames.offsets[1]), int(frames.byte_counts[1]))
            assert unwrap(found) == FRAMES[1]


def test_frames_from_before_a_damaged_item_on_are_lost(make):
    # What is damaged may be its head, or the length of the one before it.
    items = [item(each) for each in FRAMES]
    items[2] = b"\0\0\0\0" + items[2][4:]
    source = make(pixels(item(b""), *items))
    frames = find_frames(source, find_elements(source, 6), 3, None)
    ends = frames.offsets + frames.byte_counts
    assert (ends > source.size).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("parts", "n_frames", "frame_bytes", "message"),
    [
        ((pixels(item(b""), *map(item, FRAMES)),), 4, None, "4 frames .* holds 3"),
        ((pixels(item(b""), *map(item, FRAMES)),), 2, None, "2 frames .* holds 3"),
        (
            (pixels(item(b""), item(b"ab"), item(b"cd")),),
            3,
            None,
            "begin like an image",
        ),
        ((pixels(item(b"")),), 1, None, "there is none"),
        ((pixels(item(b""), item(b"ab"), end=b"abcdefgh"),), 1, None, "there is none"),
        ((pixels(item(b""), end=b"abcdefgh"),), 1, None, "there is none"),
        ((pixels(),), 1, None, "no offset table"),
        ((element(PIXELS, b"OB", b"abcd"),), 1, None, "without items"),
        ((element(PIXELS, b"OB", b"abcd"),), 1, 6, "holds 4 bytes for 6"),
        ((pixels(item(b"")),), 1, 6, "holds None bytes for 6"),
    ],
)
def test_frames_that_are_not_as_announced_are_an_error(
    make, parts, n_frames, frame_bytes, message
):
    source = make(*parts)
    elements = find_elements(source, 6)
    with pytest.raises(SlideError, match=message):
        find_frames(source, elements, n_frames, frame_bytes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xd8\xff\xe0abcdefgh", "no frame lies"),
        (item(b"abcd", length=6), "no frame lies"),
        (item(b"abcd")[:9], "no frame lies"),
        (item(b""), "is empty"),
        (b"", "is empty"),
        (item(FRAMES[0]) + item(FRAMES[1]), "two frames"),
    ],
)
def test_bytes_that_are_not_one_frame_are_told(data, message):
    with pytest.raises(ValueError, match=message):
        unwrap(data)


def position(x, y, *, path=None, undefined=False):
    numbers = element(0x0040072A, b"DS", b"1.25")
    numbers += element(0x0048021E, b"SL", struct.pack("<i", x))
    numbers += element(0x0048021F, b"SL", struct.pack("<i", y))
    groups = []
    if path:
        groups.append((0x00480207, element(0x00480106, b"SH", path)))
    groups.append((0x0048021A, numbers))
    if not undefined:
        return item(b"".join(element(tag, b"SQ", item(v)) for tag, v in groups))
    long = 0xFFFFFFFF
    inner = (
        element(tag, b"SQ", item(v + END_OF_ITEM, length=long) + END, length=long)
        for tag, v in groups
    )
    return item(b"".join(inner) + END_OF_ITEM, length=long)


def groups(*items, undefined=False):
    if undefined:
        return element(GROUPS, b"SQ", b"".join(items) + END, length=0xFFFFFFFF)
    return element(GROUPS, b"SQ", b"".join(items))


PLACES = [(1, 1), (257, 1), (1, 513)]


@pytest.mark.parametrize("undefined", [False, True])
def test_positions_and_paths_are_read_however_sequences_end(make, undefined):
    items = [position(*place, path=b"A ", undefined=undefined) for place in PLACES]
    source = make(
        groups(*items, undefined=undefined),
        element(0x60003000, b"OB", b"\0\0"),
        pixels(item(b""), *map(item, FRAMES)),
    )
    elements = find_elements(source, 6)
    # They count from 1.
    expected = [[0, 0], [256, 0], [0, 512]]
    assert read_positions(source, elements, 3).tolist() == expected
    assert read_paths(source, elements, 3) == ["A", "A", "A"]
    assert read_paths(source, elements, 2) == []
    assert read_all(source, 3) == FRAMES


def test_no_positions_are_none(make):
    source = make(pixels(item(b""), item(FRAMES[0])))
    elements = find_elements(source, 6)
    assert read_positions(source, elements, 1) is None
    assert read_paths(source, elements, 1) == []


def test_each_frame_needs_a_position(make):
    items = [position(*place) for place in PLACES]
    source = make(groups(*items), pixels(item(b""), item(FRAMES[0])))
    with pytest.raises(
        SlideError, match="each of 5 frames must have a position, 3 have"
    ):
        read_positions(source, find_elements(source, 6), 5)


def test_many_positions_of_undefined_length_are_measured(make):
    # Over the 64 kB that are read at once.
    items = [position(1 + 256 * i, 1, undefined=True) for i in range(1500)]
    source = make(groups(*items, undefined=True), pixels(item(b""), item(FRAMES[0])))
    found = read_positions(source, find_elements(source, 6), 1500)
    assert found[:, 0].tolist() == list(range(0, 256 * 1500, 256))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((b"",), "no pixels can be found"),
        ((b"abc",), "no pixels can be found"),
        ((element(0x60003000, b"OB", b"ab"),), "no pixels can be found"),
        ((element(0x60003000, b"OB", b"ab") * 2,), "out of order"),
        ((b"\0" * 40,), "no element at 6"),
        ((groups(position(1, 1), undefined=True)[:-8],), "no pixels"),
        ((element(GROUPS, b"SQ", b"", length=0xFFFFFFFF), b"\0" * 40), "no element"),
    ],
)
def test_a_file_without_pixels_is_damaged(make, parts, message):
    with pytest.raises(SlideError, match=message):
        find_elements(make(*parts), 6)


def test_a_damaged_length_asks_for_no_memory(make, tmp_path):
    path = tmp_path / "huge.dcm"
    whole = element(GROUPS, b"SQ", b"", length=300 << 20)
    path.write_bytes(b"header" + whole)
    with path.open("ab") as file:
        file.truncate(len(whole) + 6 + (300 << 20))
        file.seek(0, 2)
        file.write(pixels(item(b""), item(FRAMES[0])))
    source = LocalFile(path)
    elements = find_elements(source, 6)
    with pytest.raises(SlideError, match="may take 256 MB, these take 300"):
        read_positions(source, elements, 1)
    # The same, for a sequence that does not say how long it is.
    inner = element(0x00090010, b"UN", b"", length=300 << 20)
    path.write_bytes(
        b"header" + element(GROUPS, b"SQ", inner, length=0xFFFFFFFF) + b"\0" * 20
    )
    with pytest.raises(SlideError, match="sequence of over 256 MB"):
        find_elements(LocalFile(path), 6)
