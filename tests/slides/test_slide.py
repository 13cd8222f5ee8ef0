import cv2
import numpy as np
import pytest

from eosin.core import SlideError
from eosin.slides import open_slide, write_pyramid


@pytest.fixture
def noise(tmp_path):
    """A slide of one level whose every pixel is known: PNG, 0.5 mpp by hand."""
    image = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    from PIL import Image

    Image.fromarray(image).save(tmp_path / "noise.png")
    with open_slide(tmp_path / "noise.png", mpp=0.5) as slide:
        yield slide, image


def test_a_coarser_mpp_is_the_mean_over_its_area(noise):
    slide, image = noise
    found = slide.read(40, 60, 50, 30, mpp=1.0)
    block = image[60:120, 40:140].reshape(30, 2, 50, 2, 3).mean(axis=(1, 3))
    assert np.abs(found - block).max() <= 0.51


def test_a_fractional_factor_is_opencvs_area_filter(noise):
    slide, image = noise
    found = slide.read(10, 20, 64, 64, mpp=0.7)
    size = round(64 * 0.7 / 0.5)
    expected = cv2.resize(
        image[20 : 20 + size, 10 : 10 + size], (64, 64), interpolation=cv2.INTER_AREA
    )
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


def test_a_box_smaller_than_the_result_is_enlarged_to_it(noise):
    out = np.zeros((1, 64, 64, 3), np.uint8)
    noise[0].read_tiles(np.array([[0, 0, 58, 58]]), out)
    assert out.any()


@pytest.mark.parametrize(("boxes", "n"), [((2, 3), 2), ((2, 4), 3), ((4,), 1)])
def test_shapes_that_do_not_fit_are_refused(noise, boxes, n):
    with pytest.raises(ValueError, match="read_tiles needs boxes"):
        noise[0].read_tiles(np.zeros(boxes, np.int64), np.zeros((n, 8, 8, 3), np.uint8))


def test_arguments_that_contradict_are_refused(noise):
    with pytest.raises(ValueError, match="a level or an mpp"):
        noise[0].read(0, 0, 8, 8, level=0, mpp=1)
    with pytest.raises(ValueError, match="size of 1 or more"):
        noise[0].read(0, 0, 0, 8)
    with pytest.raises(ValueError, match="1 pixel or more"):
        noise[0].thumbnail(0)


def test_without_mpp_the_message_says_how_to_give_one(tmp_path, noise):
    with (
        open_slide(noise[0].path) as slide,
        pytest.raises(SlideError, match="--slide-mpp"),
    ):
        slide.read(0, 0, 8, 8, mpp=1.0)


def test_a_whole_slide_read_in_bands_is_the_one_read_at_once(noise, monkeypatch):
    from eosin.slides import slide as module

    slide, _ = noise
    whole = slide.read_image(downsample=4.0)
    monkeypatch.setattr(module, "_BAND_PIXELS", 64 * 64)
    np.testing.assert_array_equal(slide.read_image(downsample=4.0), whole)
    assert whole.shape == (75, 100, 3)
    assert slide.read_image(2.0).shape == (75, 100, 3)


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


def test_an_image_has_no_other_images(noise):
    assert noise[0].associated_images == {}
