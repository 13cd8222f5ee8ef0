import numpy as np
import pandas as pd
import pytest
import shapely

from eosin.heatmaps import (
    CLASS_COLOURS,
    Heatmap,
    OverlayWords,
    PredictedRegion,
    SlidePicture,
    draw_overlay,
    draw_overview,
    find_regions,
    overlays,
)
from eosin.heatmaps.colours import (
    ANNOTATION_COLOUR,
    ARTEFACT_COLOURS,
    PREDICTION_COLOUR,
    TISSUE_COLOUR,
)
from eosin.tiles import TissueMap


@pytest.fixture
def picture():
    """A grey slide of 8000 x 4000 px at 0.5 mpp, large enough for lines of two pixels.

    A thinner line, smoothed between two pixels, holds its colour in neither.
    """
    image = np.full((800, 1600, 3), 230, np.uint8)
    return SlidePicture(image, (8000, 4000), 0.5, "S 01")


@pytest.fixture
def framed(monkeypatch):
    """What was given to the frame by the last drawing."""
    given = {}
    add_frame = overlays.add_frame

    def watch(canvas, **options):
        given.update(options, image=canvas.image)
        return add_frame(canvas, **options)

    monkeypatch.setattr(overlays, "add_frame", watch)
    return given


@pytest.fixture
def heatmap():
    values = np.full((4, 8), np.nan, np.float32)
    values[1, 2:5] = [0.0, 0.6, 1.0]
    return Heatmap(values, 1000.0)


def has(image, colour):
    return (image == colour).all(axis=2).any()


def test_an_overlay_shows_values_where_they_are_and_nothing_elsewhere(
    picture, heatmap, framed
):
    draw_overlay(picture, heatmap)
    image = framed["image"]
    assert (image[100, 100] == 230).all()
    assert (image[300, 1300] == 230).all()
    change = [np.abs(image[300, x].astype(int) - 230).sum() for x in (500, 700, 900)]
    assert 0 < change[0] < change[1]
    assert 0 < change[0] < change[2]
    assert framed["legend"] == []
    assert framed["bar"].mark is None


def test_an_overlay_explains_all_that_it_draws(picture, heatmap, framed):
    regions = find_regions(heatmap, 0.5, mpp=0.5, slide_size=picture.slide_size)
    page = draw_overlay(
        picture,
        heatmap,
        subtitle="tumour, score 0.9",
        threshold=0.5,
        regions=regions,
        annotation=shapely.box(5500, 500, 7500, 2500),
        words=OverlayWords("probability of tumour", "predicted tumour"),
    )
    assert page.shape[0] > 800
    texts = [entry.text for entry in framed["legend"]]
    # Two cells of 1000 px at 0.5 um are 2 * 0.25 mm2.
    assert texts == ["predicted tumour, 0.50 mm²", "annotated by hand"]
    assert framed["bar"].text == "probability of tumour"
    assert framed["bar"].mark_text == "threshold 0.50"
    assert (framed["title"], framed["subtitle"]) == ("S 01", "tumour, score 0.9")
    for colour in (PREDICTION_COLOUR, ANNOTATION_COLOUR):
        assert has(framed["image"], colour)


def test_an_overlay_of_nothing_is_the_slide(picture, framed):
    nothing = Heatmap(np.full((2, 2), np.nan, np.float32), 100.0)
    draw_overlay(picture, nothing, annotation=shapely.Polygon())
    np.testing.assert_array_equal(framed["image"], picture.image)
    assert framed["legend"] == []


@pytest.fixture
def tissue():
    mask = np.zeros((40, 80), bool)
    mask[5:25, 5:45] = True
    fold = np.zeros_like(mask)
    fold[6:10, 6:10] = True
    artefacts = {"out_of_focus": fold, "pen": np.zeros_like(mask)}
    return TissueMap(mask, 100.0, artefacts)


def test_an_overview_counts_and_draws_every_label(picture, tissue, framed):
    tiles = pd.DataFrame(
        {
            "x_px0": [1000, 2000, 3000, 4000],
            "y_px0": [1000] * 4,
            "size_px0": [1000] * 4,
            "label": pd.array([0, 1, 1, None], dtype="Int8"),
        }
    )
    areas = {"tumour": shapely.box(5000, 2600, 7000, 3600), "normal": shapely.Polygon()}
    draw_overview(
        picture,
        tissue=tissue,
        tiles=tiles,
        class_names=("normal", "tumour"),
        areas=areas,
    )
    texts = [entry.text for entry in framed["legend"]]
    assert texts == [
        "normal: 1 tile",
        "tumour: 2 tiles",
        "no label: 1 tile",
        "out of focus",
        "tissue",
        "tumour, annotated",
    ]
    assert framed["subtitle"] == "4 tiles, tissue on 25% of the slide"
    image = framed["image"]
    assert has(image, TISSUE_COLOUR)
    assert has(image, CLASS_COLOURS[1])
    tint = np.sign(image[170, 170].astype(int) - 230)
    assert tint.tolist() == np.sign(np.subtract(ARTEFACT_COLOURS[0], 230)).tolist()


def test_an_overview_of_a_slide_without_tissue_still_comes(picture, framed):
    columns = ["x_px0", "y_px0", "size_px0", "label"]
    tiles = pd.DataFrame(columns=columns, dtype="Int64")
    nothing = TissueMap(np.zeros((40, 80), bool), 100.0, {})
    draw_overview(
        picture, tissue=nothing, tiles=tiles, class_names=("normal",), areas={}
    )
    assert framed["subtitle"] == "0 tiles, tissue on 0% of the slide"


@pytest.mark.parametrize(
    ("area_mm2", "text"),
    [(12.345, "12.35 mm²"), (0.5, "0.50 mm²"), (0.0031, "0.0031 mm²")],
)
def test_a_small_area_is_not_written_as_none(picture, heatmap, framed, area_mm2, text):
    region = PredictedRegion(shapely.box(0, 0, 99, 99), 0.9, 0.9, area_mm2)
    draw_overlay(picture, heatmap, regions=[region])
    assert [entry.text for entry in framed["legend"]] == [f"predicted, {text}"]
