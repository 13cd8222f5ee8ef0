import json
from dataclasses import replace

import numpy as np
import openslide
import pandas as pd
import pytest
import tifffile
from PIL import Image
from shapely.geometry import shape

from eosin.core import Box, CohortError, SlideError
from eosin.prediction.maps import (
    Attention,
    Call,
    Place,
    TileValues,
    layer_attention,
    layer_classes,
)
from eosin.prediction.outputs import (
    OUTPUTS,
    remove_outputs,
    require_own_outputs,
    write_outputs,
)
from eosin.prediction.sources import OpenSource
from eosin.slides import open_slide, write_pyramid

TIMES = np.array([0.3, 0.6, 2.1])
TILES = pd.DataFrame({"x_px0": [0, 64, 128], "y_px0": 0, "size_px0": 64})
COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200))
# QuPath counts from the corner of the scanned bounds, OpenSlide from the scan's.
PLACE = Place((256, 64), 1.0, Box(40, 24, 200, 30))


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """Three tiles of 64 px, each of one colour."""
    image = np.full((64, 256, 3), 255, np.uint8)
    for index, colour in enumerate(COLOURS):
        image[:, 64 * index : 64 * (index + 1)] = colour
    path = tmp_path_factory.mktemp("outputs") / "s.tif"
    write_pyramid(path, image, mpp=1.0, compression="zlib")
    with open_slide(path) as slide:
        yield slide


@pytest.fixture
def values():
    """Attention, and scores of the tiles, as a bag model gives them."""
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    call = Call("tumor", {"normal": 0.2, "tumor": 0.8})
    words = {"source": "by 1 fold", "subtitle": "called tumor"}
    attention = Attention.rank_tiles(TIMES, scores)
    layer = layer_attention(
        attention, ("normal", "tumor"), outline_from=1.5, n_objects=2, **words
    )
    instances = layer_classes(scores, call, threshold=0.5, source="by 1 fold")
    return TileValues(TILES, [layer, *instances], {2: "2.1", 1: "0.6"})


def write(out, name, slide, values, place=PLACE):
    source = OpenSource(name=name, tiles=values.tiles, place=place, slide=slide)
    return write_outputs(out, source, values)


def test_a_slide_gets_its_files_and_loses_them(slide, values, tmp_path):
    layers, damage = write(tmp_path, "a/b", slide, values)
    assert damage == ""
    assert [round(laid.area_mm2, 4) for laid in layers] == [0.0041, 0.0041]
    names = {f"a%2Fb{layer}{s}" for layer in ("", ".instances") for s in OUTPUTS}
    found = {path.name for path in tmp_path.iterdir()}
    assert found == names - {"a%2Fb.instances.gallery.png"}
    with openslide.OpenSlide(tmp_path / "a%2Fb.heatmap-colour.tif") as picture:
        # Of the bounds, 200 x 30, in cells that also fit their corner.
        assert picture.dimensions == (25, 4)
    raster = tifffile.imread(tmp_path / "a%2Fb.heatmap.tif", level=0)
    assert raster.tolist() == [pytest.approx([1 / 3, 2 / 3, 1, 0])]
    with tifffile.TiffFile(tmp_path / "a%2Fb.heatmap.tif") as file:
        assert "rank among the tiles, by 1 fold" in file.pages[0].description
    remove_outputs(tmp_path, "a/b", ["instances"])
    assert list(tmp_path.iterdir()) == []


def test_classes_are_spelt_as_the_annotations_do(slide, values, tmp_path):
    source = OpenSource(name="s", tiles=values.tiles, place=PLACE, slide=slide)
    write_outputs(tmp_path, source, values, {"tumor": "Tumor: invasive"})
    names = {
        feature["properties"]["classification"]["name"]
        for path in tmp_path.glob("*.geojson")
        for feature in json.loads(path.read_text())["features"]
        if "classification" in feature["properties"]
    }
    assert names == {"High attention", "Tumor: invasive"}


def test_a_slide_called_like_a_map_of_another_stops():
    require_own_outputs(["S1", "S2.tumour"], ["tumor", "instances"])
    for name in ("S1.tumor", "S1.instances"):
        with pytest.raises(CohortError, match=f"'{name}' would be those of slide 'S1'"):
            require_own_outputs(["S1", name], ["tumor", "instances"])


def test_outlines_and_tiles_lie_where_qupath_counts_from(slide, values, tmp_path):
    write(tmp_path, "s", slide, values)
    content = json.loads((tmp_path / "s.geojson").read_text())
    region, first, second = content["features"]
    for feature in (region, first):
        assert shape(feature["geometry"]).bounds == (88, -24, 152, 40)
    assert shape(second["geometry"]).bounds == (24, -24, 88, 40)
    assert region["properties"]["name"] == "Attention 1, by 1 fold"
    assert region["properties"]["measurements"] == {
        "Mean attention over 1/n": pytest.approx(2.1),
        "Max attention over 1/n": pytest.approx(2.1),
        "Area mm^2": pytest.approx(0.0041, abs=1e-4),
    }
    # The second one has 0.6 x 1/n, and outlines begin at 1.5.
    assert first["properties"]["classification"]["name"] == "High attention"
    assert "classification" not in second["properties"]


def test_the_gallery_shows_the_tiles_in_the_order_of_their_captions(
    slide, values, tmp_path
):
    write(tmp_path, "s", slide, values)
    sheet = np.asarray(Image.open(tmp_path / "s.gallery.png"))
    # Tiles of 128 px with 6 px between them.
    assert sheet.shape == (140, 274, 3)
    assert sheet[70, 70].tolist() == list(COLOURS[2])
    assert sheet[70, 204].tolist() == list(COLOURS[1])


def test_without_a_slide_or_a_resolution_less_is_written(slide, values, tmp_path):
    write(tmp_path / "no slide", "s", None, values)
    found = {path.name for path in (tmp_path / "no slide").iterdir()}
    assert not {"s.overlay.jpg", "s.gallery.png"} & found
    assert "s.heatmap.tif" in found
    attention = replace(values, layers=values.layers[:1])
    write(tmp_path / "no mpp", "s", slide, attention, replace(PLACE, mpp=None))
    found = {path.name for path in (tmp_path / "no mpp").iterdir()}
    assert found == {"s.geojson", "s.gallery.png"}
    content = json.loads((tmp_path / "no mpp" / "s.geojson").read_text())
    assert "Area mm^2" not in content["features"][0]["properties"]["measurements"]
    # A slide without tissue says so by an empty file.
    write(tmp_path / "empty", "s", slide, TileValues(TILES.iloc[:0]))
    (path,) = (tmp_path / "empty").iterdir()
    assert json.loads(path.read_text())["features"] == []


def test_a_damaged_slide_costs_its_pictures_only(slide, values, tmp_path, monkeypatch):
    def fail(*_arguments, **_options):
        raise SlideError("a tile is cut short")

    monkeypatch.setattr(type(slide), "read_tiles", fail)
    _, damage = write(tmp_path, "s", slide, values)
    assert damage == "a tile is cut short"
    found = {path.name for path in tmp_path.iterdir()}
    assert {"s.geojson", "s.heatmap.tif"} <= found
    assert not {"s.overlay.jpg", "s.gallery.png"} & found
