import h5py
import numpy as np
import pandas as pd
import pytest

from eosin.bags import (
    FeatureInfo,
    JoinedFeatures,
    draw_bags,
    join_patients,
    open_features,
    read_bags,
    share_drawn,
    write_features,
)
from eosin.core import ManifestError, to_file_name
from eosin.settings import BagDraw

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(7, 5)).astype(np.float32)
COORDS = np.stack([np.arange(7) * 256, np.full(7, 512)], axis=1)
NAMES = ("normal", "tumor")


def write_own(folder, slide_id, features=FEATURES):
    info = FeatureInfo(
        slide_id=slide_id, encoder="e", tile_px=256, mpp=0.5, size_px0=512
    )
    write_features(
        folder / f"{to_file_name(slide_id)}.h5",
        features,
        COORDS[: len(features)],
        info,
    )


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
    assert [(b.bag_id, b.label, len(b), b.slide_ids) for b in patients] == [
        ("P1", 1, 14, ("S1", "S2")),
        ("P2", 0, 7, ("S3",)),
    ]
    assert np.array_equal(patients[0].read(), np.concatenate([FEATURES, FEATURES]))
    # Places are of one slide; of several there are none.
    assert patients[0].coords is None
    assert np.array_equal(patients[1].coords, COORDS)
    assert join_patients(bags)[0].patient_id == "P1"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_joined_features_read_any_rows(tmp_path, is_chunked):
    parts = []
    for i in range(3):
        with h5py.File(tmp_path / f"{i}.h5", "w") as file:
            file.create_dataset(
                "features", data=FEATURES + i, chunks=(2, 5) if is_chunked else None
            )
        parts.append(open_features(tmp_path / f"{i}.h5").features)
    parts.append(FEATURES.astype(np.float16))
    whole = np.concatenate([FEATURES, FEATURES + 1, FEATURES + 2, parts[3]])
    joined = JoinedFeatures(parts)
    assert joined.shape == (28, 5)
    assert joined.dtype == np.float32
    for rows in (
        slice(None),
        slice(3, 16),
        slice(20, 3, -4),
        np.array([0, 6, 7, 27]),
        np.array([26, 1, 8, 8, 1]),
        np.array([], np.int64),
        whole[:, 0] > 0,
    ):
        assert np.array_equal(joined[rows], whole[rows])


def test_all_that_does_not_fit_is_named_at_once(tmp_path):
    for name in ("S1", "S3", "S4", "S9"):
        write_own(tmp_path, name)
    (tmp_path / "S4.h5").write_bytes((tmp_path / "S4.h5").read_bytes()[:300])
    cohort = pd.DataFrame(
        {
            "slide_id": ["S1", "S2", "S3", "S4"],
            "patient_id": ["P1", "P1", "P2", "P1"],
            "label": ["tumor", "normal", "what", "tumor"],
        }
    )
    with pytest.raises(ManifestError) as caught:
        read_bags(tmp_path, cohort, NAMES, per="patient")
    message = str(caught.value)
    for part in (
        "5 problem(s)",
        "1 of 4 slides have no features, such as S2;",
        "1 of 4 feature files belong to no slide of the table, such as S9.h5;",
        "slide S3: label must be one of normal, tumor, got 'what'",
        "1 of 2 patients contradict each other, such as P1 (normal and tumor)",
        "S4.h5: not an HDF5 file of features, or gone, damaged or cut short",
    ):
        assert part in message


def test_slides_of_a_patient_may_differ_where_slides_are_bags(tmp_path):
    # Names that no file may have are found.
    for name in ("a/b:1", "S2", "S3"):
        write_own(tmp_path, name)
    cohort = make_cohort(
        slide_id=["a/b:1", "S2", "S3"], label=["tumor", "normal", "normal"]
    )
    bags = read_bags(tmp_path, cohort, NAMES)
    assert [bag.label for bag in bags] == [1, 0, 0]
    assert (bags[0].bag_id, bags[0].slide_ids) == ("a/b:1", ("a/b:1",))
    with pytest.raises(ManifestError, match=r"such as P1 \(normal and tumor\)"):
        read_bags(tmp_path, cohort, NAMES, per="patient")


def test_files_of_several_encoders_do_not_go_together(tmp_path):
    write_own(tmp_path, "S1")
    write_own(tmp_path, "S2", FEATURES[:, :3])
    write_own(tmp_path, "S3")
    with pytest.raises(ManifestError, match=r"2 have 5, and others do not: S2 \(3\)"):
        read_bags(tmp_path, make_cohort(), NAMES)


def test_bad_numbers_and_empty_slides_are_named(tmp_path):
    write_own(tmp_path, "S1")
    write_own(tmp_path, "S2", FEATURES[:0])
    write_own(tmp_path, "S3")
    with h5py.File(tmp_path / "S3.h5", "a") as file:
        file["features"][4, 2] = np.nan
        del file["coords"]
    with pytest.raises(ManifestError, match="S2: a bag needs one instance or more"):
        read_bags(tmp_path, make_cohort(), NAMES)
    write_own(tmp_path, "S2")
    bags = read_bags(tmp_path, make_cohort(), NAMES)
    assert bags[2].coords is None
    with pytest.raises(ManifestError, match=r"S3: .*nan at instance 4, feature 2"):
        bags[2].read()


def test_files_of_one_vector_each_are_no_bags_of_tiles(tmp_path):
    def write(name, n):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["features"] = FEATURES[:n]

    for name in ("S1", "S2", "S3"):
        write(name, 1)
    with pytest.raises(ManifestError, match="each of the 3 files holds one vector"):
        read_bags(tmp_path, make_cohort(), NAMES)
    # One of several tiles shows that the others are small slides.
    write("S2", 2)
    assert [len(b) for b in read_bags(tmp_path, make_cohort(), NAMES)] == [1, 2, 1]


def test_drawn_bags_share_the_features_of_their_tiles():
    rows = [(f"{s}-{i}", s, s, i * 256, 512) for s in ("S1", "S2") for i in range(7)]
    columns = ["tile_id", "slide_id", "patient_id", "x_px0", "y_px0"]
    tiles = pd.DataFrame(rows, columns=columns)
    how = BagDraw(n_bags=20, size=5, witnesses=(2,))
    is_witness = np.arange(14) % 7 == 6
    table = draw_bags(tiles, is_witness, how, split="train", seed=0)
    whole = np.concatenate([FEATURES, FEATURES + 10])
    bags = share_drawn(table, tiles["tile_id"].tolist(), whole)
    assert len(bags) == 20
    for number, bag in enumerate(bags):
        own = table[table["bag_id"] == f"train-{number:05d}"]
        rows = [tiles["tile_id"].tolist().index(name) for name in own["tile_id"]]
        assert (bag.bag_id, bag.label) == (f"train-{number:05d}", number % 2)
        assert np.array_equal(bag.read(), whole[rows])
        assert np.array_equal(bag.read(np.array([1, 3])), whole[rows][[1, 3]])
        assert bag.coords[:, 0].tolist() == [256 * (row % 7) for row in rows]
        assert bag.instance_labels.tolist() == own["is_witness"].astype(int).tolist()
        assert set(bag.slide_ids) == set(own["slide_id"])
