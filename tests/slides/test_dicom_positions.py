import pytest
from tests.slides.dicom_bytes import (
    GROUPS,
    element,
    frame,
    groups,
    item,
    pixels,
    position,
)

from eosin.core import SlideError
from eosin.slides.byte_sources import LocalFile
from eosin.slides.dicom_frames import find_elements
from eosin.slides.dicom_positions import read_places

FRAME = frame(10)
PLACES = [(1, 1), (257, 1), (1, 513)]


@pytest.mark.parametrize("undefined", [False, True])
def test_positions_and_paths_are_read_however_sequences_end(make_source, undefined):
    items = [position(*place, path=b"A ", undefined=undefined) for place in PLACES]
    source = make_source(
        groups(*items, undefined=undefined),
        element(0x60003000, b"OB", b"\0\0"),
        pixels(item(b""), item(FRAME)),
    )
    elements = find_elements(source, 6)
    # They count from 1.
    expected = [[0, 0], [256, 0], [0, 512]]
    places = read_places(source, elements, 3)
    assert places.positions.tolist() == expected
    assert places.paths == ["A", "A", "A"]
    assert places.depths == []


def test_no_positions_are_none(make_source):
    source = make_source(pixels(item(b""), item(FRAME)))
    places = read_places(source, find_elements(source, 6), 1)
    assert len(places.positions) == len(places.paths) == 0


def test_each_frame_needs_a_position(make_source):
    items = [position(*place) for place in PLACES]
    source = make_source(groups(*items), pixels(item(b""), item(FRAME)))
    with pytest.raises(
        SlideError, match="each of 5 frames must have a position, 3 have"
    ):
        read_places(source, find_elements(source, 6), 5)


def test_many_positions_of_undefined_length_are_measured(make_source):
    # Over the 64 kB that are read at once.
    items = [position(1 + 256 * i, 1, undefined=True) for i in range(1500)]
    source = make_source(groups(*items, undefined=True), pixels(item(b""), item(FRAME)))
    found = read_places(source, find_elements(source, 6), 1500)
    assert found.positions[:, 0].tolist() == list(range(0, 256 * 1500, 256))


def test_a_damaged_length_asks_for_no_memory(make_source, tmp_path):
    path = tmp_path / "huge.dcm"
    whole = element(GROUPS, b"SQ", b"", length=300 << 20)
    path.write_bytes(b"header" + whole)
    with path.open("ab") as file:
        file.truncate(len(whole) + 6 + (300 << 20))
        file.seek(0, 2)
        file.write(pixels(item(b""), item(FRAME)))
    source = LocalFile(path)
    elements = find_elements(source, 6)
    with pytest.raises(SlideError, match="may take 256 MB, these take 300"):
        read_places(source, elements, 1)
