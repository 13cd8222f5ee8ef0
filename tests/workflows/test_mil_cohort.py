import numpy as np
import pandas as pd
import pytest

from eosin.bags import Bag, FeatureInfo, write_features
from eosin.core import CohortError, ManifestError, Progress, write_json
from eosin.workflows.mil_cohort import (
    check_features,
    divide_patients,
    read_mil_cohort,
)
from eosin.workflows.train_mil import MILStudyConfig

CONFIG = MILStudyConfig(classes=("normal", "tumor"), folds=2)


def write_slides(folder, names, *, dimension=3):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for name in names:
        info = FeatureInfo(slide_id=name, encoder="e", tile_px=8, mpp=1, size_px0=8)
        features = rng.normal(size=(4, dimension)).astype(np.float32)
        write_features(folder / f"{name}.h5", features, np.zeros((4, 2), int), info)
    return folder


def write_table(path, **columns):
    n = 8
    table = {
        "slide_id": [f"S{i}" for i in range(n)],
        "patient_id": [f"P{i // 2}" for i in range(n)],
        "label": ["normal", "normal", "Tumor", "Tumor"] * 2,
    }
    pd.DataFrame(table | columns).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("f")
    return write_slides(folder, [f"S{i}" for i in range(8)])


def test_a_cohort_has_bags_labels_and_columns(features, tmp_path):
    ages = ["60", "", "70", "70", "50", "50", "", ""]
    path = write_table(tmp_path / "s.csv", age=ages, sex=list("ffmmffmm"))
    config = MILStudyConfig(classes=CONFIG.classes, columns=("age", "sex"))
    found = read_mil_cohort(features, path, config)
    assert found.labels.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert found.patients[::2].tolist() == ["P0", "P1", "P2", "P3"]
    assert dict(found.kinds) == {"age": "number", "sex": "category"}
    # A slide has what the table says of another one of the patient.
    assert found.bags[1].clinical == {"age": "60", "sex": "f"}
    # Each patient counts once.
    assert len(found.list_clinical(np.array([0, 1, 6]))) == 2
    assert found.cautions == ()


def test_patients_that_the_encoder_learnt_from_are_a_caution(tmp_path):
    folder = write_slides(tmp_path / "f", [f"S{i}" for i in range(8)])
    learnt = {"run": "runs/a", "patients": ["P0", "P3", "P9"], "slides": []}
    write_json(folder / "run.json", {"notes": {"encoder_learnt_from": learnt}})
    (said,) = read_mil_cohort(folder, write_table(tmp_path / "s.csv"), CONFIG).cautions
    assert "2 of these 4 patients (P0, P3)" in said


def test_patients_may_be_bags(features, tmp_path):
    config = MILStudyConfig(classes=CONFIG.classes, per="patient")
    found = read_mil_cohort(features, write_table(tmp_path / "s.csv"), config)
    assert [len(bag) for bag in found.bags] == [8, 8, 8, 8]
    labels = ["normal", "tumor", "tumor", "tumor"] * 2
    path = write_table(tmp_path / "t.csv", label=labels)
    with pytest.raises(
        ManifestError, match=r"2 of 4 patients contradict .* P0 \(normal and tumor\)"
    ):
        read_mil_cohort(features, path, config)


def test_columns_that_do_not_fit_are_named_with_their_table(features, tmp_path):
    path = write_table(tmp_path / "s.csv", age=[60, 61, *[50] * 6], note=None)
    for column, message in (
        ("age", "1 patient.s. contradict each other in 'age', such as P0"),
        ("note", r"s\.csv: the column 'note' is empty for all 4 patients"),
        ("grade", "no column grade"),
    ):
        config = MILStudyConfig(classes=CONFIG.classes, columns=(column,))
        with pytest.raises(ManifestError, match=message):
            read_mil_cohort(features, path, config)


def test_what_is_missing_stops_or_is_left_out_and_told(features, tmp_path):
    labels = ["normal", "normal", "tumor", None, "normal", "normal", "tumor", "tumor"]
    names = [f"S{i}" for i in range(6)] + ["T6", "T7"]
    path = write_table(tmp_path / "s.csv", slide_id=names, label=labels)
    with pytest.raises(CohortError, match="1 have none, such as S3; label them, or"):
        read_mil_cohort(features, path, CONFIG)
    bare = tmp_path / "b.csv"
    pd.read_csv(path).drop(columns="label").to_csv(bare, index=False)
    for missing in ("stop", "skip"):
        config = MILStudyConfig(classes=CONFIG.classes, missing=missing)
        with pytest.raises(CohortError, match="needs a column 'label' with the class"):
            read_mil_cohort(features, bare, config)
    whole = write_table(tmp_path / "w.csv", slide_id=names)
    with pytest.raises(ManifestError) as caught:
        read_mil_cohort(features, whole, CONFIG)
    assert "2 of 8 slides have no features, such as T6, T7;" in str(caught.value)
    assert "2 of 8 feature files belong to no slide" in str(caught.value)
    config = MILStudyConfig(classes=CONFIG.classes, missing="skip")
    found = read_mil_cohort(features, path, config)
    assert [bag.bag_id for bag in found.bags] == ["S0", "S1", "S2", "S4", "S5"]
    assert found.cautions == (
        "2 slides without features were left out, such as T6, T7.",
        "1 slides without a label were left out, such as S3.",
        "2 feature files of no slide in the table were left out, such as S6, S7.",
    )
    nobody = write_table(tmp_path / "n.csv", slide_id=[f"X{i}" for i in range(8)])
    with pytest.raises(CohortError, match="no slide with a label has features"):
        read_mil_cohort(features, nobody, config)


def test_slides_without_tissue_do_not_end_a_study(features, tmp_path):
    names = [f"S{i}" for i in range(8)] + ["B8"]
    path = write_table(
        tmp_path / "s.csv",
        slide_id=names,
        patient_id=[f"P{i // 2}" for i in range(9)],
        label=["normal", "tumor"] * 4 + ["normal"],
        n_tiles=[4] * 8 + [0],
    )
    found = read_mil_cohort(features, path, CONFIG)
    assert [bag.bag_id for bag in found.bags] == names[:8]
    assert found.cautions == ("1 slides without a tile were left out, such as B8.",)
    table = pd.read_csv(path)
    table.assign(n_tiles=4).to_csv(path, index=False)
    with pytest.raises(ManifestError, match=r"such as B8; embed them, .*missing=skip"):
        read_mil_cohort(features, path, CONFIG)


def test_a_class_of_no_slide_is_refused_before_anything_is_read(features, tmp_path):
    config = MILStudyConfig(classes=(*CONFIG.classes, "foo"))
    with pytest.raises(CohortError, match="label 'foo' that --class asks for; the col"):
        read_mil_cohort(features, write_table(tmp_path / "s.csv"), config)


def test_folds_are_by_patient_and_need_enough_of_them(features, tmp_path):
    config = MILStudyConfig(classes=CONFIG.classes, folds=3)
    found = read_mil_cohort(features, write_table(tmp_path / "s.csv"), config)
    with pytest.raises(CohortError, match=r"3 folds need 3 patients or more .* has 2"):
        divide_patients(found, config)
    # Of patients that are not asked for nothing is said.
    split = found.spread(pd.Series({0: "train", 4: "val"}))
    assert split.tolist() == ["train", "train", "", "", "val", "val", "", ""]


def make_bags(*arrays):
    return [Bag(bag_id=f"B{i}", features=array) for i, array in enumerate(arrays)]


class Lazy:
    """Features that are checked as they are read, as those of a file are."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, rows):
        return self.array[rows]


def test_features_that_are_not_finite_are_counted():
    array = np.ones((3, 2), np.float32)
    bad = array.copy()
    bad[1, 0] = np.nan
    with pytest.raises(ManifestError) as caught:
        check_features(make_bags(array, Lazy(bad), Lazy(bad * np.inf)), Progress())
    message = str(caught.value)
    assert "the features of 2 of 3 bags cannot be learnt from" in message
    assert "B1: features must be finite, got nan at instance 1, feature 0" in message


def test_constant_features_are_told_of_and_refused_where_there_are_no_others():
    array = np.ones((3, 4), np.float32)
    varied = array.copy()
    varied[2, 1] = 5
    assert check_features(make_bags(array, varied), Progress()) == (
        "3 of 4 features are the same in every instance and say nothing.",
    )
    moving = np.random.default_rng(0).normal(size=(5, 4))
    assert check_features(make_bags(moving), Progress()) == ()
    with pytest.raises(ManifestError, match="all 4 features are the same"):
        check_features(make_bags(array, array), Progress())
