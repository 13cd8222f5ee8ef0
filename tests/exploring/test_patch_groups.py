import re

import cv2
import numpy as np
import pandas as pd
import pytest

from eosin.core import CohortError
from eosin.exploring.near_duplicates import describe_looks
from eosin.exploring.patch_groups import (
    Grouping,
    caution_sizes,
    complete_splits,
    group_patches,
    say_changes,
)
from eosin.exploring.scan import Scan


def make_scan(seeds):
    """Scan made patches; equal seeds are copies."""
    patches = []
    for seed in seeds:
        coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
        patches.append(cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC))
    n = len(seeds)
    return Scan(
        np.arange(n),
        np.ones(n, bool),
        np.full(n, 48),
        np.zeros((n, 4), np.float32),
        np.array(seeds, np.uint64) + np.uint64(10),
        describe_looks(patches),
    )


def make_table(n, **columns):
    names = [f"t{i}" for i in range(n)]
    table = pd.DataFrame({"tile_id": names, "label": np.arange(n) % 2})
    for name in ("split", "slide_id", "patient_id"):
        table[name] = pd.Series(columns.get(name, [None] * n), dtype="object")
    return table


def test_copies_are_one_group_that_is_named_after_its_pixels():
    found = group_patches(make_table(4), make_scan([3, 1, 3, 2]), similarity=0.95)
    expected = [f"group-{v:016x}" for v in (13, 11, 13, 12)]
    assert found.table["slide_id"].tolist() == expected
    assert found.table["patient_id"].tolist() == expected
    assert found.kind == "estimated"
    assert found.describe() == {
        "grouping": "estimated",
        "n_groups_estimated": 3,
        "n_patches_estimated": 4,
        "n_near_duplicates": 2,
        "n_groups_divided": 0,
    }


def test_a_group_that_given_splits_divide_becomes_two_and_is_counted():
    table = make_table(3, split=["train", "test", "train"])
    found = group_patches(table, make_scan([1, 1, 2]), similarity=0.95)
    groups = found.table["slide_id"].tolist()
    assert groups == [
        "group-000000000000000b-train",
        "group-000000000000000b-test",
        "group-000000000000000c",
    ]
    assert found.n_groups_divided == 1
    assert found.n_near_duplicates == 0


def test_known_slides_are_kept_and_stand_for_their_patient():
    table = make_table(3, slide_id=["s", "s", None], patient_id=["p", "p", "q"])
    found = group_patches(table, make_scan([1, 1, 1]), similarity=0.95)
    assert found.table["slide_id"].tolist() == ["s", "s", "q"]
    assert found.table["patient_id"].tolist() == ["p", "p", "q"]
    assert (found.kind, found.n_patches_estimated) == ("given", 0)
    # Only unknown slides are estimated.
    table = make_table(3, slide_id=["s", None, None])
    found = group_patches(table, make_scan([1, 1, 2]), similarity=0.95)
    assert found.table[["slide_id", "patient_id"]].iloc[0].tolist() == ["s", "s"]
    assert found.n_patches_estimated == found.n_groups_estimated == 2


@pytest.mark.parametrize("slides", [["s", "s"], ["s", "s", None]])
def test_a_slide_of_two_patients_and_a_patient_of_two_splits_are_refused(slides):
    n = len(slides)
    table = make_table(n, slide_id=slides, patient_id=["p", "q", None][:n])
    with pytest.raises(CohortError, match=r"of one patient; .* more: s"):
        group_patches(table, make_scan(range(n)), similarity=0.95)
    table = make_table(2, split=["train", "test"], patient_id=["p", "p"])
    with pytest.raises(CohortError, match=r"1 are in more \(p\).*given_splits=ignore"):
        complete_splits(table, ("n", "t"), fraction=0.2, seed=0)


def test_features_are_those_of_the_patches():
    features = np.eye(4, dtype=np.float32)
    features[3] = features[0]
    found = group_patches(
        make_table(4), make_scan(range(4)), similarity=0.95, features=features
    )
    assert found.n_groups_estimated == 3


@pytest.mark.parametrize(
    "splits",
    [[None] * 4, ["train", "val", "test", "test"], ["test"] * 4, ["train"] * 4],
)
def test_splits_that_are_whole_or_not_there_stay(splits):
    table = make_table(4, split=splits, patient_id=["a", "b", "c", "d"])
    found, said = complete_splits(table, ("n", "t"), fraction=0.2, seed=0)
    if splits == ["train"] * 4:
        # A lone train split is none.
        assert found["split"].isna().all()
        assert "divides them anew" in said
    else:
        assert found["split"].tolist() == splits
        assert said is None


@pytest.mark.parametrize(("given", "missing"), [("test", "val"), ("val", "test")])
def test_a_missing_split_is_taken_from_train_by_patient(given, missing):
    patients = [f"p{i // 2}" for i in range(80)]
    table = make_table(80, split=["train"] * 60 + [given] * 20, patient_id=patients)
    table["label"] = [i // 2 % 2 for i in range(80)]
    found, said = complete_splits(table, ("n", "t"), fraction=0.2, seed=0)
    assert f"there is no {missing} split" in said
    assert (found["split"] == given).tolist() == [False] * 60 + [True] * 20
    assert found.groupby("patient_id")["split"].nunique().max() == 1
    # 15 patients of either class in train, of which 20 % are 3, of 2 patches each.
    taken = found[found["split"] == missing]
    assert taken["label"].value_counts().to_dict() == {0: 6, 1: 6}
    again, _ = complete_splits(table, ("n", "t"), fraction=0.2, seed=0)
    assert again["split"].tolist() == found["split"].tolist()


def test_patches_without_a_label_are_in_no_split():
    n = 80
    patients = [f"p{i // 2}" for i in range(n)]
    splits = ["train"] * 40 + ["val"] * 20 + ["test"] * 20
    table = make_table(n, split=splits, patient_id=patients)
    table["label"] = [i // 2 % 2 for i in range(60)] + [-1] * 20
    found, said = complete_splits(table, ("n", "t"), fraction=0.2, seed=0)
    # What was called test cannot test anything, so a test is taken from train.
    assert "there is no test split" in said
    assert found["split"].iloc[60:].isna().all()
    counts = {"train": 32, "val": 20, "test": 8}
    assert found["split"].value_counts().to_dict() == counts


@pytest.mark.parametrize(
    ("cautions", "text"),
    [
        (Grouping(make_table(3), 2, 3, 2, 0).list_cautions(), "proven.* these patches"),
        (Grouping(make_table(3), 2, 2, 0, 0).list_cautions(), "2 of 3 patches come"),
        (Grouping(make_table(3), 0, 0, 0, 4).list_cautions(), "4 groups .* more than"),
        (caution_sizes({96: 3}, None), "Nobody stated the resolution"),
        (caution_sizes({96: 2, 128: 1}, 0.5), "1 of 3 patches have another size"),
    ],
)
def test_each_doubt_is_one_sentence(cautions, text):
    (said,) = cautions
    assert re.search(text, said)
    # Patches of known patients and of one size need no caution.
    assert Grouping(make_table(3)).list_cautions() == caution_sizes({96: 3}, 0.5) == []


def test_changes_in_reading_are_said():
    kinds = {"grey": 1, "rgba": 2, "16 bit": 1, "not square": 0, "rgb": 1}
    found = say_changes(kinds, {96: 2, 128: 1}, 96)
    assert found[0].startswith("1 patches are grey")
    assert len(found) == 4
    assert "1 patches are resampled to 96 px" in found[-1]
    assert "1 of 128 px" in found[-1]
    assert say_changes({}, {96: 3}, 96) == []
