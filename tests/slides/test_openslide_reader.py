from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openslide
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from eosin.core import Box, SlideError
from eosin.slides import open_slide
from eosin.slides.openslide_reader import OpenSlideSlide, flatten_onto_white


def read_by_openslide(path, x, y, level, width, height):
    """Read by OpenSlide and Pillow alone, on white."""
    with openslide.OpenSlide(path) as slide:
        image = slide.read_region((x, y), level, (width, height))
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


boxes = {
    "x": st.integers(-100, 800),
    "y": st.integers(-100, 700),
    "level": st.integers(0, 1),
    "width": st.integers(1, 200),
    "height": st.integers(1, 200),
}
relaxed = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@relaxed
@given(**boxes)
def test_pixels_are_openslides_own_at_every_place(
    phantom_path, x, y, level, width, height
):
    with open_slide(phantom_path) as slide:
        found = slide.read(x, y, width, height, level=level)
    expected = read_by_openslide(phantom_path, x, y, level, width, height)
    # Two ways of rounding where a pixel is half transparent.
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name", ["prostate/slides/A-S01.svs", "wsi/CMU-1-Small-Region.svs"]
)
def test_real_slides_read_as_openslide_reads_them(data_folder, name):
    rng = np.random.default_rng(0)
    with open_slide(data_folder / name) as slide:
        for level in range(len(slide.levels)):
            for _ in range(10):
                x, y = (int(v) for v in rng.integers(-50, 2000, 2))
                found = slide.read(x, y, 97, 61, level=level)
                expected = read_by_openslide(slide.path, x, y, level, 97, 61)
                assert np.abs(found.astype(int) - expected).max() <= 1


def test_facts_are_taken_from_the_file(phantom_path):
    with open_slide(phantom_path) as slide:
        assert slide.dimensions == (768, 640)
        assert [level.downsample for level in slide.levels] == [1, 4]
        assert slide.mpp == pytest.approx(0.5)
        assert slide.mpp_source == "tiff resolution"
        assert slide.reader == "openslide"
        assert slide.native_tile_px == (256, 256)
        assert slide.bounds == Box(0, 0, 768, 640)
        assert slide.properties["openslide.vendor"] == "generic-tiff"


@pytest.mark.realdata
def test_an_aperio_slide_says_its_mpp_and_has_its_label(data_folder):
    with open_slide(data_folder / "wsi" / "CMU-1-Small-Region.svs") as slide:
        assert (slide.mpp, slide.mpp_source) == (0.499, "vendor")
        assert set(slide.associated_images) == {"label", "macro", "thumbnail"}
        assert slide.associated_images["macro"].shape[2] == 3


@pytest.mark.realdata
def test_a_damaged_region_is_an_error_that_says_where(data_folder):
    with (
        open_slide(data_folder / "wsi" / "unreadable.svs") as slide,
        pytest.raises(SlideError, match="x=0, y=0, level 0"),
    ):
        slide.read(0, 0, 16, 16)


def test_a_given_mpp_goes_before_the_files(phantom_path):
    with open_slide(phantom_path, mpp=0.33) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.33, "given")


def test_bounds_are_those_of_the_scan(phantom_path, monkeypatch):
    with OpenSlideSlide(phantom_path) as slide:
        names = ("x", "y", "width", "height")
        slide.properties = {
            f"openslide.bounds-{name}": str(value)
            for name, value in zip(names, (10, 20, 300, 400), strict=True)
        }
        assert slide._find_bounds() == Box(10, 20, 300, 400)


def test_a_closed_slide_says_so(phantom_path):
    slide = open_slide(phantom_path)
    slide.close()
    slide.close()
    with pytest.raises(SlideError, match="was closed"):
        slide.read(0, 0, 8, 8)


def test_many_threads_read_one_slide(phantom_path):
    with open_slide(phantom_path) as slide, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: slide.read(i * 9, i * 7, 64, 64), range(40)))
        for i, pixels in enumerate(found):
            np.testing.assert_array_equal(pixels, slide.read(i * 9, i * 7, 64, 64))


def test_transparent_pixels_become_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 128, 255)
    assert flatten_onto_white(rgba)[0, :, 0].tolist() == [255, 127, 0]


def test_a_file_that_openslide_refuses_is_a_slide_error(tmp_path):
    (tmp_path / "x.svs").write_bytes(b"nothing")
    with pytest.raises(SlideError, match="damaged, cut short, or not a slide"):
        OpenSlideSlide(tmp_path / "x.svs")
