import math

import numpy as np
import pytest
import tifffile
from tests.slides.pixels import paint, shrink

from eosin.slides import find_odd_levels, open_slide
from eosin.slides.level_shapes import choose_levels, fit_level, make_levels


@pytest.mark.parametrize("factor", [2, 3, 4, 16])
@pytest.mark.parametrize("rounded", [math.floor, math.ceil, round])
def test_a_slide_made_smaller_is_a_level_however_it_was_rounded(factor, rounded):
    full = (10_241, 7_687)
    level = (rounded(full[0] / factor), rounded(full[1] / factor))
    assert fit_level(full, level, (256, 256)) == level
    assert fit_level(full, level) == level


@pytest.mark.parametrize(
    "image",
    [
        (400, 400),  # a label
        (1280, 431),  # a macro
        (2048, 1536),  # another of its size
        (4096, 3072),
        (512, 0),
        (512, 392),  # padded by hand
        (700, 525),  # the slide's shape at an odd factor
    ],
)
def test_what_is_not_the_slide_made_smaller_is_no_level(image):
    assert fit_level((2048, 1536), image, (256, 256)) is None
    assert fit_level((2048, 1536), image) is None


def test_padding_to_whole_tiles_is_taken_off():
    # Sizes of CAMELYON16's tumor_001, whose tiles are 512 px.
    full, tile = (97_792, 221_184), (512, 512)
    padded = {2: (49_152, 110_592), 32: (3072, 7168), 128: (1024, 2048)}
    for factor, size in padded.items():
        expected = (math.ceil(full[0] / factor), math.ceil(full[1] / factor))
        assert fit_level(full, size, tile) == expected
        # Without tiles nothing explains it.
        assert fit_level(full, size) is None


def test_levels_are_put_in_order_and_the_rest_is_named():
    sizes = [(1000, 800), (250, 200), (400, 400), (500, 400), (250, 200)]
    chosen, cautions = choose_levels(sizes, lambda n: fit_level(sizes[0], sizes[n]))
    assert dict(chosen) == {0: (1000, 800), 3: (500, 400), 1: (250, 200)}
    assert ["400 x 400" in cautions[0], "250 x 200" in cautions[1]] == [True, True]
    levels = make_levels(list(chosen.values()))
    assert [level.downsample for level in levels] == [1, 2, 4]


@pytest.fixture
def write_levels(tmp_path):
    def write(*images):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            for image in images:
                file.write(image, tile=(256, 256), photometric="rgb", metadata=None)
        return tmp_path / "a.tif"

    return write


def test_levels_that_show_the_slide_are_not_odd(write_levels):
    image = paint(1200, 1600)
    middle = shrink(image)
    with open_slide(write_levels(image, middle, shrink(middle))) as slide:
        assert len(slide.levels) == 3
        assert not [*find_odd_levels(slide)]


def test_a_level_that_shows_something_else_is_told_and_the_next_is_not(write_levels):
    image = paint(1200, 1600)
    label = np.full((400, 533, 3), (200, 60, 60), np.uint8)
    coarse = shrink(shrink(image))
    with open_slide(write_levels(image, label, coarse)) as slide:
        assert [level.width_px for level in slide.levels] == [1600, 533, 100]
        (told,) = find_odd_levels(slide)
    assert "level 1 (533 x 400 px) shows other things than level 0" in told


def test_a_squeezed_level_that_may_be_a_padded_one_is_told(write_levels):
    image = paint(768, 1024)
    # At half its height of 384 it would be padded to 512.
    squeezed = image[np.arange(512) * 3 // 2][:, ::2].copy()
    with open_slide(write_levels(image, squeezed)) as slide:
        assert len([*find_odd_levels(slide)]) == 1
