import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from shapely.geometry import shape

from eosin.core import Box
from eosin.heatmaps import SlidePicture
from eosin.workflows.mil_heatmaps import (
    AttentionWriter,
    SlideAttention,
    draw_attention,
    list_most_attended,
    rank_attention,
)
from eosin.workflows.mil_slides import SlidePlace

# Attention .5, .25, .125, .125 of four tiles, times 4.
TIMES = np.array([0.5, 2.0, 1.0, 0.5])
TILES = pd.DataFrame(
    {"x_px0": [10, 20, 30, 40], "y_px0": [10, 10, 10, 10], "size_px0": 10}
)
PLACE = SlidePlace((100, 50), 2.0, Box(5, 5, 90, 40))


def write(tmp_path, *, place=PLACE, instances=None, **options):
    settings = {"outline_from": 1.5, "tile_objects": 2} | options
    writer = AttentionWriter(
        tmp_path, source="mean of 3 folds", class_names=("a", "b"), **settings
    )
    found = SlideAttention(TILES, TIMES, rank_attention(TIMES), instances)
    facts = writer.write(place, None, found, slide_id="S/1", subtitle="")
    return writer, facts


def test_ranks_are_shares_and_equal_ones_share_the_middle():
    # The two lowest have ranks 1 and 2 of 4: 1.5 / 4.
    assert rank_attention(TIMES).tolist() == [0.375, 1.0, 0.75, 0.375]
    # Rounding of a softmax is no difference.
    assert len(set(rank_attention(1 + 1e-7 * np.arange(5)))) == 1
    assert rank_attention(np.array([1.0])).tolist() == [1.0]


def test_the_most_attended_come_first():
    assert list_most_attended(TIMES, 3).tolist() == [1, 2, 0]


def test_outlines_and_tiles_lie_where_the_tiles_are(tmp_path):
    instances = np.array([[1, 0], [0.2, 0.8], [1, 0], [1, 0]])
    _, facts = write(tmp_path, instances=instances)
    # One tile of 10 px of 2 um is 20 um wide.
    assert facts == {"attended_mm2": pytest.approx(0.0004), "attended_regions": 1}
    content = json.loads(next(tmp_path.glob("*.geojson")).read_text())
    region, first, second = content["features"]
    assert shape(region["geometry"]).bounds == (15, 5, 25, 15)
    assert region["properties"]["measurements"] == {
        "Mean attention over 1/n": 2,
        "Max attention over 1/n": 2,
        "Area mm^2": pytest.approx(0.0004),
    }
    assert shape(first["geometry"]).bounds == (15, 5, 25, 15)
    assert shape(second["geometry"]).bounds == (25, 5, 35, 15)
    # The second one has 1 x 1/n, and outlines begin at 1.5.
    assert first["properties"]["classification"]["name"] == "High attention"
    assert "classification" not in second["properties"]
    assert first["properties"]["measurements"] == {
        "Attention over 1/n": 2,
        "Attention rank": 1,
        "Tile probability of a": 0.2,
        "Tile probability of b": 0.8,
    }


def test_the_raster_holds_ranks_and_says_so(tmp_path):
    write(tmp_path)
    path = next(tmp_path.glob("*.heatmap.tif"))
    raster = tifffile.imread(path, level=0)
    # Cells of 10 px from the corner of the scan.
    assert raster.shape == (5, 10)
    assert raster[1, 1:5].tolist() == pytest.approx([0.375, 1, 0.75, 0.375])
    assert raster.sum() == pytest.approx(2.5)


def test_without_a_resolution_there_is_neither_raster_nor_area(tmp_path):
    place = SlidePlace((100, 50), None, Box(0, 0, 100, 50))
    writer, facts = write(tmp_path, place=place)
    assert facts == {"attended_mm2": None, "attended_regions": 1}
    assert not list(tmp_path.glob("*.tif"))
    content = json.loads(next(tmp_path.glob("*.geojson")).read_text())
    assert "Area mm^2" not in content["features"][0]["properties"]["measurements"]
    writer.remove("S/1")
    assert not list(tmp_path.iterdir())


def test_the_picture_shows_the_highest_rank_brightest():
    picture = SlidePicture(np.full((400, 400, 3), 200, np.uint8), (100, 100), 1.0, "S")
    from eosin.heatmaps import rasterise_tiles

    heatmap = rasterise_tiles(
        TILES["x_px0"].to_numpy(), TILES["y_px0"].to_numpy(), 10, rank_attention(TIMES)
    )
    image = draw_attention(picture, heatmap, source="fold 0", outline_from=2)
    assert image.shape[0] > 400
    # Viridis ends in yellow: little blue. The lowest rank leaves more.
    head = image.shape[0] - 400
    assert head > 0
    blue = image[..., 2].astype(int)
    assert blue.min() < 130
