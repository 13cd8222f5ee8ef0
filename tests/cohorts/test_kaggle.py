import gzip

import pandas as pd
import pytest

from eosin.cohorts import read_kaggle
from eosin.cohorts.kaggle import parse_binary_labels
from eosin.core import CohortError

LABELS = {"aa": 0, "bb": 1, "cc": 0, "dd": 1}


def test_files_and_labels_are_put_together(make_kaggle):
    root = make_kaggle(LABELS, test=("ee", "ff"))
    (root / "train" / ".DS_Store").write_text("")
    found = read_kaggle(root)
    table = found.table
    assert table["tile_id"].tolist() == ["aa", "bb", "cc", "dd", "ee", "ff"]
    assert table["label"].tolist() == [0, 1, 0, 1, -1, -1]
    assert table["source"].tolist()[:2] == ["train/aa.tif", "train/bb.tif"]
    assert table["source"].iloc[4] == "test/ee.tif"
    assert table["split"].isna().all()
    assert table["slide_id"].isna().all()
    assert found.class_names == ("normal", "tumor")
    assert found.mpp == 0.97
    assert found.root == root.resolve()
    assert found.notes["n_hidden"] == 1
    assert found.warnings == ()


@pytest.mark.parametrize("name", ["patch_id_wsi_full.csv", "patch_id_wsi_full.csv.gz"])
def test_slides_are_taken_from_the_map_beside_the_labels(make_kaggle, name):
    root = make_kaggle(LABELS, test=("ee",))
    text = "id,wsi\naa,s1\nbb,s1\ncc,s2\naa,s1\nzz,s9\n"
    data = gzip.compress(text.encode()) if name.endswith("gz") else text.encode()
    (root / name).write_bytes(data)
    found = read_kaggle(root)
    assert found.table["slide_id"].tolist() == ["s1", "s1", "s2", None, None]
    assert found.table["patient_id"].tolist() == ["s1", "s1", "s2", None, None]
    assert found.notes["n_slides_known"] == 2
    assert found.notes["n_labelled_without_slide"] == 1
    assert "1 labelled patches are not in" in found.warnings[0]


def test_a_map_may_be_given_and_know_patients(make_kaggle, tmp_path):
    root = make_kaggle(LABELS)
    path = tmp_path / "map.csv"
    path.write_text("id,slide,patient\naa,s1,p\nbb,s2,p\ncc,s3,\ndd,s3,\n")
    table = read_kaggle(root, slide_map=path).table
    assert table["slide_id"].tolist() == ["s1", "s2", "s3", "s3"]
    assert table["patient_id"].tolist() == ["p", "p", None, None]


def test_a_patch_on_two_slides_is_refused(make_kaggle):
    root = make_kaggle(LABELS)
    (root / "patch_id_wsi_full.csv").write_text("id,wsi\naa,s1\naa,s2\n")
    with pytest.raises(CohortError, match=r"1 id\(s\) stand there with two \(aa\)"):
        read_kaggle(root)


def test_another_folder_is_refused_with_advice(tmp_path):
    with pytest.raises(CohortError, match="'eosin import folder'"):
        read_kaggle(tmp_path)


def test_ids_without_a_file_stop_with_counts_and_examples(make_kaggle):
    root = make_kaggle(LABELS, files=["aa", "bb"])
    with pytest.raises(
        CohortError, match=r"2 of 4 ids .* have no file in train \(cc, dd\); --allow"
    ):
        read_kaggle(root)
    found = read_kaggle(root, allow_missing=True)
    assert found.table["tile_id"].tolist() == ["aa", "bb"]
    assert found.notes["n_labels_without_file"] == 2
    assert "2 of 4 ids" in found.warnings[0]


def test_files_without_a_label_stop_or_stay_without(make_kaggle):
    root = make_kaggle(LABELS, files=[*LABELS, "xx"])
    with pytest.raises(CohortError, match=r"1 of 5 files in train .* \(xx\)"):
        read_kaggle(root)
    table = read_kaggle(root, allow_missing=True).table
    assert table.set_index("tile_id")["label"]["xx"] == -1


def test_a_table_of_other_ids_is_refused_even_when_missing_is_allowed(make_kaggle):
    root = make_kaggle(LABELS, files=["xx"])
    with pytest.raises(CohortError, match="not one id in"):
        read_kaggle(root, allow_missing=True)


def test_two_labels_of_one_id_are_refused_and_repeats_counted(make_kaggle):
    rows = ["aa,0", "aa,1", "bb,1", "bb,1", "cc,0", "dd,1"]
    root = make_kaggle(LABELS, rows=rows)
    with pytest.raises(CohortError, match=r"1 id\(s\) have two labels \(aa\)"):
        read_kaggle(root)


def test_repeated_lines_are_counted_and_kept_once(make_kaggle):
    root = make_kaggle(LABELS, rows=["aa,0", "aa,0", "bb,1", "cc,0", "dd,1"])
    found = read_kaggle(root)
    assert len(found.table) == 4
    assert found.notes["n_repeated_labels"] == 1


@pytest.mark.parametrize("label", ["2", "-1", "0.5", "tumor", ""])
def test_a_label_that_is_not_0_or_1_is_named(make_kaggle, label):
    root = make_kaggle(LABELS, rows=["aa,0", f"bb,{label}", "cc,0", "dd,1"])
    with pytest.raises(
        CohortError, match=rf"must be 0 or 1; 1 are not \(bb has '{label}'\)"
    ) as caught:
        read_kaggle(root)
    assert "have no label" not in str(caught.value)


def test_many_bad_labels_are_counted():
    texts = pd.Series(["x"] * 7 + ["1.0"])
    labels, problems = parse_binary_labels(texts, [f"n{i}" for i in range(8)], "a.csv")
    assert labels.iloc[7] == 1
    assert "7 are not" in problems[0]
    assert "and 2 more" in problems[0]


def test_an_id_in_train_and_test_is_refused(make_kaggle):
    root = make_kaggle(LABELS, test=("aa",))
    with pytest.raises(CohortError, match=r"in train and in test \(aa\)"):
        read_kaggle(root)


def test_two_files_of_one_id_are_refused(make_kaggle):
    root = make_kaggle(LABELS)
    (root / "train" / "aa.png").write_bytes((root / "train" / "aa.tif").read_bytes())
    with pytest.raises(CohortError, match=r"have more than one file \(aa\)"):
        read_kaggle(root)


def test_an_empty_folder_is_named(make_kaggle):
    root = make_kaggle(LABELS, files=[])
    with pytest.raises(CohortError, match="train: holds no image"):
        read_kaggle(root)


@pytest.mark.realdata
def test_the_real_layout_is_read(data_folder):
    found = read_kaggle(data_folder / "pcam_kaggle")
    assert (found.table["label"] == 1).sum() == 5
    assert (found.table["label"] == -1).sum() == 11
    assert len(found.table) == 26
