import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.cohorts import fold_patients, split_patients
from eosin.core import CohortError


def make_table(n_normal, n_tumor, slides_each=2):
    rows = [
        {"patient_id": f"{label[0]}{i}", "label": label}
        for label, n in (("normal", n_normal), ("tumor", n_tumor))
        for i in range(n)
        for _ in range(slides_each)
    ]
    return pd.DataFrame(rows)


def count(table, splits, split, label):
    rows = table[(splits == split) & (table["label"] == label)]
    return rows["patient_id"].nunique()


@given(st.integers(3, 20), st.integers(3, 20), st.integers(0, 5), st.integers(0, 1000))
def test_no_patient_is_divided_and_every_class_is_everywhere(a, b, seed, shuffle):
    table = make_table(a, b).sample(frac=1, random_state=shuffle)
    splits = split_patients(table, negative="normal", seed=seed)
    pairs = set(zip(table["patient_id"], splits, strict=True))
    assert len(pairs) == a + b
    for split in ("train", "val", "test"):
        for label in ("normal", "tumor"):
            assert count(table, splits, split, label) >= 1


def test_a_split_depends_on_the_seed_and_not_on_the_rows_order():
    table = make_table(10, 10)
    first = split_patients(table, seed=1)
    again = split_patients(table.iloc[::-1], seed=1)
    assert first.sort_index().equals(again.sort_index())
    assert not first.equals(split_patients(table, seed=2))


@pytest.mark.parametrize(
    ("n_normal", "n_tumor", "expected"), [(10, 20, [12, 4, 4]), (8, 2, [1, 0, 1])]
)
def test_shares_are_kept_class_by_class(n_normal, n_tumor, expected):
    table = make_table(n_normal, n_tumor)
    splits = split_patients(table, fractions=(0.6, 0.2, 0.2), negative="normal")
    counts = [count(table, splits, s, "tumor") for s in ("train", "val", "test")]
    assert counts == expected
    assert count(table, splits, "test", "normal") == 2


def test_a_patient_with_one_tumour_slide_is_a_tumour_patient():
    patients = [f"P{i}" for i in range(6) for _ in range(2)]
    labels = ["normal", "tumor"] * 3 + ["normal"] * 6
    table = pd.DataFrame({"patient_id": patients, "label": labels})
    splits = split_patients(table, negative="normal", seed=0)
    for split in ("train", "val", "test"):
        assert "tumor" in set(table.loc[splits == split, "label"])


def test_given_splits_are_kept_for_all_of_a_patients_rows():
    table = make_table(6, 6)
    table["split"] = None
    table.loc[0, "split"] = "test"
    splits = split_patients(table, negative="normal")
    assert (splits[table["patient_id"] == "n0"] == "test").all()
    # Numbers will do as patients.
    table["patient_id"] = pd.factorize(table["patient_id"])[0]
    assert set(split_patients(table)) == {"train", "val", "test"}


def test_a_patient_given_two_splits_is_an_error():
    table = make_table(4, 4)
    table["split"] = ["train", "test"] * 8
    with pytest.raises(CohortError, match="must be in one split"):
        split_patients(table)


def test_a_class_that_train_or_test_would_lack_is_an_error():
    with pytest.raises(CohortError, match=r"'tumor' has 1 patient.*test; three"):
        split_patients(make_table(8, 1), negative="normal")
    table = make_table(4, 4)
    table["split"] = ["train"] * 8 + ["test"] * 8
    with pytest.raises(CohortError, match="none of them would be in test"):
        split_patients(table)
    table = pd.DataFrame({"patient_id": ["a", "b"], "label": [None, None]})
    with pytest.raises(CohortError, match="would be empty: 2 patient"):
        split_patients(table)


@given(st.integers(5, 12), st.integers(5, 12), st.integers(2, 5), st.integers(0, 5))
def test_folds_hold_every_patient_out_once(a, b, n_folds, seed):
    table = make_table(a, b)
    folds = fold_patients(table, n_folds=n_folds, negative="normal", seed=seed)
    assert len(folds) == n_folds
    held_out = [set(table.loc[fold == "test", "patient_id"]) for fold in folds]
    assert sum(map(len, held_out)) == a + b
    assert set().union(*held_out) == set(table["patient_id"])
    for fold in folds:
        assert len(set(zip(table["patient_id"], fold, strict=True))) == a + b
        for split in ("train", "val", "test"):
            assert count(table, fold, split, "tumor") >= 1


@pytest.mark.parametrize(("n_tumor", "n_folds"), [(4, 5), (2, 2), (3, 2)])
def test_fewer_patients_than_folds_need_is_an_error(n_tumor, n_folds):
    with pytest.raises(CohortError, match=rf"'tumor' has {n_tumor}; .*add patients"):
        fold_patients(make_table(9, n_tumor), n_folds=n_folds)
