import math

import pytest

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
