from collections import Counter

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.annotations import MappedAnnotations
from eosin.tiles import label_tiles

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


def test_the_class_over_the_threshold_wins_and_less_has_no_label() -> None:
    table = label(mapped(tumor=shapely.box(0, 0, 14, 10)))
    assert labels_of(table) == [1, None, 0, 0]


def test_exactly_the_threshold_is_enough() -> None:
    table = label(mapped(tumor=shapely.box(0, 0, 15, 10)))
    assert labels_of(table) == [1, 1, 0, 0]


def test_the_larger_positive_class_wins_and_equals_have_no_label() -> None:
    areas = {"tumor": shapely.box(0, 0, 20, 10), "necrosis": shapely.box(4, 0, 20, 10)}
    assert labels_of(label(mapped(**areas)))[:2] == [1, None]


def test_a_positive_class_goes_before_the_negative_around_it() -> None:
    areas = {"normal": shapely.box(0, 0, 40, 10), "tumor": shapely.box(0, 0, 6, 10)}
    assert labels_of(label(mapped(**areas))) == [1, 0, 0, 0]


def test_min_fraction_0_needs_some_area_still() -> None:
    table = label(mapped(tumor=shapely.box(0, 0, 11, 10)), min_fraction=0.0)
    assert labels_of(table) == [1, 1, 0, 0]


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


def test_annotations_outside_every_tile_label_nothing() -> None:
    table = label(mapped(tumor=shapely.box(900, 900, 950, 950)))
    assert table["tumor_fraction"].eq(0).all()


def test_no_tiles_give_an_empty_table_with_the_columns() -> None:
    table = label(mapped(tumor=shapely.box(0, 0, 5, 5)), grid(0))
    assert len(table) == 0
    assert {"normal_fraction", "tumor_fraction", "label"} <= set(table.columns)


def test_the_given_table_stays_as_it_is() -> None:
    tiles = grid()
    label(None, tiles)
    assert tiles.columns.tolist() == ["x_px0", "y_px0", "size_px0"]
