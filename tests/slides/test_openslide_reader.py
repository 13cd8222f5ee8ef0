import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.slides.pixels import paint

from eosin.core import Box, SlideError
from eosin.slides.openslide_reader import (
    OpenSlideSlide,
    _find_resolution,
)


def read_by_openslide(path, x, y, level, width, height):
    """Read by OpenSlide and Pillow alone, on white."""
    with openslide.OpenSlide(path) as slide:
        image = slide.read_region((x, y), level, (width, height))
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


SLIDES = [
    None,
    pytest.param("prostate/slides/A-S01.svs", marks=pytest.mark.realdata),
    pytest.param("wsi/CMU-1-Small-Region.svs", marks=pytest.mark.realdata),
]


@pytest.mark.parametrize("name", SLIDES)
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_pixels_are_openslides_own_at_every_place(phantom_path, request, name, data):
    path = request.getfixturevalue("data_folder") / name if name else phantom_path
    with OpenSlideSlide(path) as slide:
        level = data.draw(st.integers(0, len(slide.levels) - 1), "level")
        width, height = (data.draw(st.integers(1, 200), side) for side in "wh")
        # Every border is met: from before the slide to behind it.
        x, y = (data.draw(st.integers(-100, n + 50)) for n in slide.dimensions)
        found = slide.read(x, y, width, height, level=level)
    expected = read_by_openslide(path, x, y, level, width, height)
    # Two ways of rounding where a pixel is half transparent.
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_facts_are_taken_from_the_file(phantom_path):
    with OpenSlideSlide(phantom_path) as slide:
        assert slide.dimensions == (768, 640)
        assert [level.downsample for level in slide.levels] == [1, 4]
        assert slide.mpp == pytest.approx(0.5)
        assert slide.mpp_source == "tiff resolution"
        assert slide.reader == "openslide"
        assert slide.native_tile_px == (256, 256)
        assert slide.bounds == Box(0, 0, 768, 640)
        assert slide.properties["openslide.vendor"] == "generic-tiff"


@pytest.mark.realdata
def test_a_damaged_region_is_an_error_that_says_where(data_folder):
    with (
        OpenSlideSlide(data_folder / "wsi" / "unreadable.svs") as slide,
        pytest.raises(SlideError, match="x=0, y=0, level 0"),
    ):
        slide.read(0, 0, 16, 16)


def test_levels_of_another_shape_are_left_out_and_the_others_keep_their_place(
    tmp_path,
):
    image = paint(512, 768)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for pixels in (image, paint(300, 300, 1), image[::4, ::4].copy()):
            file.write(
                pixels,
                tile=(128, 128),
                photometric="rgb",
                subfiletype=int(pixels is not image),
                metadata=None,
            )
    with OpenSlideSlide(tmp_path / "a.tif") as slide:
        assert [level.downsample for level in slide.levels] == [1, 4]
        assert "300 x 300" in slide.cautions[0]
        found = slide.read(0, 0, 192, 128, level=1)
    assert np.array_equal(found, image[::4, ::4])


def test_pixels_that_are_not_square_are_told():
    properties = {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.27"}
    (said,) = _find_resolution(properties, None).disagreements
    assert "0.27 in y" in said


def test_bounds_are_those_of_the_scan(phantom_path, monkeypatch):
    with OpenSlideSlide(phantom_path) as slide:
        names = ("x", "y", "width", "height")
        slide.properties = {
            f"openslide.bounds-{name}": str(value)
            for name, value in zip(names, (10, 20, 300, 400), strict=True)
        }
        assert slide._find_bounds() == Box(10, 20, 300, 400)


def test_a_damaged_image_beside_the_pyramid_is_an_error(phantom_path, monkeypatch):
    class Broken(dict):
        def __getitem__(self, name):
            raise openslide.OpenSlideError("bad label")

    with OpenSlideSlide(phantom_path) as slide:
        assert slide.associated_images == {}
        monkeypatch.setattr(
            openslide.OpenSlide, "associated_images", Broken(label=None)
        )
        with pytest.raises(SlideError, match="its image 'label' cannot be read"):
            _ = slide.associated_images


@pytest.mark.parametrize(
    ("properties", "mpp", "source"),
    [
        ({"openslide.mpp-x": "0.24", "openslide.mpp-y": "0.26"}, 0.25, "vendor"),
        ({"openslide.mpp-x": "0.24", "openslide.mpp-y": "?"}, 0.24, "vendor"),
        ({"openslide.mpp-x": "0"}, None, "none"),
        ({"openslide.mpp-x": "0,25", "openslide.mpp-y": "0.25"}, 0.25, "vendor"),
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.5"}, None, "none"),
        ({"openslide.objective-power": "20"}, 0.5, "objective power"),
        (
            {"tiff.ResolutionUnit": "inch", "tiff.XResolution": "50800"},
            0.5,
            "tiff resolution",
        ),
        ({"tiff.ResolutionUnit": "none", "tiff.XResolution": "50800"}, None, "none"),
    ],
)
def test_resolution_comes_from_the_first_property_that_says_it(properties, mpp, source):
    resolution = _find_resolution(properties, None)
    assert resolution.source == source
    assert resolution.mpp == pytest.approx(mpp)
