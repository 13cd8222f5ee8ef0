from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.bags import Bag, FeatureInfo, write_features
from eosin.core import CohortError, ConfigError, ManifestError, Progress
from eosin.settings import BagTraining
from eosin.studies.labelled_bags import check_features, label_encoded, read_labelled
from eosin.studies.study import study_bags
from eosin.tiles import open_tile_folder

CLASSES = ("normal", "tumor")
STOP = BagTraining(classes=CLASSES, folds=2)
SKIP = replace(STOP, missing="skip")


NAMES = [f"S{i}" for i in range(8)]
BARE = ["normal", "normal", "tumor", None, "normal", "normal", "tumor", "tumor"]


def write_slides(folder):
    rng = np.random.default_rng(0)
    for name in NAMES:
        info = FeatureInfo(slide_id=name, encoder="e", tile_px=8, mpp=1, size_px0=8)
        features = rng.normal(size=(4, 3)).astype(np.float32)
        write_features(
            folder / f"{name}.h5", features, np.arange(8).reshape(4, 2), info
        )
    return folder


def write_table(path, **columns):
    table = {
        "slide_id": NAMES,
        "patient_id": [f"P{i // 2}" for i in range(8)],
        "label": ["normal", "normal", "Tumor", "Tumor"] * 2,
    }
    pd.DataFrame(table | columns).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return write_slides(tmp_path_factory.mktemp("f"))


def test_bags_have_labels_patients_and_columns(features, tmp_path):
    ages = ["60", "", "70", "70", "50", "50", "", ""]
    path = write_table(tmp_path / "s.csv", age=ages, sex=list("ffmmffmm"))
    found = read_labelled(features, path, replace(STOP, columns=("age", "sex")))
    # Whatever the case in the table.
    assert [bag.label for bag in found.bags] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert [bag.patient_id for bag in found.bags[::2]] == ["P0", "P1", "P2", "P3"]
    # A slide has what the table says of another one of the patient.
    assert found.bags[1].clinical == {"age": "60", "sex": "f"}
    assert found.cautions == ()
    patients = read_labelled(features, path, replace(STOP, unit="patient"))
    assert [len(bag) for bag in patients.bags] == [8, 8, 8, 8]


def test_slides_of_a_patient_may_not_contradict_each_other(features, tmp_path):
    labels = ["normal", "tumor", "tumor", "tumor"] * 2
    path = write_table(tmp_path / "t.csv", label=labels)
    message = r"2 of 4 patients contradict .* P0 \(normal and tumor\)"
    with pytest.raises(ManifestError, match=message):
        read_labelled(features, path, replace(STOP, unit="patient"))


def test_columns_that_do_not_fit_are_named_with_their_table(features, tmp_path):
    path = write_table(tmp_path / "s.csv", age=[60, 61, *[50] * 6], note=None)
    for column, message in (
        ("age", "1 patient.s. contradict each other in 'age', such as P0"),
        ("note", r"s\.csv: the column 'note' is empty for all 4 patients"),
        ("grade", "no column grade"),
    ):
        settings = replace(STOP, columns=(column,))
        with pytest.raises(ManifestError, match=message):
            study_bags(
                read_labelled(features, path, settings), settings, where=str(path)
            )


def test_what_is_missing_stops(features, tmp_path):
    path = write_table(tmp_path / "s.csv", label=BARE)
    with pytest.raises(CohortError, match="1 have none, such as S3; label them, or"):
        read_labelled(features, path, STOP)
    bare = tmp_path / "b.csv"
    pd.read_csv(path).drop(columns="label").to_csv(bare, index=False)
    for settings in (STOP, SKIP):
        with pytest.raises(CohortError, match="needs a column 'label' with the class"):
            read_labelled(features, bare, settings)
    names = [*NAMES[:6], "T6", "T7"]
    with pytest.raises(ManifestError) as caught:
        read_labelled(features, write_table(path, slide_id=names), STOP)
    assert "2 of 8 slides have no features, such as T6, T7;" in str(caught.value)
    assert "2 of 8 feature files belong to no slide" in str(caught.value)


def test_what_is_missing_is_left_out_and_told_where_that_was_asked_for(
    features, tmp_path
):
    names = [*NAMES[:6], "T6", "T7"]
    path = write_table(tmp_path / "s.csv", slide_id=names, label=BARE)
    found = read_labelled(features, path, SKIP)
    assert [bag.bag_id for bag in found.bags] == ["S0", "S1", "S2", "S4", "S5"]
    assert found.cautions == (
        "2 slides without features were left out, such as T6, T7.",
        "1 slides without a label were left out, such as S3.",
        "2 feature files of no slide in the table were left out, such as S6, S7.",
    )
    nobody = write_table(tmp_path / "n.csv", slide_id=[f"X{i}" for i in range(8)])
    with pytest.raises(CohortError, match="no slide with a label has features"):
        read_labelled(features, nobody, SKIP)


def test_slides_without_tissue_do_not_end_a_study(features, tmp_path):
    words = {
        "slide_id": [*NAMES, "B8"],
        "patient_id": [f"P{i // 2}" for i in range(9)],
        "label": ["normal", "tumor"] * 4 + ["normal"],
    }
    path = write_table(tmp_path / "s.csv", **words, n_tiles=[4] * 8 + [0])
    found = read_labelled(features, path, STOP)
    assert [bag.bag_id for bag in found.bags] == NAMES
    assert found.cautions == ("1 slides without a tile were left out, such as B8.",)
    path = write_table(tmp_path / "s.csv", **words, n_tiles=4)
    with pytest.raises(ManifestError, match=r"such as B8; embed them, .*missing=skip"):
        read_labelled(features, path, STOP)


def test_classes_are_named_and_each_has_a_slide(features, tmp_path):
    path = write_table(tmp_path / "s.csv")
    with pytest.raises(ConfigError, match=r"setting classes .*--classes normal tumor"):
        read_labelled(features, path, BagTraining())
    settings = replace(STOP, classes=(*CLASSES, "foo"))
    with pytest.raises(CohortError, match="label 'foo' that the setting classes"):
        read_labelled(features, path, settings)


@pytest.fixture
def folder(tile_folder):
    return open_tile_folder(tile_folder)


def encode(folder, **changes):
    """Label a folder whose features are the rows' own numbers."""
    features = np.arange(len(folder.tiles), dtype=np.float32)[:, None]
    return label_encoded(folder, features, replace(BagTraining(), **changes))


def test_encoded_slides_hold_the_tiles_that_can_be_read(folder):
    tiles = folder.tiles.copy()
    slides = folder.slides["slide_id"]
    is_first, is_last = (tiles["slide_id"] == slides.iloc[i] for i in (0, -1))
    bad = [*np.flatnonzero(is_first)[:2], *np.flatnonzero(is_last)]
    tiles.loc[bad, "flags"] = "blur;damaged"
    found = encode(replace(folder, tiles=tiles))
    assert found.class_names == ("normal", "tumor")
    first = found.bags[0]
    expected = np.flatnonzero(is_first)[2:]
    np.testing.assert_array_equal(first.read()[:, 0], expected)
    np.testing.assert_array_equal(
        first.coords, tiles.iloc[expected][["x_px0", "y_px0"]]
    )
    # A slide with no other tile is left out, and told of.
    assert slides.iloc[-1] not in {bag.bag_id for bag in found.bags}
    assert any(slides.iloc[-1] in text for text in found.cautions)


def test_encoded_patients_have_all_their_slides(folder):
    patients = np.arange(10) // 2
    slides = folder.slides.assign(
        patient_id=[f"P{i}" for i in patients],
        label=[CLASSES[i % 2] for i in patients],
        age=50 + patients,
    )
    words = {"unit": "patient", "columns": ("age",)}
    found = encode(replace(folder, slides=slides), **words)
    assert [bag.patient_id for bag in found.bags] == [f"P{i}" for i in range(5)]
    assert found.bags[0].slide_ids == tuple(slides["slide_id"][:2])
    assert found.bags[1].clinical == {"age": "51"}
    slides.loc[0, "label"] = "tumor"
    with pytest.raises(CohortError, match=r"1 patients contradict .* P0; where"):
        encode(replace(folder, slides=slides), **words)


def test_encoded_slides_without_a_label_stop_or_are_left_out(folder):
    slides = folder.slides.copy()
    slides.loc[3, "label"] = None
    bare, name = replace(folder, slides=slides), slides["slide_id"][3]
    with pytest.raises(CohortError, match=rf"1 have none \({name}\); .*missing=skip"):
        encode(bare)
    found = encode(bare, missing="skip")
    assert len(found.bags) == 9
    said = f"1 slides without a label were left out, such as {name}."
    assert said in found.cautions
    slides.loc[3, "label"] = "odd"
    with pytest.raises(CohortError, match="holds odd, which is none of the classes"):
        encode(replace(folder, slides=slides))


def make_bags(*arrays):
    return [Bag(bag_id=f"B{i}", features=array) for i, array in enumerate(arrays)]


def test_constant_features_are_told_of_and_refused_where_there_are_no_others():
    array = np.ones((3, 4), np.float32)
    varied = array.copy()
    varied[2, 1] = 5
    (said,) = check_features(make_bags(array, varied), Progress())
    assert said.startswith("3 of 4 features are the same")
    moving = np.random.default_rng(0).normal(size=(5, 4))
    assert check_features(make_bags(moving), Progress()) == ()
    with pytest.raises(ManifestError, match="all 4 features are the same"):
        check_features(make_bags(array, array), Progress())
