import re
import shutil

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image
from tests.slides.pixels import paint

from eosin.core import SlideError
from eosin.slides import (
    fingerprint_slide,
    is_at_hand,
    name_packed,
    open_slide,
    require_unchanged,
)

# What becomes of every file of the real ones: a reader, or a message.
REAL_FILES = {
    "CMU-1-Small-Region.svs": "native",
    "OS-1-detail.ome.tif": "native",
    "Tumor_001.json": SlideError("not a slide that OpenSlide knows, nor an image"),
    "boxes.tiff": "native",
    "boxes_0.dcm": "native",
    "boxes_1.dcm": "native",
    "camelyon16_tumor_001_level5.tif": "native",
    "small_dicom.dcm": SlideError("ImageType (0008,0008) must say"),
    "tcga-cr-7395-01a-01-ts1.svs": "native",
    "unopenable.tiff": SlideError("Unsupported TIFF compression"),
    "unreadable.svs": "native",
}


def test_what_is_missing_empty_or_no_slide_is_said(tmp_path):
    with pytest.raises(SlideError, match="no such file"):
        open_slide(tmp_path / "none.svs")
    (tmp_path / "empty.svs").write_bytes(b"")
    with pytest.raises(SlideError, match="0 bytes"):
        open_slide(tmp_path / "empty.svs")
    (tmp_path / "notes.svs").write_text("these are notes")
    with pytest.raises(SlideError, match="not a slide that OpenSlide knows"):
        open_slide(tmp_path / "notes.svs")
    with pytest.raises(SlideError, match="not a slide"):
        open_slide(tmp_path)


@pytest.mark.parametrize("suffix", [".tif", ".svs"])
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_slide_cut_short_is_an_error_that_names_it(
    phantom_path, tmp_path, share, suffix
):
    content = phantom_path.read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(content[: int(len(content) * share)])

    def read_all():
        with open_slide(path) as slide:
            for level, (width, height) in enumerate([(768, 640), (192, 160)]):
                slide.read(0, 0, width, height, level=level)

    with pytest.raises(SlideError, match=rf"cut\{suffix}"):
        read_all()


def test_a_file_without_mpp_takes_the_given_one(tmp_path):
    Image.new("RGB", (20, 10), "pink").save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png") as slide:
        assert (slide.mpp, slide.mpp_source) == (None, "none")
        with pytest.raises(SlideError, match="--slide-mpp"):
            slide.require_mpp()
    with open_slide(tmp_path / "a.png", mpp=0.25) as slide:
        assert (slide.require_mpp(), slide.mpp_source) == (0.25, "given")


@pytest.mark.parametrize("mpp", [0, -1, 1000, float("nan")])
def test_a_given_mpp_must_be_plausible(phantom_path, mpp):
    with pytest.raises(ValueError, match="mpp must lie between"):
        open_slide(phantom_path, mpp=mpp)


def test_a_text_will_do_as_a_path(phantom_path):
    with open_slide(str(phantom_path)) as slide:
        assert slide.path == phantom_path


def test_a_file_that_cannot_be_looked_at_is_an_error(phantom_path, monkeypatch):
    def refuse(_path):
        raise openslide.OpenSlideError("disk gone")

    monkeypatch.setattr(openslide.OpenSlide, "detect_format", refuse)
    with pytest.raises(SlideError, match=r"cannot be opened \(.*: disk gone"):
        open_slide(phantom_path)


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL_FILES)
def test_real_files_open_or_get_the_right_message(data_folder, name):
    expected = REAL_FILES[name]
    path = data_folder / "wsi" / name
    if isinstance(expected, SlideError):
        with pytest.raises(SlideError, match=re.escape(str(expected))):
            open_slide(path)
        return
    with open_slide(path) as slide:
        assert slide.reader == expected
        assert min(slide.dimensions) >= 16


@pytest.mark.realdata
def test_every_real_file_is_listed_here(data_folder):
    names = {path.name for path in (data_folder / "wsi").iterdir()}
    assert names == set(REAL_FILES)


def test_a_fingerprint_tells_slides_apart(phantom_path, tmp_path):
    (tmp_path / "a.tif").write_bytes(phantom_path.read_bytes())
    (tmp_path / "b.tif").write_bytes(phantom_path.read_bytes()[:-1])
    prints = [
        fingerprint_slide(path)
        for path in (
            phantom_path,
            tmp_path / "a.tif",
            tmp_path / "b.tif",
        )
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 2


@pytest.mark.parametrize("name", ["a.tif", "a.svs", "a.btf", "a.ome.tf8", "a", "a.bin"])
def test_content_and_not_the_suffix_says_what_a_tiff_is(tmp_path, name):
    image = paint(60, 80)
    tifffile.imwrite(tmp_path / name, image, photometric="rgb", metadata=None)
    with open_slide(tmp_path / name) as slide:
        assert slide.reader == "image"
        assert (slide.read(0, 0, 80, 60) == image).all()


@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_a_codec_that_is_not_known_is_named(tmp_path, tile):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, paint(64, 64), photometric="rgb", tile=tile)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].tags["Compression"].valueoffset
    content[at : at + 2] = (34_895).to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(SlideError, match="34895") as caught:
        open_slide(path)
    assert "damaged" not in str(caught.value)


def test_what_openslide_reads_is_described_by_the_files_own_header(tmp_path):
    # Ink rather than light: neither read natively nor by tifffile's series.
    ink = np.dstack([255 - paint(64, 96), np.zeros((64, 96), np.uint8)])
    options = {"photometric": "separated", "metadata": None, "tile": (32, 32)}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ink, description="Maker V1|MPP = 0,25", **options)
    with open_slide(path) as slide:
        assert (slide.reader, slide.vendor, slide.mpp) == ("openslide", "maker", 0.25)
        assert (slide.read(0, 0, 96, 64) == paint(64, 96)).all()
    with tifffile.TiffWriter(path) as file:
        file.write(paint(16, 16), photometric="rgb", tile=(16, 16), metadata=None)
        file.write(ink, **options)
    # OpenSlide would show the first image.
    with pytest.raises(SlideError, match="SEPARATED"):
        open_slide(path)


def test_a_slide_is_the_same_wherever_it_lies_and_no_other_is(phantom_path, tmp_path):
    told = fingerprint_slide(phantom_path)
    moved = tmp_path / "other name.tif"
    shutil.copy(phantom_path, moved)
    require_unchanged(moved, told)
    for nobody_noted in ("", None):
        require_unchanged(tmp_path / "a.tif", nobody_noted)
    # Of a pack, whose pixels are those that were tiled, nothing is read.
    require_unchanged(name_packed(tmp_path / "pack.arrow", "S1"), told)
    content = bytearray(moved.read_bytes())
    content[-1] ^= 1
    moved.write_bytes(content)
    with pytest.raises(SlideError, match=r"other name.tif: was replaced by another"):
        require_unchanged(moved, told)
    with pytest.raises(SlideError, match=r"gone.tif: cannot be read"):
        require_unchanged(tmp_path / "gone.tif", told)


def test_a_mirax_slide_is_known_by_its_folder(tmp_path):
    """Two scans by one profile may have equal files beside their folders."""
    for place in ("a", "b"):
        (tmp_path / place / "S1").mkdir(parents=True)
        (tmp_path / place / "S1.mrxs").write_bytes(b"a picture")
        (tmp_path / place / "S1" / "Data0000.dat").write_bytes(b"1234")
    index = [tmp_path / place / "S1" / "Slidedat.ini" for place in ("a", "b")]
    for path in index:
        path.write_text("SLIDE_ID = 1")
    first, second = (tmp_path / place / "S1.mrxs" for place in ("a", "b"))
    told = fingerprint_slide(first)
    require_unchanged(second, told)
    index[1].write_text("SLIDE_ID = 2")
    with pytest.raises(SlideError, match="was replaced"):
        require_unchanged(second, told)
    index[1].write_text("SLIDE_ID = 1")
    (tmp_path / "b" / "S1" / "Data0000.dat").write_bytes(b"12345")
    with pytest.raises(SlideError, match="was replaced"):
        require_unchanged(second, told)


def test_what_may_not_be_read_says_so(phantom_path, tmp_path, forbid):
    path = tmp_path / "a.tif"
    path.write_bytes(phantom_path.read_bytes())
    forbid(path)
    for call in (open_slide, fingerprint_slide):
        with pytest.raises(SlideError, match=r"a\.tif: .*Permission denied"):
            call(path)


def test_a_link_to_nowhere_and_a_name_that_cannot_be_are_slide_errors(tmp_path):
    (tmp_path / "a.tif").symlink_to(tmp_path / "gone.tif")
    with pytest.raises(SlideError, match=r"a\.tif: no such file, as what the link"):
        open_slide(tmp_path / "a.tif")
    (tmp_path / "b.tif").symlink_to(tmp_path / "b.tif")
    for name in ("b.tif", "a\0b.tif", "x" * 5000 + ".tif"):
        assert not is_at_hand(tmp_path / name)
        with pytest.raises(SlideError):
            open_slide(tmp_path / name)
        with pytest.raises(SlideError):
            fingerprint_slide(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "name"), [("PNG", "a.svs"), ("JPEG", "b"), ("BMP", "c.tif")]
)
def test_a_picture_under_another_name_is_one(tmp_path, kind, name):
    pixels = np.full((40, 60, 3), (200, 120, 180), np.uint8)
    Image.fromarray(pixels).save(tmp_path / name, format=kind)
    with open_slide(tmp_path / name, mpp=0.5) as slide:
        assert slide.dimensions == (60, 40)
        assert np.abs(slide.read(0, 0, 60, 40).astype(int) - pixels).max() < 8
