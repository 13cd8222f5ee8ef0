import struct

import pytest
from tests.slides.dicom_bytes import (
    GROUPS,
    PIXELS,
    element,
    frame,
    groups,
    item,
    pixels,
    position,
)

from eosin.core import SlideError
from eosin.slides.dicom_frames import find_elements, find_frames, unwrap


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
def test_frames_are_found_by_their_table_and_without_one(make_source, table):
    source = make_source(pixels(item(table), *map(item, FRAMES)))
    assert read_all(source, 3) == FRAMES


def test_frames_are_found_by_an_extended_table(make_source):
    # The first frame has 9 bytes, and one more to be even.
    tables = (
        element(0x7FE00001, b"OV", struct.pack("<3Q", 0, 18, 30)),
        element(0x7FE00002, b"OV", struct.pack("<3Q", 9, 4, 30)),
    )
    frames = [FRAMES[0][:9] + b"\0", *FRAMES[1:]]
    source = make_source(*tables, pixels(item(b""), *map(item, frames)))
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
def test_an_extended_table_of_no_sense_is_none(make_source, offsets, lengths):
    tables = (
        element(0x7FE00001, b"OV", struct.pack(f"<{len(offsets)}Q", *offsets)),
        element(0x7FE00002, b"OV", struct.pack(f"<{len(lengths)}Q", *lengths)),
    )
    source = make_source(*tables, pixels(item(b""), *map(item, FRAMES)))
    assert read_all(source, 3) == FRAMES


@pytest.mark.parametrize("table", [True, False])
def test_a_frame_in_several_items_is_put_together(make_source, table):
    frames = [frame(40), frame(30, 1)]
    items = [item(frames[0][at : at + 16]) for at in (0, 16, 32)]
    items += [item(frames[1][at : at + 16]) for at in (0, 16)]
    offsets = struct.pack("<2I", 0, 40 + 3 * 8) if table else b""
    assert read_all(make_source(pixels(item(offsets), *items)), 2) == frames


def test_one_frame_may_begin_in_any_way(make_source):
    items = [item(b"abcd"), item(b"efgh")]
    assert read_all(make_source(pixels(item(b""), *items)), 1) == [b"abcdefgh"]


def test_frames_without_compression_lie_side_by_side(make_source):
    # 3 x 5 bytes, and one more to be even.
    data = bytes(range(15))
    source = make_source(element(PIXELS, b"OB", data + b"\0"))
    assert read_all(source, 3, 5) == [data[:5], data[5:10], data[10:]]


def test_a_file_cut_short_keeps_the_frames_it_has(make_source, tmp_path):
    for table in (TABLE, b""):
        whole = pixels(item(table), *map(item, FRAMES))
        # Cut within the third frame, and within its item's head.
        for left in (20, 42):
            source = make_source(whole[: len(whole) - left])
            frames = find_frames(source, find_elements(source, 6), 3, None)
            ends = frames.offsets + frames.byte_counts
            assert (ends > source.size).tolist() == [False, False, True]
            found = source.read(int(frames.offsets[1]), int(frames.byte_counts[1]))
            assert unwrap(found) == FRAMES[1]


def test_frames_from_before_a_damaged_item_on_are_lost(make_source):
    # What is damaged may be its head, or the length of the one before it.
    items = [item(each) for each in FRAMES]
    items[2] = b"\0\0\0\0" + items[2][4:]
    source = make_source(pixels(item(b""), *items))
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
    make_source, parts, n_frames, frame_bytes, message
):
    source = make_source(*parts)
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
def test_a_file_without_pixels_is_damaged(make_source, parts, message):
    with pytest.raises(SlideError, match=message):
        find_elements(make_source(*parts), 6)


def test_a_damaged_length_of_a_sequence_asks_for_no_memory(make_source):
    inner = element(0x00090010, b"UN", b"", length=300 << 20)
    source = make_source(element(GROUPS, b"SQ", inner, length=0xFFFFFFFF), b"\0" * 20)
    with pytest.raises(SlideError, match="sequence of over 256 MB"):
        find_elements(source, 6)
