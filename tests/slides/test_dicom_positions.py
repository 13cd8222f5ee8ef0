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
