from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.core import CohortError, ManifestError
from eosin.runs.run import SPLIT_COLUMNS
from eosin.settings import SplitSettings
from eosin.studies.splits import (
    divide_drawn,
    divide_patients,
    say_left_out,
    split_tiles,
)
from eosin.tiles import open_tile_folder

ONE, THREE = SplitSettings(), SplitSettings(folds=3)


@pytest.fixture
def folder(tile_folder):
    return open_tile_folder(tile_folder)


def test_every_slide_has_one_row_in_every_fold(folder):
    splits = split_tiles(folder, THREE)
    assert tuple(splits.columns) == SPLIT_COLUMNS
    assert list(splits.groupby("fold").size()) == [10, 10, 10]
    held_out = splits[splits["split"] == "test"]
    assert sorted(held_out["slide_id"]) == sorted(folder.slides["slide_id"])


def test_splits_of_the_slide_table_are_kept_and_leave_no_folds(folder):
    named = ["train", "train", "val", "val", "test", "test", *["train"] * 4]
    folder = replace(folder, slides=folder.slides.assign(split=named))
    assert list(split_tiles(folder, ONE)["split"]) == named
    with pytest.raises(CohortError, match="gives splits; train without --folds"):
        split_tiles(folder, THREE)


def test_slides_without_a_label_take_that_of_their_tiles(folder):
    bare = replace(folder, slides=folder.slides.assign(label=None))
    pd.testing.assert_frame_equal(split_tiles(bare, ONE), split_tiles(folder, ONE))


def test_a_slide_without_any_label_is_in_no_split_and_changes_no_other(folder):
    expected = split_tiles(folder, ONE)
    # Many more, of patients of their own, as a test set's patches.
    extra = pd.concat([folder.slides] * 5, ignore_index=True).assign(label=None)
    extra["slide_id"] = extra["patient_id"] = [f"new{i}" for i in range(len(extra))]
    slides = pd.concat([folder.slides, extra], ignore_index=True)
    more = replace(folder, slides=slides)
    pd.testing.assert_frame_equal(split_tiles(more, ONE), expected)
    assert say_left_out(more, expected) == [
        "50 slides without a label are in no split."
    ]
    assert say_left_out(folder, expected) == []


def test_without_any_label_there_is_nothing_to_divide(folder):
    tiles = folder.tiles.assign(label=pd.array([pd.NA] * len(folder.tiles), "Int8"))
    bare = replace(folder, tiles=tiles, slides=folder.slides.assign(label=None))
    with pytest.raises(CohortError, match="with a label are needed, got none"):
        split_tiles(bare, ONE)


@given(
    patients=st.lists(st.integers(1, 3), min_size=12, max_size=20),
    n_folds=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_no_patient_is_in_two_splits_of_a_fold(patients, n_folds, seed):
    owners = np.repeat([f"P{i}" for i in range(len(patients))], patients)
    labels = ["ab"[int(owner[1:]) % 2] for owner in owners]
    table = pd.DataFrame({"patient_id": owners, "label": labels})
    sides = divide_patients(
        table, owners, n_folds=n_folds, val_fraction=0.2, negative="a", seed=seed
    )
    assert np.sum([side == "test" for side in sides], axis=0).tolist() == (
        [1] * len(owners)
    )
    for side in sides:
        assert set(side) == {"train", "val", "test"}
        pairs = {(owner, own) for owner, own in zip(owners, side, strict=True)}
        assert len(pairs) == len(patients)


def test_bags_of_patients_that_are_not_asked_for_are_on_no_side():
    table = pd.DataFrame({"patient_id": list("abcdefgh"), "label": ["n", "t"] * 4})
    words = {"n_folds": 2, "val_fraction": 0.2, "negative": "n", "seed": 0}
    (first, _) = divide_patients(table, np.array(["a", "x", "b"]), **words)
    assert first[1] == ""
    assert first[0] != "" != first[2]


def make_sides(*names):
    bags = [f"b{i}" for i in range(len(names))]
    return pd.DataFrame({"bag_id": np.repeat(bags, 2), "split": np.repeat(names, 2)})


def test_sides_of_drawn_bags_are_a_split_or_folds():
    (split,) = divide_drawn(make_sides("train", "test", "val"), where="x")
    assert split.tolist() == ["train", "test", "val"]
    folds = divide_drawn(make_sides(*[f"fold_{i}" for i in range(11)]), where="x")
    # Each is held out once, and the next one validates; of the last one the first.
    assert [fold.tolist().index("test") for fold in folds] == list(range(11))
    assert [fold.tolist().index("val") for fold in folds] == [*range(1, 11), 0]
    for names in (("train", "test"), ("fold_0", "fold_1"), ("train", "a", "b")):
        with pytest.raises(ManifestError, match="x: bags of train, val and test"):
            divide_drawn(make_sides(*names), where="x")
