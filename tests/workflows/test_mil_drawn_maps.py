import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile

from eosin.core import Progress, SlideError
from eosin.workflows import mil_drawn_maps as module
from eosin.workflows.mil_drawn_maps import draw_slide_maps
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import open_mil_run
from eosin.workflows.tile_folder import open_tile_folder


@pytest.fixture
def draw(pixel_study, tile_folder, tmp_path):
    run, folder = open_mil_run(pixel_study / "run"), open_tile_folder(tile_folder)

    def draw_all(tiles, folder=folder):
        words = (MILPredictConfig(), tmp_path, Progress())
        return draw_slide_maps(run, folder, tiles, *words)

    return draw_all, folder


def make_tiles(folder):
    """Make two bags of one slide that share a tile."""
    own = folder.tiles[folder.tiles["slide_id"] == folder.tiles["slide_id"].iloc[0]]
    own = own.iloc[[0, 1, 1, 2]][["tile_id", "slide_id", "x_px0", "y_px0"]]
    return own.assign(bag_id=["a", "a", "b", "b"], attention=[0.5, 1.5, 0.9, 1.1])


def test_a_tile_has_the_mean_attention_of_its_bags(draw, tmp_path):
    draw_all, folder = draw
    tiles = make_tiles(folder)
    assert draw_all(tiles) == []
    name = tiles["slide_id"].iloc[0]
    features = json.loads((tmp_path / f"{name}.geojson").read_text())["features"]
    tile = [f for f in features if f["properties"]["objectType"] == "tile"]
    times = [f["properties"]["measurements"]["Attention over 1/n"] for f in tile]
    # Of 1.5 and .9 the mean.
    assert times == pytest.approx([1.2, 1.1, 0.5])
    raster = tifffile.imread(tmp_path / f"{name}.heatmap.tif", level=0)
    assert np.nanmax(raster) == pytest.approx(1)
    assert (tmp_path / f"{name}.overlay.jpg").exists()


def test_scores_of_tiles_are_averaged_too(draw, tmp_path):
    draw_all, folder = draw
    tiles = make_tiles(folder)
    tiles["probability_tumor"] = [0.1, 0.2, 0.4, 0.8]
    tiles["probability_normal"] = 1 - tiles["probability_tumor"]
    draw_all(tiles)
    name = tiles["slide_id"].iloc[0]
    features = json.loads((tmp_path / f"{name}.geojson").read_text())["features"]
    tile = next(f for f in features if f["properties"]["objectType"] == "tile")
    found = tile["properties"]["measurements"]["Tile probability of tumor"]
    assert found == pytest.approx(0.3)


def test_a_slide_that_cannot_be_read_is_listed(draw, monkeypatch):
    draw_all, folder = draw

    def fail(*_arguments, **_options):
        raise SlideError("no thumbnail")

    monkeypatch.setattr(module, "picture_slide", fail)
    (failure,) = draw_all(make_tiles(folder))
    assert failure.message == "its maps cannot be drawn (no thumbnail)"


def test_patches_and_nothing_have_no_maps(draw, tmp_path):
    draw_all, folder = draw
    tiles = make_tiles(folder)
    assert draw_all(tiles, SimpleNamespace(has_patches=True)) == []
    assert draw_all(tiles.iloc[:0]) == []
    assert list(tmp_path.iterdir()) == []
    assert isinstance(tiles, pd.DataFrame)
