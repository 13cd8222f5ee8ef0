import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image
from sklearn.metrics import roc_auc_score

from eosin.bags import read_bag_table
from eosin.core import Progress, SlideError
from eosin.prediction import outputs
from eosin.prediction.items import Item
from eosin.prediction.maps import Attention, TileValues
from eosin.prediction.predictor import draw_slide_maps, predict_item
from eosin.prediction.sources import Source, open_drawn_tiles
from eosin.runs.run import read_run
from eosin.settings import PredictionSettings
from eosin.tiles import open_tile_folder


class Fixed:
    """Models that attend to the last tile but one, and keep what they were shown.

    The first tile passes for one that cannot be read.
    """

    def score(self, item, sources):
        del item
        (source,) = sources
        self.pixels = source.read(np.arange(6))
        attention = Attention.rank_tiles(5 * np.array([0.1, 0.1, 0.2, 0.5, 0.1]))
        tiles, captions = source.tiles.iloc[1:], {3: "2.5", 2: "1"}
        return [TileValues(tiles, (), captions, {"status": "done"}, attention)]


def test_a_bag_is_shown_its_own_tiles_and_keeps_their_attention(
    pixel_study, tile_folder, tmp_path
):
    folder = open_tile_folder(tile_folder)
    table, _ = read_bag_table(pixel_study / "bags" / "bags.parquet")
    rows = table[table["bag_id"] == "train-00001"].reset_index(drop=True)
    index = folder.tiles["tile_id"].tolist()
    rows["place"] = [index.index(name) for name in rows["tile_id"]]
    card, scorer = read_run(pixel_study / "run").card, Fixed()
    with folder.open_reader() as reader:
        name = "train-00001"
        opened = partial(open_drawn_tiles, name, rows, reader)
        item = Item(name, [Source(name, {"bag_id": name}, [], opened)], "key")
        part = predict_item(card, scorer, tmp_path, item)
        pixels = reader.read(rows["place"].to_numpy())
    np.testing.assert_array_equal(scorer.pixels, pixels)
    tiles = part["tiles"]
    assert tiles["attention"] == pytest.approx([0.5, 0.5, 1, 2.5, 0.5])
    assert tiles["rank"][3] == 1
    assert tiles["tile_id"] == rows["tile_id"].tolist()[1:]
    (row,) = part["rows"]
    expected = roc_auc_score(rows["is_witness"].iloc[1:], [1, 1, 2, 3, 1])
    assert row["witness_auc"] == pytest.approx(expected)
    assert row["gallery"] == ["2.5", "1"]
    sheet = np.asarray(Image.open(tmp_path / "train-00001.gallery.png"))
    small = Image.fromarray(sheet[6 : 6 + 128, 6 : 6 + 128]).resize((64, 64))
    assert np.abs(np.asarray(small).astype(int) - pixels[4]).mean() < 12


@pytest.fixture
def draw(pixel_study, tile_folder, tmp_path):
    card, folder = read_run(pixel_study / "run").card, open_tile_folder(tile_folder)
    # Two bags of one slide share a tile.
    own = folder.tiles[folder.tiles["slide_id"] == folder.tiles["slide_id"].iloc[0]]
    own = own.iloc[[0, 1, 1, 2]][["tile_id", "slide_id", "x_px0", "y_px0"]]
    tiles = own.assign(bag_id=["a", "a", "b", "b"], attention=[0.5, 1.5, 0.9, 1.1])

    def draw_all(tiles, folder=folder):
        words = (PredictionSettings(), tmp_path, Progress())
        return draw_slide_maps(card, folder, tiles, *words)

    return draw_all, tiles


def test_a_tile_has_the_mean_of_its_bags(draw, tmp_path):
    draw_all, tiles = draw
    scores = [0.1, 0.2, 0.4, 0.8]
    tiles["probability_tumor"], tiles["probability_normal"] = scores, 0.5
    assert draw_all(tiles) == []
    name = tiles["slide_id"].iloc[0]
    features = json.loads((tmp_path / f"{name}.geojson").read_text())["features"]
    tile = [f for f in features if f["properties"]["objectType"] == "tile"]
    measured = [f["properties"]["measurements"] for f in tile]
    # Of 1.5 and .9 the mean.
    times = [m["Attention over 1/n"] for m in measured]
    assert times == pytest.approx([1.2, 1.1, 0.5])
    assert measured[0]["Tile probability of tumor"] == pytest.approx(0.3)
    raster = tifffile.imread(tmp_path / f"{name}.heatmap.tif", level=0)
    assert raster.max() == pytest.approx(1)
    assert (tmp_path / f"{name}.overlay.jpg").exists()


def test_a_slide_that_cannot_be_read_is_listed(draw, monkeypatch):
    draw_all, tiles = draw

    def fail(*_arguments, **_options):
        raise SlideError("no thumbnail")

    monkeypatch.setattr(outputs, "picture_slide", fail)
    (failure,) = draw_all(tiles)
    assert failure.message == "its maps cannot be drawn (no thumbnail)"


def test_patches_and_nothing_have_no_maps(draw, tmp_path):
    draw_all, tiles = draw
    assert draw_all(tiles, SimpleNamespace(has_patches=True)) == []
    assert draw_all(tiles.iloc[:0]) == []
    assert list(tmp_path.iterdir()) == []
