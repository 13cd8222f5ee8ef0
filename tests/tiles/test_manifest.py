import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from eosin.core import ManifestError
from eosin.tiles import TILE_SCHEMA, ManifestInfo, read_manifest, write_manifest

INFO = ManifestInfo(mpp=0.5, tile_px=64, overlap_px=8, class_names=("normal", "tumor"))
OF_PATCHES = {
    "source": ["a.png", "b.png", "x.h5"],
    "source_index": [-1, -1, 7],
    "content_hash": ["0" * 16, "1" * 16, "2" * 16],
    "look_hash": ["3" * 16, "4" * 16, "5" * 16],
}


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


@pytest.mark.parametrize("more", [{}, OF_PATCHES])
def test_what_was_written_is_read(table, path, more) -> None:
    table = table.assign(**more)
    info = dataclasses.replace(INFO, mpp=None, grouping="estimated", cautions=("Oh.",))
    write_manifest(path, table, info)
    got, found = read_manifest(path)
    assert found == info
    assert list(got) == list(TILE_SCHEMA.list_columns(INFO, has_more=bool(more)))
    pd.testing.assert_frame_equal(
        got, table[got.columns], check_dtype=False, check_exact=True
    )
    assert got["label"].dtype == "Int8"
    assert pd.isna(got["split"].iloc[2])


def test_a_table_without_labels_splits_and_measures_is_fine(table, path) -> None:
    bare = table.assign(
        label=pd.array([None] * 3, dtype="Int8"), split=None, sharpness=np.nan
    )
    write_manifest(path, bare, INFO)
    got, _ = read_manifest(path)
    assert got[["label", "split", "sharpness"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tile_id": ["a", "b", "a"]}, "tile_id a stands in two rows"),
        ({"label": pd.array([0, 1, 2], dtype="Int8")}, "label must be 0 to 1, got 2"),
        ({"label": pd.array([0, 1, -1], dtype="Int8")}, "label must be 0 or more"),
        ({"size_px0": [64, 0, 64]}, "size_px0"),
        ({"split": ["train", "holdout", None]}, "got holdout"),
        ({"slide_id": ["a", None, "b"]}, "slide_id must not be empty"),
        ({**OF_PATCHES, "source": ["a", None, "b"]}, "source must not be .* row 1"),
    ],
)
def test_a_table_that_breaks_the_schema_is_not_written(
    table, path, changes, text
) -> None:
    with pytest.raises(ManifestError, match=text):
        write_manifest(path, table.assign(**changes), INFO)
    assert not path.exists()


def test_a_table_from_before_there_were_patches_is_read(table, path) -> None:
    write_manifest(path, table, INFO)
    arrow = pq.read_table(path)
    key = b"eosin.tiles"
    content = json.loads(arrow.schema.metadata[key])
    del content["grouping"], content["cautions"]
    pq.write_table(arrow.replace_schema_metadata({key: json.dumps(content)}), path)
    assert read_manifest(path)[1] == INFO
