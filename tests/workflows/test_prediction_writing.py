import json

import numpy as np
import openslide
import pandas as pd
import pytest
import tifffile

from eosin.annotations import read_annotations
from eosin.slides import open_slide, write_pyramid
from eosin.workflows.prediction_writing import PredictionWriter

# Two by two tiles of 100 px at 1 micrometre: 0.01 mm2 each.
TILES = pd.DataFrame(
    {"x_px0": [0, 100, 0, 100], "y_px0": [0, 0, 100, 100], "size_px0": 100}
)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("writing") / "pale.tif"
    write_pyramid(path, np.full((200, 200, 3), 230, np.uint8), mpp=1.0)
    with open_slide(path) as slide:
        yield slide


def write(slide, out, probabilities, names, **options):
    """Write what a model of these classes would say of the four tiles."""
    options = {
        "threshold": None,
        "min_area_mm2": None,
        "has_tile_objects": False,
    } | options
    probabilities = np.array(probabilities, float)
    called = {"label": names[1], "score": 0.9}
    called |= {f"probability_{name}": 0.5 for name in names}
    facts = PredictionWriter(out, names, **options).write(
        slide, TILES, probabilities, slide_id="a/b", called=called
    )
    content = json.loads((out / "a%2Fb.geojson").read_text())
    return facts, [
        (
            feature["properties"]["objectType"],
            feature["properties"]["classification"]["name"],
        )
        for feature in content["features"]
    ]


def test_of_two_classes_the_positive_one_is_found_at_the_threshold(slide, tmp_path):
    values = [[0.2, 0.8], [0.4, 0.6], [0.9, 0.1], [np.nan, np.nan]]
    names = ("normal", "tumor")
    facts, found = write(slide, tmp_path, values, names, threshold=0.7)
    assert facts == {"tumour_mm2": 0.01, "regions": 1}
    assert found == [("annotation", "tumor")]
    # Without a threshold it is a half.
    facts, found = write(slide, tmp_path, values, names, has_tile_objects=True)
    assert facts == {"tumour_mm2": 0.02, "regions": 1}
    assert found == [("annotation", "tumor"), ("tile", "tumor"), ("tile", "tumor")]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a%2Fb.geojson",
        "a%2Fb.heatmap-colour.tif",
        "a%2Fb.heatmap.tif",
        "a%2Fb.overlay.jpg",
    ]


def test_of_three_classes_each_place_has_the_likeliest(slide, tmp_path):
    names = ("normal", "adenoma", "tumour")
    values = [[0.4, 0.35, 0.25], [0.3, 0.4, 0.3], [0.1, 0.3, 0.6], [0.2, 0.1, 0.7]]
    facts, found = write(slide, tmp_path, values, names, has_tile_objects=True)
    # The class called tumour has an area of its own beside that of both.
    assert facts == {
        "tumour_mm2": 0.03,
        "regions": 2,
        "area_adenoma_mm2": 0.01,
        "area_tumour_mm2": 0.02,
    }
    assert found == [
        ("annotation", "adenoma"),
        ("tile", "adenoma"),
        ("annotation", "tumour"),
        ("tile", "tumour"),
        ("tile", "tumour"),
    ]
    with tifffile.TiffFile(tmp_path / "a%2Fb.adenoma.heatmap.tif") as file:
        heatmap = file.pages[0].asarray()
    # The whole of a class's probability is shown, not only where it was called.
    np.testing.assert_allclose(heatmap, [[0.35, 0.4], [0.3, 0.1]], atol=1e-6)
    assert (tmp_path / "a%2Fb.tumour.overlay.jpg").exists()


def test_with_three_classes_a_threshold_leaves_the_less_probable_out(slide, tmp_path):
    names = ("normal", "adenoma", "carcinoma")
    values = [[0.4, 0.35, 0.25], [0.3, 0.4, 0.3], [0.1, 0.3, 0.6], [0.2, 0.1, 0.7]]
    facts, found = write(
        slide, tmp_path, values, names, threshold=0.65, has_tile_objects=True
    )
    assert facts["area_adenoma_mm2"] == 0
    assert facts["area_carcinoma_mm2"] == pytest.approx(0.01)
    assert found == [("annotation", "carcinoma"), ("tile", "carcinoma")]


def test_areas_below_the_least_are_left_out(slide, tmp_path):
    values = [[0.2, 0.8], [0.2, 0.8], [0.9, 0.1], [0.9, 0.1]]
    names = ("normal", "tumor")
    assert write(slide, tmp_path, values, names, min_area_mm2=0.021)[1] == []
    assert len(write(slide, tmp_path, values, names, min_area_mm2=0.019)[1]) == 1


def test_a_study_of_three_classes_leads_to_outlines_of_each(three_classes):
    out = three_classes / "out"
    with open_slide(three_classes / "new.tif") as slide:
        found = read_annotations(out / "new.geojson", slide=slide)
    areas = {"adenoma": 0.0, "carcinoma": 0.0}
    truth = {"adenoma": (64, 320), "carcinoma": (320, 576)}
    for region in found.regions:
        left, top, right, bottom = region.geometry.bounds
        start, end = truth[region.class_name]
        assert start - 32 <= left < right <= end + 32
        assert 32 <= top < bottom <= 352
        areas[region.class_name] += region.geometry.area
    for area in areas.values():
        # Outlines and tiles are both in the file.
        assert area / 2 == pytest.approx(256**2, rel=0.15)


def test_a_study_of_three_classes_has_a_heatmap_of_each_positive_one(three_classes):
    out = three_classes / "out"
    means = {}
    for name in ("adenoma", "carcinoma"):
        with tifffile.TiffFile(out / f"new.{name}.heatmap.tif") as file:
            values = file.pages[0].asarray()
        assert values.shape == (12, 20)
        means[name] = values[2:10, 2:10].mean(), values[2:10, 10:18].mean()
        with openslide.OpenSlide(out / f"new.{name}.heatmap-colour.tif") as picture:
            assert picture.dimensions == (20, 12)
        assert (out / f"new.{name}.overlay.jpg").exists()
    np.testing.assert_allclose(means["adenoma"], (1, 0), atol=0.2)
    np.testing.assert_allclose(means["carcinoma"], (0, 1), atol=0.2)
    assert not (out / "new.heatmap.tif").exists()
    assert not list(out.glob("*normal*"))


def test_a_study_of_three_classes_has_a_table_of_each_class(three_classes):
    table = pd.read_csv(three_classes / "out" / "slides.csv").set_index("slide_id")
    names = [f"probability_{n}" for n in ("normal", "adenoma", "carcinoma")]
    np.testing.assert_allclose(table[names].sum(axis=1), 1)
    assert table.loc["slide-0", "label"] == "normal"
    assert table.loc["slide-0", "tumour_mm2"] == pytest.approx(0, abs=0.005)
    assert table.loc["new", "label"] in ("adenoma", "carcinoma")
    for name in ("adenoma", "carcinoma"):
        # Squares of 256 px at 1 micrometre.
        assert table.loc["new", f"area_{name}_mm2"] == pytest.approx(0.0655, rel=0.15)
    total = table[["area_adenoma_mm2", "area_carcinoma_mm2"]].sum(axis=1)
    np.testing.assert_allclose(table["tumour_mm2"], total, atol=2e-4)
