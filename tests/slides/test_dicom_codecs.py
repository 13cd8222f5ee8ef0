from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from tests.slides.dicom_files import KINDS, add_frames, make_dataset, paint, save

from eosin.core import SlideError
from eosin.slides.byte_sources import LocalFile
from eosin.slides.dicom_codecs import find_codec
from eosin.slides.dicom_frames import Frames
from eosin.slides.dicom_header import read_header
from eosin.slides.tile_codecs import JPEG2000Tiles


@pytest.fixture
def find(tmp_path):
    """Find the codec of a file of one frame."""

    def find(kind, frame=None, **changes):
        made = make_dataset((64, 64), 64, kind)
        data = KINDS[kind][3](paint(64, 64)) if frame is None else frame
        add_frames(made, [data], table="none")
        path = save(made, tmp_path / "a.dcm")
        place = path.read_bytes().index(data[:32]) - 8
        frames = Frames(np.array([place]), np.array([8 + len(data)]), is_wrapped=True)
        header = replace(read_header(path), **changes)
        return find_codec(header, LocalFile(path), frames)

    return find


@pytest.mark.parametrize("called", ["RGB", "YBR_ICT", "YBR_RCT", "YBR_FULL"])
def test_a_codestream_that_turns_itself_into_rgb_is_rgb(find, called):
    assert find("j2k-ict", photometric=called) == JPEG2000Tiles("rgb")


@pytest.mark.parametrize("called", ["YBR_FULL", "YBR_FULL_422", "YBR_ICT"])
def test_a_codestream_that_does_not_is_what_it_is_called(find, called):
    assert find("j2k-rgb", photometric=called) == JPEG2000Tiles("ycbcr")


@pytest.mark.parametrize(
    ("kind", "called", "n_samples"),
    [
        ("jpeg", "PALETTE COLOR", 3),
        ("jpeg", "RGB", 1),
        ("plain", "YBR_FULL", 3),
        # The reversible transform needs nine bits.
        ("j2k-rgb", "YBR_RCT", 3),
        ("j2k-rgb", "MONOCHROME2", 1),
    ],
)
def test_other_colours_are_refused(find, kind, called, n_samples):
    with pytest.raises(SlideError, match=f"are called {called}"):
        find(kind, photometric=called, n_samples=n_samples)


def test_jpeg_2000_that_is_none_is_refused(find):
    with pytest.raises(SlideError, match="not read in this packing"):
        find("j2k-ict", frame=bytes(range(64)))
    grey = imagecodecs.jpeg2k_encode(paint(64, 64)[..., 0].copy(), codecformat="j2k")
    with pytest.raises(SlideError, match="three 8-bit components"):
        find("j2k-ict", frame=grey)
