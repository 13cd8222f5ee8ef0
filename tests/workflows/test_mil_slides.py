import numpy as np
import pandas as pd
import pytest

from eosin.core import Box, ManifestError, SlideError
from eosin.workflows.mil_slides import (
    SlideFinder,
    SlidePlace,
    find_slide_mpp,
    find_tile_size,
    place_slide,
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


def test_one_tile_without_a_word_has_no_size():
    with pytest.raises(ManifestError, match="--set tile_px0"):
        find_tile_size({}, COORDS[:1], 0.5)


def test_resolution_is_read_from_the_file():
    assert find_slide_mpp({"slide_mpp": 0.25, "level0_magnification": 20}) == 0.25
    assert find_slide_mpp({"slide_mpp": np.nan, "level0_magnification": 20}) == 0.5
    assert find_slide_mpp({}) is None


def test_a_slide_that_is_not_at_hand_is_placed_by_its_file():
    place = place_slide(None, {"level0_width": 500, "level0_height": 40}, TILES, 0.5)
    # A frame must hold all tiles.
    assert place == SlidePlace((500, 80), 0.5, Box(0, 0, 500, 80))
    assert place.require_mpp() == 0.5
    nothing = place_slide(None, {}, TILES, None)
    assert nothing.dimensions == (120, 80)
    with pytest.raises(SlideError, match="column 'mpp'"):
        nothing.require_mpp()


def test_slides_are_found_by_table_and_by_tile_folder(mil_study, tmp_path):
    table = mil_study / "slides.csv"
    by_table = SlideFinder.of_table(table)
    by_tiles = SlideFinder.of_tiles(mil_study / "tiles")
    assert by_table.find_path("M1") == by_tiles.find_path("M1")
    assert by_table.find_mpp("M1") is None
    assert by_tiles.find_mpp("M1") == 1
    assert by_table.fingerprint("M1") == by_tiles.fingerprint("M1") is not None
    with by_tiles.open("M1") as slide:
        assert place_slide(slide, {}, TILES, None) == SlidePlace(
            (640, 384), pytest.approx(1.0), Box(0, 0, 640, 384)
        )
    for gone in (SlideFinder.of_tiles(None), SlideFinder.of_tiles(tmp_path)):
        assert gone.find_path("M1") is None
        assert gone.fingerprint("M1") is None
        with gone.open("M1") as slide:
            assert slide is None


def test_a_slide_that_cannot_be_read_has_no_fingerprint(tmp_path):
    (tmp_path / "bad.svs").write_bytes(b"nothing")
    (tmp_path / "slides.csv").write_text("slide_id,path\nbad,bad.svs\n")
    finder = SlideFinder.of_table(tmp_path / "slides.csv")
    assert finder.find_path("bad") is not None
    found = finder.fingerprint("bad")
    assert found is None or isinstance(found, str)
    with pytest.raises(SlideError), finder.open("bad"):
        pass


def test_patches_have_no_slides(odd_patches):
    assert SlideFinder.of_tiles(odd_patches).find_path("any") is None
