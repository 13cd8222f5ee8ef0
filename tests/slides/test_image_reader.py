import numpy as np
import pytest
import tifffile
from PIL import Image

from eosin.core import SlideError
from eosin.slides import image_reader, open_slide
from eosin.slides.image_reader import ImageSlide

RGB = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def read_all(path):
    with ImageSlide(path) as slide:
        width, height = slide.dimensions
        return slide.read(0, 0, width, height)


def test_a_png_is_read_as_it_is_and_alpha_becomes_white(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_all(tmp_path / "a.png"), RGB)
    rgba = np.dstack([RGB, np.zeros((40, 60), np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "b.png")
    assert (read_all(tmp_path / "b.png") == 255).all()


def test_grey_sixteen_bit_planar_and_alpha_tiffs_become_rgb(tmp_path):
    grey = RGB[..., 0]
    tifffile.imwrite(tmp_path / "grey.tif", grey)
    np.testing.assert_array_equal(read_all(tmp_path / "grey.tif")[..., 2], grey)
    deep = RGB.astype(np.uint16) * 256 + 17
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    np.testing.assert_array_equal(read_all(tmp_path / "deep.tif"), RGB)
    planar = np.moveaxis(RGB, -1, 0)
    tifffile.imwrite(
        tmp_path / "planar.tif", planar, photometric="rgb", planarconfig="separate"
    )
    np.testing.assert_array_equal(read_all(tmp_path / "planar.tif"), RGB)
    rgba = np.dstack([RGB, np.full((40, 60), 255, np.uint8)])
    tifffile.imwrite(
        tmp_path / "rgba.tif", rgba, photometric="rgb", extrasamples=["unassalpha"]
    )
    np.testing.assert_array_equal(read_all(tmp_path / "rgba.tif"), RGB)


def test_what_is_no_colour_image_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "f.tif", RGB.astype(np.float32), photometric="rgb")
    with pytest.raises(SlideError, match="8 or 16 bit, these are float32"):
        ImageSlide(tmp_path / "f.tif")
    stack = np.zeros((5, 40, 60), np.uint8)
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack")
    with pytest.raises(SlideError, match="a colour image is needed"):
        ImageSlide(tmp_path / "s.tif")


def test_resolution_comes_from_ome_and_tiff_tags(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        RGB,
        photometric="rgb",
        metadata={"axes": "YXS", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm"},
    )
    with ImageSlide(tmp_path / "a.ome.tif") as slide:
        assert (slide.mpp, slide.mpp_source, slide.vendor) == (
            0.25,
            "vendor",
            "ome-tiff",
        )
    tifffile.imwrite(
        tmp_path / "b.tif",
        RGB,
        photometric="rgb",
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )
    with ImageSlide(tmp_path / "b.tif") as slide:
        assert (slide.mpp, slide.mpp_source) == (0.5, "tiff resolution")


def test_a_broken_ome_header_says_nothing():
    assert image_reader._read_ome_mpp("<OME") is None
    assert image_reader._read_ome_mpp("<OME><Image/></OME>") is None


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_a_damaged_image_is_a_slide_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is no image at all")
    with pytest.raises(SlideError, match="nor an image that can be read"):
        ImageSlide(tmp_path / name)


def test_an_image_too_large_for_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image_reader, "_MAX_PIXELS", 1000)
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with pytest.raises(SlideError, match="too large for a plain image"):
        ImageSlide(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb")
    with pytest.raises(SlideError, match="too large for a plain image"):
        ImageSlide(tmp_path / "a.tif")


def test_a_closed_image_says_so(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    slide = ImageSlide(tmp_path / "a.png")
    slide.close()
    with pytest.raises(SlideError, match="was closed"):
        slide.read(0, 0, 1, 1)


@pytest.mark.realdata
def test_an_ome_tiff_that_openslide_does_not_open_is_read(data_folder):
    with open_slide(data_folder / "wsi" / "OS-1-detail.ome.tif") as slide:
        assert slide.reader == "image"
        assert slide.mpp == pytest.approx(0.2271, abs=1e-4)
