import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from eosin.core import SlideError
from eosin.slides import open_slide, write_pyramid
from eosin.slides import slide as slide_module
from eosin.slides.openslide_reader import OpenSlideSlide
from eosin.slides.slide import DamagedTileError


@pytest.fixture
def noise(tmp_path):
    """A slide of one level whose every pixel is known: PNG, 0.5 mpp by hand."""
    image = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "noise.png")
    with open_slide(tmp_path / "noise.png", mpp=0.5) as slide:
        yield slide, image


def test_a_single_pixel_is_the_mean_over_its_area(noise):
    slide, image = noise
    for x, y, width, height in ((0, 0, 1, 1), (30, 20, 2, 1), (8, 6, 3, 2)):
        found = slide.read(x, y, width, height, mpp=1.0)
        block = image[y : y + 2 * height, x : x + 2 * width]
        mean = block.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
        assert np.abs(found - mean).max() <= 0.51


@settings(deadline=None, max_examples=40)
@given(
    x=st.integers(-40, 700),
    y=st.integers(-40, 600),
    size=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    mpp=st.floats(0.51, 8),
)
def test_any_mpp_is_opencvs_area_filter_on_the_level_above_it(
    phantom_path, x, y, size, mpp
):
    with OpenSlideSlide(phantom_path) as slide:
        found = slide.read(x, y, *size, mpp=mpp)
        level = int(mpp / slide.mpp >= 4 / 1.01)
        # The box in the level-0 frame has whole pixels, and so does its source.
        box = [round(side * mpp / slide.mpp) for side in size]
        assume(level == int(min(np.divide(box, size)) >= 4 / 1.01))
        source = [max(1, round(side / 4**level)) for side in box]
        pixels = slide.read(x, y, *source, level=level)
    is_off_by_rounding = all(
        abs(a - b) <= min(1, 0.01 * b) for a, b in zip(source, size, strict=True)
    )
    assume(not is_off_by_rounding)
    assume(all(a >= b for a, b in zip(source, size, strict=True)))
    expected = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(found, expected)


def test_the_slides_own_mpp_is_read_without_resampling(noise):
    slide, image = noise
    for mpp in (0.5, 0.5049, 0.46):
        np.testing.assert_array_equal(
            slide.read(5, 6, 70, 80, mpp=mpp), image[6:86, 5:75]
        )


def test_a_finer_mpp_than_the_slides_is_refused(noise):
    with pytest.raises(SlideError, match=r"needs a finer slide.*ask for mpp >= 0\.5"):
        noise[0].read(0, 0, 8, 8, mpp=0.25)


def test_outside_is_white(noise):
    slide, image = noise
    found = slide.read(-10, -20, 30, 40)
    assert (found[:20] == 255).all()
    assert (found[:, :10] == 255).all()
    np.testing.assert_array_equal(found[20:, 10:], image[:20, :20])


def test_tiles_go_into_the_given_array(noise):
    slide, image = noise
    out = np.zeros((2, 32, 32, 3), np.uint8)
    slide.read_tiles(np.array([[0, 0, 32, 32], [100, 50, 64, 64]]), out)
    np.testing.assert_array_equal(out[0], image[:32, :32])
    np.testing.assert_array_equal(out[1], slide.read(100, 50, 32, 32, mpp=1.0))


def test_a_whole_slide_read_in_bands_is_the_one_read_at_once(noise, monkeypatch):
    slide, _ = noise
    whole = slide.read_image(downsample=4.0)
    monkeypatch.setattr(slide_module, "_BAND_PIXELS", 64 * 64)
    np.testing.assert_array_equal(slide.read_image(downsample=4.0), whole)
    assert whole.shape == (75, 100, 3)
    assert slide.read_image(2.0).shape == (75, 100, 3)


@pytest.mark.parametrize("factor", [2.0, 3.0, 8.0, 16.0])
def test_bands_of_a_pyramid_meet_without_a_seam(phantom_path, monkeypatch, factor):
    with open_slide(phantom_path) as slide:
        whole = slide.read_image(downsample=factor).astype(int)
        monkeypatch.setattr(slide_module, "_BAND_PIXELS", 100 * 100)
        banded = slide.read_image(downsample=factor)
    assert banded.shape == whole.shape
    assert np.abs(banded - whole).max() <= 1


@pytest.mark.parametrize("factor", [1.7, 3.3, 6.1])
def test_bands_of_a_fractional_factor_stay_in_place(tmp_path, monkeypatch, factor):
    # A plane: one pixel's shift is 0.5 grey levels, so that any drift is seen.
    y, x = np.mgrid[:400, :500] * 0.5
    plane = np.stack([x, y, np.full_like(x, 9)], axis=2).clip(0, 250).astype(np.uint8)
    Image.fromarray(plane).save(tmp_path / "plane.png")
    with open_slide(tmp_path / "plane.png") as slide:
        whole = slide.read_image(downsample=factor).astype(int)
        monkeypatch.setattr(slide_module, "_BAND_PIXELS", 90 * 90)
        banded = slide.read_image(downsample=factor)
    inside = (slice(0, int(400 / factor) - 1), slice(0, int(500 / factor) - 1))
    assert np.abs(banded[inside] - whole[inside]).max() <= 1


def test_a_thumbnail_keeps_its_shape_and_never_grows(noise):
    slide, image = noise
    assert slide.thumbnail(100).shape == (75, 100, 3)
    assert slide.thumbnail(5000).shape == image.shape


def test_the_coarsest_level_that_is_fine_enough_is_read(tmp_path):
    image = np.zeros((1024, 1024, 3), np.uint8)
    write_pyramid(tmp_path / "a.tif", image, mpp=0.5, downsample=2)
    with open_slide(tmp_path / "a.tif") as slide:
        assert len(slide.levels) == 3
        for factor, level in ((1, 0), (1.9, 0), (2, 1), (3.9, 1), (4.0, 2), (9, 2)):
            assert slide._find_level(factor) == level


def test_a_slide_without_native_tiles_flags_the_whole_box(noise, monkeypatch):
    slide, _ = noise
    read = type(slide)._read_level

    def refuse(self, level, x_px0, *rest):
        if x_px0 in (96, 100):
            raise DamagedTileError("bad")
        return read(self, level, x_px0, *rest)

    monkeypatch.setattr(type(slide), "_read_level", refuse)
    boxes = np.array([(0, 0, 8, 8), (100, 0, 8, 8)])
    out, damaged = np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, bool)
    slide.read_tiles(boxes, out, damaged=damaged)
    assert damaged.tolist() == [False, True]
    assert (out[1] == 255).all()
    monkeypatch.setattr(slide_module, "_BAND_PIXELS", 100 * 100)
    with pytest.raises(DamagedTileError):
        slide.read_image(downsample=1)


def test_filters_are_named(noise):
    slide, _ = noise
    assert slide.find_resampling(1) == "none"
    assert slide.find_resampling(1.7) == "area"


def read_tiles(boxes=(1, 4), out=(1, 8, 8, 3), *, kind=np.uint8, side=8, **options):
    """Make a call by shapes of what it is given."""
    where, into = np.full(boxes, side, np.int64), np.zeros(out, kind)
    return lambda slide: slide.read_tiles(where, into, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda slide: slide.read(0, 0, 8, 8, level=0, mpp=1), "a level or an mpp"),
        (lambda slide: slide.read(0, 0, 0, 8), "size of 1 or more"),
        (lambda slide: slide.read(0, 0, 8, 8, level=-1), "0 to 0 .* got -1"),
        (lambda slide: slide.read(0, 0, 8, 8, level=1), "0 to 0 .* got 1"),
        (lambda slide: slide.read_image(), "an mpp or a downsample"),
        (lambda slide: slide.read_image(1.0, downsample=2.0), "mpp or a downsample"),
        (lambda slide: slide.read_image(downsample=0.5), "downsample must be 1"),
        (lambda slide: slide.read_image(downsample=0), "downsample must be 1"),
        (lambda slide: slide.read_image(downsample=float("nan")), "must be 1 or more"),
        (lambda slide: slide.thumbnail(0), "1 pixel or more"),
        (read_tiles((1, 3)), "read_tiles needs boxes"),
        (read_tiles((2, 4)), "read_tiles needs boxes"),
        (read_tiles((4,)), "read_tiles needs boxes"),
        (read_tiles(damaged=np.zeros(3, bool)), "read_tiles needs boxes"),
        (read_tiles(kind=np.float32), "of uint8"),
        (read_tiles(out=(1, 8, 8)), "of uint8"),
        (read_tiles(out=(1, 8, 8, 4)), "of uint8"),
        (read_tiles(side=-5), "1 level-0 pixel"),
        (read_tiles(threads=0), "threads must be 1 or more"),
    ],
)
def test_arguments_of_no_sense_are_refused(noise, call, message):
    with pytest.raises(ValueError, match=message):
        call(noise[0])
