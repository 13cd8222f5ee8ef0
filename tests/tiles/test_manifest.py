import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eosin.core import ManifestError
from eosin.tiles import ManifestInfo, manifest_schema, read_manifest, write_manifest

INFO = ManifestInfo(mpp=0.5, tile_px=64, overlap_px=8, class_names=("normal", "tumor"))


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "tile_id": ["a_0_0", "a_64_0", "b_0_0"],
            "slide_id": ["a", "a", "b"],
            "patient_id": ["p", "p", "q"],
            "split": ["train", "train", None],
            "x_px0": [0, 64, 0],
            "y_px0": [0, 0, 0],
            "size_px0": [64, 64, 64],
            "tissue_fraction": [1.0, 0.5, 0.25],
            "flags": ["", "pen;fold", ""],
            "normal_fraction": [0.0, 0.5, 1.0],
            "tumor_fraction": [1.0, 0.5, 0.0],
            "label": pd.array([1, None, 0], dtype="Int8"),
            "sharpness": np.array([3, np.nan, 5], np.float32),
            "mean_red": np.array([200, 201, 202], np.float32),
            "mean_green": np.array([100, 101, 102], np.float32),
            "mean_blue": np.array([150, 151, 152], np.float32),
        }
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiles é.parquet"


def rewrite(path: Path, **changes: object) -> None:
    """Change what the file's own metadata say."""
    table = pq.read_table(path)
    key = b"eosin.tiles"
    content = json.loads(table.schema.metadata[key]) | changes
    pq.write_table(table.replace_schema_metadata({key: json.dumps(content)}), path)


def test_what_was_written_is_read(table, path) -> None:
    write_manifest(path, table, INFO)
    got, info = read_manifest(path)
    assert info == INFO
    assert got.columns.tolist() == manifest_schema(INFO.class_names).names
    pd.testing.assert_frame_equal(
        got, table[got.columns], check_dtype=False, check_exact=True
    )
    assert got["label"].dtype == "Int8"
    assert got["split"].iloc[2] is None


def test_a_table_without_labels_splits_and_measures_is_fine(table, path) -> None:
    bare = table.assign(
        label=pd.array([None] * 3, dtype="Int8"), split=None, sharpness=np.nan
    )
    write_manifest(path, bare, INFO)
    got, _ = read_manifest(path)
    assert got[["label", "split", "sharpness"]].isna().all(axis=None)


def test_an_empty_table_is_fine(table, path) -> None:
    write_manifest(path, table.iloc[:0], INFO)
    got, _ = read_manifest(path)
    assert len(got) == 0
    assert got["label"].dtype == "Int8"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tile_id": ["a", "b", "a"]}, "tile_id a stands in two rows"),
        ({"label": pd.array([0, 1, 2], dtype="Int8")}, "label must be 0 to 1"),
        ({"label": pd.array([0, 1, -1], dtype="Int8")}, "label must be 0 to 1"),
        ({"size_px0": [64, 0, 64]}, "size_px0"),
        ({"split": ["train", "holdout", None]}, "got holdout"),
        ({"slide_id": ["a", None, "b"]}, "slide_id must not be empty"),
        ({"x_px0": [0.5, 1, 2]}, "x_px0"),
        ({"x_px0": ["left", "1", "2"]}, "x_px0"),
    ],
)
def test_a_table_that_breaks_the_schema_is_not_written(
    table, path, changes, text
) -> None:
    with pytest.raises(ManifestError, match=text):
        write_manifest(path, table.assign(**changes), INFO)
    assert not path.exists()


@pytest.mark.parametrize("column", ["tile_id", "tumor_fraction", "label", "flags"])
def test_a_missing_column_is_named(table, path, column) -> None:
    with pytest.raises(ManifestError, match=column):
        write_manifest(path, table.drop(columns=column), INFO)
    write_manifest(path, table, INFO)
    arrow = pq.read_table(path)
    pq.write_table(arrow.drop_columns([column]), path)
    with pytest.raises(ManifestError, match=f"no column {column}"):
        read_manifest(path)


def test_a_column_of_another_type_is_named(table, path) -> None:
    write_manifest(path, table, INFO)
    arrow = pq.read_table(path)
    place = arrow.column_names.index("x_px0")
    pq.write_table(
        arrow.set_column(place, "x_px0", arrow["x_px0"].cast(pa.float64())), path
    )
    with pytest.raises(ManifestError, match="x_px0 must be int64, is double"):
        read_manifest(path)


def test_long_strings_are_read_as_strings(table, path) -> None:
    write_manifest(path, table, INFO)
    arrow = pq.read_table(path)
    long = arrow["slide_id"].cast(pa.large_string())
    pq.write_table(arrow.set_column(1, "slide_id", long), path)
    assert read_manifest(path)[0]["slide_id"].tolist() == ["a", "a", "b"]


def test_a_missing_file_is_named(path) -> None:
    with pytest.raises(ManifestError, match="no such tile table"):
        read_manifest(path)


@pytest.mark.parametrize("content", [b"", b"no parquet at all"])
def test_another_file_is_refused(path, content) -> None:
    path.write_bytes(content)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(path)


def test_another_parquet_table_is_refused(path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(ManifestError, match="not one of tiles"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": 99}, "another version"),
        ({"unknown": 1}, "damaged"),
        ({"class_names": None}, "damaged"),
    ],
)
def test_foreign_metadata_are_refused(table, path, changes, text) -> None:
    write_manifest(path, table, INFO)
    rewrite(path, **changes)
    with pytest.raises(ManifestError, match=text):
        read_manifest(path)


def test_an_older_table_stays_where_a_new_one_is_refused(table, path) -> None:
    write_manifest(path, table, INFO)
    with pytest.raises(ManifestError):
        write_manifest(path, table.drop(columns="flags"), INFO)
    assert len(read_manifest(path)[0]) == 3


@pytest.fixture
def patches(table) -> pd.DataFrame:
    return table.assign(
        source=["a.png", "b.png", "x.h5"],
        source_index=[-1, -1, 7],
        content_hash=["0" * 16, "1" * 16, "2" * 16],
        look_hash=["3" * 16, "4" * 16, "5" * 16],
    )


def test_a_table_of_patches_keeps_where_they_are(patches, path) -> None:
    info = dataclasses.replace(
        INFO, mpp=None, grouping="estimated", cautions=("Look out.", "Twice.")
    )
    write_manifest(path, patches, info)
    got, found = read_manifest(path)
    assert found == info
    names = manifest_schema(INFO.class_names, has_patches=True).names
    assert got.columns.tolist() == names
    assert got["source_index"].tolist() == [-1, -1, 7]
    assert got["look_hash"].tolist() == patches["look_hash"].tolist()


@pytest.mark.parametrize("column", ["source_index", "content_hash"])
def test_a_table_of_patches_needs_all_of_its_columns(patches, path, column) -> None:
    with pytest.raises(ManifestError, match=column):
        write_manifest(path, patches.drop(columns=column), INFO)
    write_manifest(path, patches, INFO)
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(ManifestError, match=f"no column {column}"):
        read_manifest(path)


def test_a_patch_without_a_file_is_refused(patches, path) -> None:
    with pytest.raises(ManifestError, match="source must not be empty"):
        write_manifest(path, patches.assign(source=["a", None, "b"]), INFO)


def test_a_table_from_before_there_were_patches_is_read(table, path) -> None:
    write_manifest(path, table, INFO)
    arrow = pq.read_table(path)
    key = b"eosin.tiles"
    content = json.loads(arrow.schema.metadata[key])
    del content["grouping"], content["cautions"]
    pq.write_table(arrow.replace_schema_metadata({key: json.dumps(content)}), path)
    assert read_manifest(path)[1] == INFO
