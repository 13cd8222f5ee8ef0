import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from eosin.core import ManifestError
from eosin.evaluation import (
    SlideAggregation,
    aggregate_predictions,
    build_tile_predictions,
    check_predictions,
    labels_of,
    predictions_schema,
    probabilities_of,
    read_predictions,
    select_level,
    write_predictions,
)


def test_a_table_comes_back_as_it_was_written(cohort, class_names, tmp_path):
    table = aggregate_predictions(
        cohort, SlideAggregation(0.2), class_names=class_names
    )
    path = tmp_path / "Fälle 1" / "predictions.parquet"
    write_predictions(path, table, class_names)
    read, names = read_predictions(path)
    assert names == class_names
    pd.testing.assert_frame_equal(read, table)


def test_the_file_has_the_declared_columns(cohort, class_names, tmp_path):
    path = tmp_path / "predictions.parquet"
    write_predictions(path, cohort, class_names)
    assert pq.read_schema(path).equals(predictions_schema(class_names))


def test_rows_without_a_label_or_a_place_are_allowed(make_tiles, class_names, tmp_path):
    table = make_tiles(("S1", "P1", "external", None, [0.25]))
    table[["x_px0", "y_px0", "size_px0"]] = pd.NA
    path = tmp_path / "p.parquet"
    write_predictions(path, table, class_names)
    read, _ = read_predictions(path)
    assert read["label"].isna().all()
    assert read["x_px0"].isna().all()
    assert labels_of(read).tolist() == [-1]
    assert probabilities_of(read, class_names).tolist() == [[0.75, 0.25]]


def test_places_may_be_missing_from_a_manifest(class_names):
    tiles = pd.DataFrame(
        {
            "tile_id": [1],
            "slide_id": "S",
            "patient_id": "P",
            "split": "test",
            "label": 1,
        }
    )
    table = build_tile_predictions(tiles, np.array([[0.5, 0.5]]), class_names)
    assert table["x_px0"].isna().all()
    assert table["id"].tolist() == ["1"]
    bare = table.drop(columns=["x_px0", "y_px0", "size_px0"])
    assert check_predictions(bare, class_names).equals(table)


def test_levels_and_splits_are_selected(cohort):
    assert len(select_level(cohort, "tile")) == 720
    assert len(select_level(cohort, "tile", split="val")) == 240
    assert select_level(cohort, "slide").empty


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "region"}, "level must be one of tile, slide, patient, got region"),
        ({"split": "valid"}, "split must be one of train, val, test, external"),
        ({"label": 2}, "label must be 0 to 1 or empty, got 2"),
        ({"label": -1}, "label must be 0 to 1 or empty, got -1"),
        ({"probability_normal": 1.5}, "must lie in 0 to 1; 1 row"),
        ({"probability_normal": np.nan}, "must lie in 0 to 1; 1 row"),
        ({"probability_normal": 0.9}, "must add up to 1; 1 row.*1.6000"),
        ({"id": "A/1"}, "repeat an id of their level, such as tile A/1"),
        ({"split": "train"}, "one patient_id must have one split.*P1"),
        ({"patient_id": "P2"}, "one slide_id must have one patient_id.*A"),
        ({"patient_id": None}, "patient_id is empty in 1 row"),
        ({"slide_id": None}, "slide_id is empty in 1 row"),
    ],
)
def test_what_breaks_the_schema_is_named(make_tiles, class_names, change, message):
    table = make_tiles(
        ("A", "P1", "test", 1, [0.7, 0.2]), ("B", "P1", "test", 0, [0.1])
    )
    for column, value in change.items():
        table.loc[0, column] = value
    with pytest.raises(ManifestError, match=message):
        check_predictions(table, class_names)


def test_all_problems_are_listed_at_once(make_tiles, class_names):
    table = make_tiles(("A", "P1", "test", 1, [0.7, 0.2]))
    table.loc[0, ["level", "split"]] = ["region", "valid"]
    with pytest.raises(ManifestError, match=r"level must.*split must"):
        check_predictions(table, class_names)


def test_a_label_that_is_no_number_is_refused(make_tiles, class_names):
    table = make_tiles(("A", "P1", "test", 1, [0.7])).astype({"label": object})
    table["label"] = "tumour"
    with pytest.raises(ManifestError, match="column label must hold int64"):
        check_predictions(table, class_names)


def test_missing_columns_are_named(class_names):
    with pytest.raises(ManifestError, match="patient_id, split, label, probability_"):
        check_predictions(
            pd.DataFrame({"level": [], "id": [], "slide_id": []}), class_names
        )
    with pytest.raises(ManifestError, match=r"column\(s\) slide_id, patient_id"):
        build_tile_predictions(
            pd.DataFrame({"tile_id": [1]}), np.ones((1, 2)) / 2, class_names
        )


@pytest.mark.parametrize("names", [("tumour",), ("tumour", "tumour")])
def test_two_different_classes_are_needed(cohort, names):
    with pytest.raises(ManifestError, match="two or more different class names"):
        check_predictions(cohort, names)


def test_probabilities_need_one_row_for_each_tile(class_names):
    with pytest.raises(ValueError, match=r"2 tiles x 2 classes, got .*1, 2"):
        build_tile_predictions(
            pd.DataFrame({"tile_id": [1, 2]}), np.ones((1, 2)) / 2, class_names
        )


def test_files_that_are_no_prediction_table_are_refused(cohort, class_names, tmp_path):
    with pytest.raises(ManifestError, match="no such prediction table"):
        read_predictions(tmp_path / "none.parquet")
    text = tmp_path / "text.parquet"
    text.write_text("slide_id,label")
    with pytest.raises(ManifestError, match="cannot be read as a Parquet"):
        read_predictions(text)
    (tmp_path / "empty.parquet").touch()
    with pytest.raises(ManifestError, match="cannot be read as a Parquet"):
        read_predictions(tmp_path / "empty.parquet")
    other = tmp_path / "other.parquet"
    cohort.to_parquet(other)
    with pytest.raises(ManifestError, match="not one of predictions"):
        read_predictions(other)


def test_another_version_of_the_format_is_refused(cohort, class_names, tmp_path):
    path = tmp_path / "p.parquet"
    write_predictions(path, cohort, class_names)
    table = pq.read_table(path)
    newer = {b"eosin.predictions": b'{"format": 9, "class_names": ["a", "b"]}'}
    pq.write_table(table.replace_schema_metadata(newer), path)
    with pytest.raises(ManifestError, match="format 9; this version of eosin reads 1"):
        read_predictions(path)
