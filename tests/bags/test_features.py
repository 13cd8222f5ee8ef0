import resource
import tracemalloc

import h5py
import numpy as np
import pytest

from eosin.bags import Bag, FeatureFile, FeatureInfo, read_key, write_features
from eosin.bags import features as module
from eosin.core import ManifestError

INFO = FeatureInfo(
    slide_id="S1",
    encoder="densenet121",
    tile_px=256,
    mpp=0.5,
    size_px0=512,
    overlap_px=16,
    slide_size_px0=(4000, 3000),
    slide_mpp=0.25,
    licence="Apache-2.0",
    key="abc",
)
FEATURES = np.arange(24, dtype=np.float32).reshape(6, 4)
COORDS = np.arange(12).reshape(6, 2)


@pytest.fixture
def path(tmp_path):
    names = [f"t{i}" for i in range(6)]
    write_features(tmp_path / "S1.h5", FEATURES, COORDS, INFO, tile_ids=names)
    return tmp_path / "S1.h5"


def test_what_was_written_is_read(path):
    with FeatureFile(path) as file:
        assert file.shape == (6, 4)
        assert np.array_equal(file[:], FEATURES)
        assert np.array_equal(file[[1, 4]], FEATURES[[1, 4]])
        assert np.array_equal(file.read_dataset("coords"), COORDS)
        assert file.read_dataset("tile_id").tolist()[5] == "t5"
        assert file.read_dataset("none") is None
        told = file.attributes
    assert (told["tile_px"], told["mpp"], told["size_px0"]) == (256, 0.5, 512)
    assert (told["key"], told["licence"]) == ("abc", "Apache-2.0")
    assert read_key(path) == "abc"


def test_clam_and_trident_find_what_they_look_for(path):
    with h5py.File(path) as file:
        places, features = file["coords"].attrs, file["features"].attrs
        # CLAM reads patch_size x patch_size at patch_level, from coords: 512 px.
        assert (places["patch_level"], places["patch_size"]) == (0, 512)
        assert places["downsample"].tolist() == [1, 1]
        assert places["level_dim"].tolist() == [4000, 3000]
        assert places["downsampled_level_dim"].tolist() == [4000, 3000]
        # TRIDENT reads patch_size scaled by the magnifications: 512 px as well.
        scale = places["level0_magnification"] / places["target_magnification"]
        assert places["patch_size"] * scale == places["patch_size_level0"] == 512
        # 0.25 mpp is 40x; 16 of a tile's 256 px are 32 of its 512 at level 0.
        assert places["level0_magnification"] == 40
        assert places["overlap"] == 32
        assert (places["level0_width"], places["level0_height"]) == (4000, 3000)
        assert features["encoder"] == "densenet121"
        assert features["name"] == places["name"] == "S1"
        assert features["savetodir"] == places["savetodir"] == places["save_path"]


@pytest.mark.parametrize("chunks", [None, (32, 1024)])
def test_a_bag_reads_only_what_it_needs(tmp_path, chunks):
    """82 MB, were it read."""
    with h5py.File(tmp_path / "large.h5", "w") as file:
        data = file.create_dataset(
            "features", (20_000, 1024), np.float32, chunks=chunks
        )
        for start in range(0, len(data) if chunks else 0, 32):
            data[start : start + 32] = 0
        data[-1] = np.arange(1024)
    rows = np.array([5, 19_999])
    tracemalloc.start()
    with FeatureFile(tmp_path / "large.h5") as file:
        bag = Bag(bag_id="large", features=file)
        assert len(bag) == 20_000
        found = bag.read(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.shape == (2, 1024)
    assert found[1].tolist() == list(range(1024))
    assert peak < 10e6


def test_a_thousand_files_can_stand_ready(tmp_path):
    """More than a process may hold open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    info = FeatureInfo(slide_id="a", encoder="e", tile_px=96, mpp=1, size_px0=96)
    write_features(tmp_path / "a.h5", FEATURES, COORDS, info)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, limit[1]))
    try:
        files = [FeatureFile(tmp_path / "a.h5") for _ in range(300)]
        assert all(np.array_equal(file[:2], FEATURES[:2]) for file in files)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_writing_needs_memory_for_a_block_only(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_NUMBERS", 1 << 16)
    path = tmp_path / "source.npy"
    source = np.lib.format.open_memmap(path, "w+", np.float32, (50_000, 64))
    source[:] = 1
    source[49_999, 3] = np.inf
    coords = np.zeros((50_000, 2), np.int64)
    tracemalloc.start()
    with pytest.raises(ManifestError, match="tile 49999 has inf at 3"):
        write_features(tmp_path / "a.h5", source, coords, INFO)
    source[49_999, 3] = 2
    write_features(tmp_path / "a.h5", source, coords, INFO)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The array has 12.8 MB.
    assert peak < 5e6
    assert FeatureFile(tmp_path / "a.h5")[49_999:, 2:4].tolist() == [[1, 2]]


def test_an_unknown_resolution_is_written_as_unknown(tmp_path):
    info = FeatureInfo(slide_id="a", encoder="e", tile_px=96, mpp=None, size_px0=96)
    write_features(tmp_path / "a.h5", FEATURES, COORDS, info)
    with FeatureFile(tmp_path / "a.h5") as file:
        assert np.isnan(file.attributes["mpp"])
        assert not {"level0_magnification", "level0_width"} & set(file.attributes)
    empty = np.empty((0, 4), np.float16)
    write_features(tmp_path / "b.h5", empty, np.empty((0, 2), np.int64), info)
    with FeatureFile(tmp_path / "b.h5") as file:
        assert (file.shape, file.dtype) == ((0, 4), np.float16)


def test_what_does_not_fit_is_not_written(tmp_path):
    bad = FEATURES.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ManifestError, match="tile 3 has nan at 1"):
        write_features(tmp_path / "a.h5", bad, COORDS, INFO)
    with pytest.raises(ManifestError, match="of as many"):
        write_features(tmp_path / "a.h5", FEATURES, COORDS[:5], INFO)
    with pytest.raises(ManifestError, match="as many tile ids as features"):
        write_features(tmp_path / "a.h5", FEATURES, COORDS, INFO, tile_ids=["a"])
    huge = FEATURES.astype(np.float64) * 1e300
    with pytest.raises(ManifestError, match="must be finite"):
        write_features(tmp_path / "a.h5", huge, COORDS, INFO)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_feature_file_says_so(path, tmp_path):
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:400])
    with pytest.raises(ManifestError, match="cut short"):
        FeatureFile(tmp_path / "cut.h5")
    assert read_key(tmp_path / "cut.h5") is None
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["coords"] = COORDS
        file["feats"] = np.zeros(3)
    with pytest.raises(ManifestError, match="holds no 'features', but coords, feats"):
        FeatureFile(tmp_path / "other.h5")
    with pytest.raises(ManifestError, match="must be \\(tiles, dimension\\)"):
        FeatureFile(tmp_path / "other.h5", "feats")
    # A leading axis of one is looked through.
    with h5py.File(tmp_path / "nested.h5", "w") as file:
        file["features"] = FEATURES[None]
    with FeatureFile(tmp_path / "nested.h5") as file:
        assert file.shape == (6, 4)
        assert np.array_equal(file[2:4], FEATURES[2:4])
    assert read_key(tmp_path / "other.h5") is None


def test_damage_inside_is_named(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "features", data=FEATURES, chunks=(6, 4), compression="gzip"
        )
        chunk = data.id.get_chunk_info(0)
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(bytes(chunk.size))
    with pytest.raises(ManifestError, match="damaged or cut short"):
        FeatureFile(path)[0:2]


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_file_that_is_harmed_meanwhile_says_so(path, harm):
    file = FeatureFile(path)
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ManifestError, match="gone, damaged or cut short"):
        file[0]
