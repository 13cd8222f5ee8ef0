from collections import Counter

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from eosin.annotations import MappedAnnotations, Region
from eosin.tiles import describe_fit, label_tiles

CLASSES = ("normal", "tumor", "necrosis")
EMPTY = shapely.Polygon()


def grid(n: int = 4, size: int = 10) -> pd.DataFrame:
    """Tiles in one row, side by side."""
    return pd.DataFrame(
        {"x_px0": np.arange(n) * size, "y_px0": 0, "size_px0": size}
    ).astype(np.int64)


def mapped(exclude=EMPTY, **areas) -> MappedAnnotations:
    given = {name: areas.get(name, EMPTY) for name in CLASSES}
    return MappedAnnotations(given, exclude, Counter())


def label(annotations, tiles=None, **options) -> pd.DataFrame:
    settings_ = {"slide_label": None, "unannotated": "auto", "min_fraction": 0.5}
    tiles = grid() if tiles is None else tiles
    return label_tiles(tiles, annotations, CLASSES, **(settings_ | options))


def labels_of(table: pd.DataFrame) -> list[int | None]:
    return [None if pd.isna(v) else int(v) for v in table["label"]]


def test_fractions_are_shares_of_the_tiles_area() -> None:
    table = label(mapped(tumor=shapely.box(0, 0, 25, 10)))
    assert table["tumor_fraction"].tolist() == [1, 1, 0.5, 0]
    assert table["normal_fraction"].tolist() == [0, 0, 0, 0]
    assert table["label"].dtype == "Int8"


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.integers(-5, 45), st.integers(-5, 25)), min_size=3, max_size=8
    )
)
def test_fractions_agree_with_a_raster(points) -> None:
    area = shapely.MultiPoint(points).convex_hull
    if area.area < 1:
        return
    table = label(mapped(tumor=area))
    for index, fraction in enumerate(table["tumor_fraction"]):
        steps = (np.arange(60) + 0.5) / 6
        x, y = np.meshgrid(index * 10 + steps, steps)
        raster = shapely.contains_xy(area, x, y).mean()
        assert fraction == pytest.approx(raster, abs=0.03)


@pytest.mark.parametrize(
    ("areas", "min_fraction", "expected"),
    [
        ({"tumor": (0, 14)}, 0.5, [1, None, 0, 0]),
        # Exactly the threshold is enough.
        ({"tumor": (0, 15)}, 0.5, [1, 1, 0, 0]),
        # The larger positive class wins, and equals have no label.
        ({"tumor": (0, 20), "necrosis": (4, 20)}, 0.5, [1, None, 0, 0]),
        # A positive class goes before the negative one around it.
        ({"normal": (0, 40), "tumor": (0, 6)}, 0.5, [1, 0, 0, 0]),
        # With 0 some area is needed still.
        ({"tumor": (0, 11)}, 0.0, [1, 1, 0, 0]),
    ],
)
def test_the_class_that_covers_enough_wins(areas, min_fraction, expected) -> None:
    boxes = {name: shapely.box(a, 0, b, 10) for name, (a, b) in areas.items()}
    assert labels_of(label(mapped(**boxes), min_fraction=min_fraction)) == expected


def test_holes_are_not_covered() -> None:
    hole = shapely.box(0, 0, 40, 10).difference(shapely.box(10, 0, 20, 10))
    assert label(mapped(tumor=hole))["tumor_fraction"].tolist() == [1, 0, 1, 1]


def test_excluded_areas_are_taken_off_and_most_of_a_tile_drops_it() -> None:
    table = label(
        mapped(tumor=shapely.box(0, 0, 40, 10), exclude=shapely.box(5, 0, 16, 10))
    )
    assert table["tumor_fraction"].tolist() == pytest.approx([0.5, 0.4, 1, 1])
    assert labels_of(table) == [1, None, 1, 1]
    excluded = mapped(exclude=shapely.box(0, 0, 16, 10))
    table = label(excluded, slide_label="normal")
    assert labels_of(table) == [None, None, 0, 0]


@pytest.mark.parametrize(
    ("unannotated", "slide_label", "areas", "expected"),
    [
        ("auto", "normal", (), 0),
        ("auto", None, (), None),
        ("auto", "another", (), None),
        ("auto", "tumor", (), None),
        ("negative", "tumor", (), None),
        ("negative", None, (), 0),
        ("ignore", "normal", (), None),
        ("auto", "tumor", ("tumor",), 0),
        ("auto", None, ("tumor",), 0),
        ("auto", "tumor", ("tumor", "normal"), None),
        ("auto", None, ("normal",), None),
        ("negative", "tumor", ("tumor", "normal"), 0),
        ("negative", "tumor", ("normal",), None),
        ("ignore", "tumor", ("tumor",), None),
    ],
)
def test_unannotated_tissue(unannotated, slide_label, areas, expected) -> None:
    # Everything is outlined in the first tile; the last one is unannotated.
    places = {"tumor": shapely.box(0, 0, 5, 10), "normal": shapely.box(5, 0, 10, 10)}
    annotations = mapped(**{name: places[name] for name in areas}) if areas else None
    table = label(annotations, unannotated=unannotated, slide_label=slide_label)
    assert labels_of(table)[-1] == expected


def test_the_given_table_stays_as_it_is_and_may_be_empty() -> None:
    tiles = grid()
    table = label(mapped(tumor=shapely.box(900, 900, 950, 950)), tiles)
    assert table["tumor_fraction"].eq(0).all()
    assert tiles.columns.tolist() == ["x_px0", "y_px0", "size_px0"]
    table = label(mapped(tumor=shapely.box(0, 0, 5, 5)), grid(0))
    assert len(table) == 0
    assert {"normal_fraction", "tumor_fraction", "label"} <= set(table.columns)


TISSUE = np.zeros((50, 100), bool)
TISSUE[10:30, 20:60] = True  # x 80 to 240, y 40 to 120 at four pixels each


def fit(*areas):
    regions = [Region("Tumor", area) for area in areas]
    return describe_fit(regions, TISSUE, 4.0, (400, 200))


def test_outlines_on_their_own_tissue_are_right():
    assert fit(box(80, 40, 240, 120)) == ""
    # Half of it is a rim on glass.
    assert fit(box(80, 40, 240, 200)) == ""
    assert fit() == ""


def test_a_few_regions_beyond_the_slide_are_counted():
    said = fit(box(80, 40, 240, 120), box(410, 0, 420, 9), box(-9, -9, -1, -1))
    assert said == "2 of 3 regions lie beyond the slide"


@pytest.mark.parametrize(
    ("area", "share", "beyond"),
    [
        # Shifted by 120 px: a quarter of it is left on tissue.
        (box(200, 40, 360, 120), 25, ""),
        # Coordinates of a level of downsample 8.
        (box(10, 5, 30, 15), 0, ""),
        # Twice as large: 80 x 40 of 320 x 160 on tissue, 240 x 120 on the slide.
        (box(160, 80, 480, 240), 6.25, " and 44% beyond the slide"),
    ],
)
def test_outlines_of_another_slide_are_told_with_their_share(area, share, beyond):
    said, rest = fit(area).split("% of the outlined area lies on tissue", 1)
    assert int(said) == pytest.approx(share, abs=2)
    assert rest.startswith(f"{beyond}; are the outlines another slide's")


def test_a_slide_without_tissue_says_nothing_of_outlines():
    none = np.zeros_like(TISSUE)
    assert describe_fit([Region("a", box(0, 0, 9, 9))], none, 4.0, (400, 200)) == ""
