from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eosin.cohorts import PatchSet, describe_looks
from eosin.tiles import ManifestInfo, read_manifest
from eosin.workflows.patch_scan import PatchScan
from eosin.workflows.patch_table import name_resampling, write_patch_table
from eosin.workflows.tile_folder import open_tile_folder


@pytest.mark.parametrize(
    ("sides", "name"),
    [
        ({96: 5}, "none"),
        ({96: 5, 128: 1}, "area"),
        ({64: 1}, "linear"),
        ({64: 1, 128: 1}, "area and linear"),
    ],
)
def test_resampling_is_named_by_what_is_done(sides, name):
    assert name_resampling(sides, 96) == name


@pytest.mark.parametrize("mpp", [0.97, None])
def test_the_tables_are_those_of_tiles(tmp_path, mpp):
    table = pd.DataFrame(
        {
            "tile_id": ["a", "b", "c"],
            "source": ["train/a.png", "train/b.png", "x.h5"],
            "source_index": [-1, -1, 4],
            "label": np.array([0, 1, -1], np.int8),
            "split": pd.Series(["train", "train", None], dtype="object"),
            "slide_id": ["s", "s", "t"],
            "patient_id": ["p", "p", "t"],
        }
    )
    scan = PatchScan(
        np.ones(3, bool),
        np.array([96, 96, 128]),
        np.array([1, 2, 255], np.uint64),
        describe_looks([np.zeros((8, 8, 3), np.uint8)] * 3),
        np.arange(12, dtype=np.float32).reshape(3, 4),
    )
    info = ManifestInfo(
        mpp=mpp, tile_px=96, overlap_px=0, class_names=("n", "t"), grouping="given"
    )
    patches = PatchSet(Path(tmp_path), table, ("n", "t"), mpp)
    write_patch_table(patches, table, scan, info, mpp, tmp_path)
    tiles, found = read_manifest(tmp_path / "tiles.parquet")
    assert found == info
    assert tiles["label"].tolist()[:2] == [0, 1]
    assert pd.isna(tiles["label"][2])
    assert tiles["t_fraction"].tolist()[:2] == [0, 1]
    assert np.isnan(tiles["t_fraction"][2])
    assert tiles["size_px0"].tolist() == [96, 96, 128]
    assert tiles["content_hash"].tolist()[2] == "00000000000000ff"
    assert tiles["mean_blue"].tolist() == [3, 7, 11]
    folder = open_tile_folder(tmp_path)
    assert folder.slides["n_tiles"].tolist() == [2, 1]
    assert folder.slides["path"].unique().tolist() == [str(tmp_path)]
    assert folder.slide_labels is None
    assert folder.has_patches
    assert folder.knows_patients
    # Patches without a label have no split; their slide has that of the others.
    mixed = table.iloc[[2, 0, 1]].assign(slide_id="s", patient_id="p")
    write_patch_table(patches, mixed, scan, info, mpp, tmp_path)
    assert open_tile_folder(tmp_path).slides["split"].tolist() == ["train"]
