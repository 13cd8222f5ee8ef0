import h5py
import numpy as np
import pandas as pd
import pytest

from eosin.bags import (
    FeatureInfo,
    find_feature_files,
    join_patients,
    read_bags,
    read_slide_bag,
    write_features,
)
from eosin.core import ManifestError

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(7, 5)).astype(np.float32)
COORDS = RNG.integers(0, 9000, (7, 2))
NAMES = ("normal", "tumor")


def write_own(folder, slide_id, features=FEATURES, coords=COORDS):
    info = FeatureInfo(
        slide_id=slide_id, encoder="e", tile_px=256, mpp=0.5, size_px0=512
    )
    write_features(folder / f"{slide_id}.h5", features, coords, info)


def write_clam(path):
    """As CLAM's `save_hdf5` lays it out: growing data sets, attributes on coords."""
    with h5py.File(path, "w") as file:
        for name, value in (("features", FEATURES), ("coords", COORDS)):
            data = file.create_dataset(
                name, value.shape, value.dtype, maxshape=(None, *value.shape[1:])
            )
            data[:] = value
        file["coords"].attrs.update({"patch_size": 512, "patch_level": 0})


def write_trident(path):
    """As TRIDENT does: attributes of both, and the name of the encoder."""
    with h5py.File(path, "w") as file:
        file["features"] = FEATURES
        file["coords"] = COORDS
        file["features"].attrs.update({"encoder": "uni_v1", "name": path.stem})
        file["coords"].attrs.update({"patch_size_level0": 512, "overlap": 0})


def write_stamp(path):
    with h5py.File(path, "w") as file:
        file["feats"] = FEATURES.astype(np.float16)
        file["coords"] = COORDS * 0.25
        file.attrs.update({"unit": "um", "tile_size_um": 128.0, "tile_size_px": 224})


def write_atlaspatch(path):
    with h5py.File(path, "w") as file:
        sizes = np.tile([512, 512, 0], (7, 1))
        file["coords"] = np.concatenate([COORDS, sizes], axis=1)
        file["features/uni"] = FEATURES


@pytest.mark.parametrize(
    ("write", "tolerance"),
    [(write_clam, 0), (write_trident, 0), (write_stamp, 2e-3), (write_atlaspatch, 0)],
)
def test_every_layout_gives_the_same_bag(tmp_path, write, tolerance):
    write_own(tmp_path, "own")
    write(tmp_path / "S1.h5")
    own, other = (
        read_slide_bag(tmp_path / f"{name}.h5", slide_mpp=0.25)
        for name in ("own", "S1")
    )
    np.testing.assert_allclose(other.read(), own.read(), atol=tolerance)
    assert np.array_equal(other.coords, own.coords)
    assert other.slide_ids == ("S1",)


@pytest.mark.parametrize("place", ["", "h5_files", "features_uni_v1"])
def test_files_are_found_where_each_tool_puts_them(tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    write_clam(tmp_path / place / "S1.h5")
    assert find_feature_files(tmp_path) == {"S1": tmp_path / place / "S1.h5"}


def test_a_folder_without_features_says_so(tmp_path):
    with pytest.raises(ManifestError, match="no feature file"):
        find_feature_files(tmp_path)


def test_micrometres_need_the_slides_mpp(tmp_path):
    write_stamp(tmp_path / "S1.h5")
    with pytest.raises(ManifestError, match="its coords are in micrometres"):
        read_slide_bag(tmp_path / "S1.h5")


def test_one_of_several_encoders_must_be_named(tmp_path):
    write_atlaspatch(tmp_path / "S1.h5")
    with h5py.File(tmp_path / "S1.h5", "a") as file:
        file["features/other"] = FEATURES[:, :2]
    with pytest.raises(ManifestError, match="features of other, uni; name one"):
        read_slide_bag(tmp_path / "S1.h5")
    assert read_slide_bag(tmp_path / "S1.h5", encoder="other").n_features == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coords": COORDS[:3]}, "as many coords as features"),
        ({"coords": COORDS[:, 0]}, "coords must be"),
        ({"coords": COORDS[None]}, None),
        ({"coords": None}, None),
    ],
)
def test_coords_must_fit_or_be_absent(tmp_path, change, message):
    write_clam(tmp_path / "S1.h5")
    with h5py.File(tmp_path / "S1.h5", "a") as file:
        del file["coords"]
        if change["coords"] is not None:
            file["coords"] = change["coords"]
    if message:
        with pytest.raises(ManifestError, match=message):
            read_slide_bag(tmp_path / "S1.h5")
    else:
        bag = read_slide_bag(tmp_path / "S1.h5")
        assert (bag.coords is None) == (change["coords"] is None)


def test_a_file_cut_short_says_so(tmp_path):
    write_clam(tmp_path / "S1.h5")
    (tmp_path / "S1.h5").write_bytes((tmp_path / "S1.h5").read_bytes()[:300])
    with pytest.raises(ManifestError, match="cut short"):
        read_slide_bag(tmp_path / "S1.h5")


def make_cohort(**columns):
    table = {
        "slide_id": ["S1", "S2", "S3"],
        "patient_id": ["P1", "P1", "P2"],
        "label": ["Tumor", "tumor", "normal"],
        "mpp": [0.25, np.nan, np.nan],
    }
    return pd.DataFrame(table | columns)


def test_slides_and_patients_become_bags(tmp_path):
    for name in ("S1", "S2", "S3"):
        write_own(tmp_path, name)
    bags = read_bags(tmp_path, make_cohort(), NAMES)
    assert [(bag.bag_id, bag.label, bag.patient_id) for bag in bags] == [
        ("S1", 1, "P1"),
        ("S2", 1, "P1"),
        ("S3", 0, "P2"),
    ]
    patients = read_bags(tmp_path, make_cohort(), NAMES, per="patient")
    assert [(bag.label, len(bag), bag.slide_ids) for bag in patients] == [
        (1, 14, ("S1", "S2")),
        (0, 7, ("S3",)),
    ]
    assert np.array_equal(patients[0].read(), np.concatenate([FEATURES, FEATURES]))
    assert join_patients(bags)[1].coords is not None


def test_all_that_does_not_fit_is_named_at_once(tmp_path):
    for name in ("S1", "S3", "S9"):
        write_own(tmp_path, name)
    cohort = make_cohort(label=["tumor", "normal", "what"])
    with pytest.raises(ManifestError) as caught:
        read_bags(tmp_path, cohort, NAMES, per="patient")
    message = str(caught.value)
    for part in (
        "4 problem(s)",
        "slide S2 has no features",
        "S9.h5 belong to no slide",
        "slide S3: label must be one of normal, tumor, got 'what'",
        "patient P1 has slides of normal and tumor",
    ):
        assert part in message


def test_files_of_two_encoders_do_not_go_together(tmp_path):
    write_own(tmp_path, "S1")
    write_own(tmp_path, "S2", FEATURES[:, :3])
    write_own(tmp_path, "S3")
    with pytest.raises(ManifestError, match="as many features"):
        read_bags(tmp_path, make_cohort(), NAMES)
