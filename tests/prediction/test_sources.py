import numpy as np
import pandas as pd
import pytest

from eosin.core import Box, ManifestError, SlideError
from eosin.prediction.maps import Place
from eosin.prediction.sources import (
    OpenSource,
    find_slide_mpp,
    find_tile_size,
    place_without_slide,
)

COORDS = np.array([[0, 0], [30, 0], [0, 50], [90, 50]])
TILES = pd.DataFrame({"x_px0": [0, 90], "y_px0": [0, 50], "size_px0": 30})


@pytest.mark.parametrize(
    ("attributes", "mpp", "size"),
    [
        ({"size_px0": 64, "patch_size": 9, "downsample": 1}, None, 64),
        ({"patch_size_level0": 512}, None, 512),
        # CLAM: 256 px at a level of a fourth.
        ({"patch_size": 256, "downsample": np.array([4.0, 4.0])}, None, 1024),
        # STAMP: 256 um of 0.5 um a pixel.
        ({"tile_size_um": 256.0}, 0.5, 512),
        ({}, None, 30),
    ],
)
def test_the_side_of_tiles_is_taken_from_the_file(attributes, mpp, size):
    assert find_tile_size(attributes, COORDS, mpp) == size
    # One tile without a word has no size.
    if not attributes:
        with pytest.raises(ManifestError, match="tile_px0"):
            find_tile_size({}, COORDS[:1], 0.5)


def test_resolution_is_read_from_the_file():
    assert find_slide_mpp({"slide_mpp": 0.25, "level0_magnification": 20}) == 0.25
    assert find_slide_mpp({"slide_mpp": np.nan, "level0_magnification": 20}) == 0.5
    assert find_slide_mpp({}) is None


def test_a_slide_that_is_not_at_hand_is_placed_by_its_file():
    known = {"level0_width": 500, "level0_height": 40}
    # A frame must hold all tiles.
    expected = Place((500, 80), 0.5, Box(0, 0, 500, 80))
    assert place_without_slide(known, TILES, 0.5) == expected
    assert place_without_slide({}, TILES, None).dimensions == (120, 80)


def test_tiles_that_can_be_read_are_found_one_by_one():
    def read(rows):
        if rows[0] == 1:
            raise SlideError("cut short")

    source = OpenSource(name="s", tiles=pd.concat([TILES, TILES]), read=read)
    assert source.find_readable().tolist() == [0, 2, 3]
