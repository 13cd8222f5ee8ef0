import h5py
import numpy as np
import pandas as pd
import pytest

from eosin.bags import FeatureInfo, write_features
from eosin.core import ManifestError
from eosin.exploring import tile_features as module
from eosin.exploring.tile_features import read_tile_features

TILES = pd.DataFrame({"tile_id": [f"t{i}" for i in range(6)]})
ROWS = np.array([4, 0, 3])


def write(path, names, *, dimension=2, offset=0.0):
    values = np.array([[int(n[1:]) + offset] * dimension for n in names], np.float32)
    info = FeatureInfo(slide_id=path.stem, encoder="e", tile_px=8, mpp=1.0, size_px0=8)
    coords = np.zeros((len(names), 2), np.int64)
    write_features(path, values, coords, info, tile_ids=names)


def test_features_of_a_folder_are_found_by_tile(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ROWS", 2)
    # Files of other tiles, and more tiles than are asked for, do no harm.
    write(tmp_path / "a.h5", ["t3", "t5", "t1"])
    write(tmp_path / "b.h5", ["t9", "t4", "t0"])
    found = read_tile_features(tmp_path, TILES, ROWS)
    assert found.tolist() == [[4, 4], [0, 0], [3, 3]]


def test_features_of_an_array_are_found_by_row(tmp_path):
    path = tmp_path / "f.npy"
    np.save(path, np.arange(12.0).reshape(6, 2))
    assert read_tile_features(path, TILES, ROWS).tolist() == [[8, 9], [0, 1], [6, 7]]


def test_arrays_of_other_tiles_are_refused(tmp_path):
    path = tmp_path / "f.npy"
    np.save(path, np.zeros((5, 2)))
    with pytest.raises(ManifestError, match="one row for each of the 6 tiles"):
        read_tile_features(path, TILES, ROWS)
    path.write_bytes(b"no array")
    with pytest.raises(ManifestError, match="a folder of 'eosin embed' or a NumPy"):
        read_tile_features(path, TILES, ROWS)


def test_a_tile_without_features_is_named(tmp_path):
    write(tmp_path / "a.h5", ["t3", "t0"])
    with pytest.raises(ManifestError, match="no features of 1 of 3 tiles, such as t4"):
        read_tile_features(tmp_path, TILES, ROWS)


def test_features_of_several_encoders_do_not_mix(tmp_path):
    write(tmp_path / "a.h5", ["t3", "t0"])
    write(tmp_path / "b.h5", ["t4"], dimension=3)
    with pytest.raises(ManifestError, match="has 3 features per tile, others"):
        read_tile_features(tmp_path, TILES, ROWS)


def test_features_of_nobody_knows_what_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = np.zeros((3, 2))
    with pytest.raises(ManifestError, match="does not say which tiles"):
        read_tile_features(tmp_path, TILES, ROWS)


def test_features_must_be_finite(tmp_path):
    path = tmp_path / "f.npy"
    np.save(path, np.full((6, 2), np.nan))
    with pytest.raises(ManifestError, match="must be finite"):
        read_tile_features(path, TILES, ROWS)
