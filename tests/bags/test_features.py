import h5py
import numpy as np
import pytest

from eosin.bags import Bag, FeatureFile, FeatureInfo, read_key, write_features
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
        assert file.read_dataset("tile_id").astype(str).tolist()[5] == "t5"
        assert file.read_dataset("none") is None
    assert read_key(path) == "abc"


def test_clam_and_trident_find_what_they_look_for(path):
    with h5py.File(path) as file:
        places, features = file["coords"].attrs, file["features"].attrs
        # CLAM's dataset reads these two.
        assert (places["patch_level"], places["patch_size"]) == (0, 512)
        # TRIDENT's: 0.25 mpp is 40x, 0.5 mpp 20x.
        assert places["patch_size_level0"] == 512
        assert places["level0_magnification"] == 40
        assert places["target_magnification"] == 20
        assert places["overlap"] == 16
        assert (places["level0_width"], places["level0_height"]) == (4000, 3000)
        assert features["encoder"] == "densenet121"
        assert features["name"] == places["name"] == "S1"


def test_a_bag_reads_only_what_it_needs(tmp_path):
    with h5py.File(tmp_path / "large.h5", "w") as file:
        # 200,000 x 1,024 numbers that nobody wrote: 0.8 GB, were they read.
        file.create_dataset("features", (200_000, 1024), np.float32, chunks=(256, 1024))
    with FeatureFile(tmp_path / "large.h5") as file:
        bag = Bag(bag_id="large", features=file)
        assert len(bag) == 200_000
        assert bag.read(np.array([5, 199_999])).shape == (2, 1024)


def test_halves_stay_halves(tmp_path):
    write_features(tmp_path / "a.h5", FEATURES.astype(np.float16), COORDS, INFO)
    with FeatureFile(tmp_path / "a.h5") as file:
        assert file.dtype == np.float16


def test_an_unknown_resolution_is_written_as_unknown(tmp_path):
    info = FeatureInfo(slide_id="a", encoder="e", tile_px=96, mpp=None, size_px0=96)
    write_features(tmp_path / "a.h5", FEATURES, COORDS, info)
    with FeatureFile(tmp_path / "a.h5") as file:
        assert np.isnan(file.attributes["mpp"])
        assert file.attributes["target_magnification"] == 0
    empty = np.empty((0, 4), np.float32)
    write_features(tmp_path / "b.h5", empty, np.empty((0, 2), np.int64), info)
    with FeatureFile(tmp_path / "b.h5") as file:
        assert file.shape == (0, 4)


def test_a_leading_axis_of_one_is_looked_through(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = FEATURES[None]
    with FeatureFile(tmp_path / "a.h5") as file:
        assert file.shape == (6, 4)
        assert np.array_equal(file[2:4], FEATURES[2:4])


def test_what_does_not_fit_is_not_written(tmp_path):
    bad = FEATURES.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ManifestError, match="tile 3 has nan at 1"):
        write_features(tmp_path / "a.h5", bad, COORDS, INFO)
    with pytest.raises(ManifestError, match="of as many"):
        write_features(tmp_path / "a.h5", FEATURES, COORDS[:5], INFO)
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
    assert read_key(tmp_path / "other.h5") is None


def test_damage_inside_is_named(path):
    file = FeatureFile(path)

    class Broken:
        def __getitem__(self, _):
            raise OSError("bad block")

    file._features = Broken()
    with pytest.raises(ManifestError, match="damaged or cut short"):
        file[0]
    file.close()
