import numpy as np
import pandas as pd
import pytest

from eosin.core import ManifestError
from eosin.evaluation import (
    PREDICTION_SCHEMA,
    SlideAggregation,
    aggregate_predictions,
    build_predictions,
    groups_of,
    labels_of,
    read_predictions,
    write_predictions,
)


def test_a_table_comes_back_as_it_was_written(cohort, target, tmp_path):
    table = aggregate_predictions(cohort, SlideAggregation(0.2), target=target)
    path = tmp_path / "Fälle 1" / "predictions.parquet"
    write_predictions(path, table, target)
    read, found = read_predictions(path)
    assert found == target
    pd.testing.assert_frame_equal(read, table)


def test_rows_without_a_label_or_a_place_are_allowed(make_tiles, target, tmp_path):
    table = make_tiles(("S1", "P1", "external", None, [0.25]))
    table[["x_px0", "y_px0", "size_px0"]] = pd.NA
    path = tmp_path / "p.parquet"
    write_predictions(path, table, target)
    read, _ = read_predictions(path)
    assert read["label"].isna().all()
    assert read["x_px0"].isna().all()
    assert labels_of(read).tolist() == [-1]
    assert target.take(read).tolist() == [[0.75, 0.25]]


def test_places_may_be_missing_from_a_manifest(target):
    tiles = pd.DataFrame(
        {
            "tile_id": [1],
            "slide_id": "S",
            "patient_id": "P",
            "split": "test",
            "label": 1,
        }
    )
    table = build_predictions(tiles, np.array([[0.5, 0.5]]), target, unit="tile")
    assert table["x_px0"].isna().all()
    assert table["id"].tolist() == ["1"]
    bare = table.drop(columns=["x_px0", "y_px0", "size_px0"])
    assert PREDICTION_SCHEMA.check(bare, target).equals(table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "region"}, "one of tile, slide, patient, bag, got region in row 0"),
        ({"split": "valid"}, "split must be one of train, val, test, external"),
        ({"label": 2}, "label must be 0 to 1 or empty, got 2"),
        ({"label": -1}, "label must be 0 or more, got -1 in row 0"),
        ({"probability_normal": 1.5}, "must lie in 0 to 1, not so in row 0"),
        ({"probability_normal": np.nan}, "probability_normal must not be empty"),
        ({"probability_normal": 0.9}, "must add up to 1, row 0 has 1.6000"),
        ({"id": "A/1"}, "tile A/1 stands in two rows"),
        ({"split": "train"}, "one patient_id must have one split.*P1"),
        ({"patient_id": "P2"}, "one slide_id must have one patient_id.*A"),
        ({"patient_id": None}, "patient_id is empty in row 0"),
        ({"slide_id": None}, "slide_id is empty in row 0"),
    ],
)
def test_what_breaks_the_schema_is_named(make_tiles, target, change, message):
    table = make_tiles(
        ("A", "P1", "test", 1, [0.7, 0.2]), ("B", "P1", "test", 0, [0.1])
    )
    for column, value in change.items():
        table.loc[0, column] = value
    with pytest.raises(ManifestError, match=message):
        PREDICTION_SCHEMA.check(table, target)


def test_missing_columns_are_named(target):
    with pytest.raises(ManifestError, match=r"slide_id, patient_id, split, label"):
        build_predictions(
            pd.DataFrame({"tile_id": [1]}), np.ones((1, 2)) / 2, target, unit="tile"
        )


def test_probabilities_need_one_row_for_each_tile(target):
    with pytest.raises(ValueError, match=r"2 classes .* 2 rows, got .*1, 2"):
        build_predictions(
            pd.DataFrame({"tile_id": [1, 2]}), np.ones((1, 2)) / 2, target, unit="tile"
        )


@pytest.mark.parametrize(
    ("unit", "slide_id", "group"),
    [("slide", "U1", "P1"), ("patient", None, "P1"), ("bag", None, "U1")],
)
def test_every_unit_names_what_it_is_of(target, tmp_path, unit, slide_id, group):
    rows = pd.DataFrame(
        {"id": ["U1"], "patient_id": "P1", "split": "test", "label": [1]}
    )
    table = build_predictions(rows, np.array([[0.25, 0.75]]), target, unit=unit)
    write_predictions(tmp_path / "p.parquet", table, target)
    read, _ = read_predictions(tmp_path / "p.parquet")
    assert read["level"].tolist() == [unit]
    assert read["id"].tolist() == ["U1"]
    assert read["slide_id"].fillna("").tolist() == [slide_id or ""]
    assert groups_of(read).tolist() == [group]
