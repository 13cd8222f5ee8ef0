import h5py
import numpy as np
import pandas as pd
import pytest

from eosin.bags import FeatureInfo, read_tile_features, write_features
from eosin.bags import tile_features as module
from eosin.core import ManifestError

TILES = pd.DataFrame(
    {"tile_id": [f"t{i}" for i in range(6)], "slide_id": list("babaab")}
)
ROWS = np.array([4, 0, 3])


def write(path, names, *, dimension=2):
    values = np.array([[int(name[1:])] * dimension for name in names], np.float32)
    info = FeatureInfo(slide_id=path.stem, encoder="e", tile_px=8, mpp=1.0, size_px0=8)
    coords = np.zeros((len(names), 2), np.int64)
    write_features(path, values, coords, info, tile_ids=names)


def test_features_of_a_folder_are_found_by_tile(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ROWS", 1)
    # Files of other slides, and more tiles than are asked for, do no harm.
    write(tmp_path / "a.h5", ["t3", "t5", "t1", "t4"])
    write(tmp_path / "b.h5", ["t9", "t0"])
    write(tmp_path / "c.h5", ["t9"], dimension=3)
    found = read_tile_features(tmp_path, TILES, ROWS)
    assert found.tolist() == [[4, 4], [0, 0], [3, 3]]


def test_patches_are_found_in_one_file_by_their_names(tmp_path):
    write(tmp_path / "patches.h5", [f"t{i}" for i in range(6)])
    found = read_tile_features(tmp_path, TILES.assign(slide_id=None), ROWS)
    assert found.tolist() == [[4, 4], [0, 0], [3, 3]]


def test_tiles_without_names_are_found_by_their_places(tmp_path):
    for slide, rows in (("a", [1, 3, 4]), ("b", [5, 2, 0])):
        with h5py.File(tmp_path / f"{slide}.h5", "w") as file:
            file["features"] = np.repeat(np.array(rows)[:, None], 2, axis=1)
            file["coords"] = np.stack([np.array(rows) * 256, [512] * 3], axis=1)
    tiles = TILES.assign(x_px0=np.arange(6) * 256, y_px0=512)
    found = read_tile_features(tmp_path, tiles, ROWS)
    assert found.tolist() == [[4, 4], [0, 0], [3, 3]]


def test_features_of_an_array_are_found_by_row(tmp_path):
    path = tmp_path / "f.npy"
    np.save(path, np.arange(12.0).reshape(6, 2))
    assert read_tile_features(path, TILES, ROWS).tolist() == [[8, 9], [0, 1], [6, 7]]


def test_what_are_no_features_of_these_tiles_is_refused(tmp_path):
    path = tmp_path / "f.npy"
    np.save(path, np.zeros((5, 2)))
    with pytest.raises(ManifestError, match="one row for each of the 6 tiles"):
        read_tile_features(path, TILES, ROWS)
    path.write_bytes(b"no array")
    with pytest.raises(ManifestError, match="a folder of 'eosin embed' or a NumPy"):
        read_tile_features(path, TILES, ROWS)
    np.save(path, np.full((6, 2), np.nan))
    with pytest.raises(ManifestError, match="must be finite"):
        read_tile_features(path, TILES, ROWS)


def test_tiles_without_features_and_several_encoders_are_named(tmp_path):
    write(tmp_path / "a.h5", ["t3"])
    write(tmp_path / "b.h5", ["t0"])
    with pytest.raises(ManifestError, match=r"1 of 3 tiles .* such as t4"):
        read_tile_features(tmp_path, TILES, ROWS)
    write(tmp_path / "a.h5", ["t3", "t4"], dimension=3)
    with pytest.raises(ManifestError, match=r"has 2 features per tile, others .* 3"):
        read_tile_features(tmp_path, TILES, ROWS)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["features"] = np.zeros((3, 2))
        file["coords"] = [[0, 0], [1, 0], [2, 0]]
    # Patches lie nowhere.
    patches = TILES.assign(x_px0=0, y_px0=0, source="a.png")
    with pytest.raises(ManifestError, match="names neither its tiles"):
        read_tile_features(tmp_path, patches, np.array([0]))


def test_only_plain_arrays_of_numbers_are_read(tmp_path):
    """An `.npz` may hide gigabytes, an object array runs what it likes."""
    np.savez(tmp_path / "a.npz", np.zeros((5, 2)))
    np.save(tmp_path / "objects.npy", np.array([[{}]] * 5))
    np.save(tmp_path / "texts.npy", np.array([["a", "b"]] * 5))
    (tmp_path / "deep.npy").write_bytes(b"\x93NUMPY\x01\x00\x40\x1f" + b"(" * 8000)
    for name in ("a.npz", "objects.npy", "texts.npy", "deep.npy", "none.npy"):
        with pytest.raises(ManifestError, match=name):
            read_tile_features(tmp_path / name, TILES, ROWS)
