import dataclasses

import pandas as pd
import pytest

from eosin.core import CohortError
from eosin.workflows.tile_folder import open_tile_folder
from eosin.workflows.tile_splits import SPLIT_COLUMNS, assign_splits, say_left_out
from eosin.workflows.train_tiles import TrainConfig

TRAINING = TrainConfig(encoder="smallcnn", weights="none")


def test_every_slide_has_one_row_in_every_fold(tile_folder):
    folder = open_tile_folder(tile_folder)
    config = dataclasses.replace(TRAINING, folds=3)
    splits = assign_splits(folder, config)
    assert tuple(splits.columns) == SPLIT_COLUMNS
    assert list(splits.groupby("fold").size()) == [10, 10, 10]
    held_out = splits[splits["split"] == "test"]
    assert sorted(held_out["slide_id"]) == sorted(folder.slides["slide_id"])


def test_splits_of_the_slide_table_are_kept(tile_folder):
    folder = open_tile_folder(tile_folder)
    given = ["train", "train", "val", "val", "test", "test", *["train"] * 4]
    folder = dataclasses.replace(folder, slides=folder.slides.assign(split=given))
    assert list(assign_splits(folder, TRAINING)["split"]) == given


def test_slides_without_a_label_take_that_of_their_tiles(tile_folder, tmp_path):
    folder = open_tile_folder(tile_folder)
    expected = assign_splits(folder, TRAINING)
    slides = folder.slides.assign(label=None)
    bare = dataclasses.replace(folder, slides=slides)
    assert bare.slide_labels is None
    pd.testing.assert_frame_equal(assign_splits(bare, TRAINING), expected)


def test_a_slide_without_any_label_is_in_no_split(tile_folder):
    folder = open_tile_folder(tile_folder)
    first = folder.slides["slide_id"].iloc[0]
    tiles = folder.tiles.copy()
    tiles.loc[tiles["slide_id"] == first, "label"] = pd.NA
    slides = folder.slides.copy()
    slides.loc[0, "label"] = None
    bare = dataclasses.replace(folder, slides=slides, tiles=tiles)
    for config in (TRAINING, dataclasses.replace(TRAINING, folds=3)):
        splits = assign_splits(bare, config)
        assert first not in set(splits["slide_id"])
        assert splits["slide_id"].nunique() == 9
        assert splits["split"].notna().all()
    assert say_left_out(bare, splits) == ["1 slides without a label are in no split."]
    assert say_left_out(folder, assign_splits(folder, TRAINING)) == []


def test_splits_do_not_change_with_what_has_no_label(tile_folder):
    folder = open_tile_folder(tile_folder)
    expected = assign_splits(folder, TRAINING)
    # Many more, of patients of their own, as a test set's patches.
    extra = pd.concat([folder.slides] * 5, ignore_index=True).assign(label=None)
    names = [f"new{i}" for i in range(len(extra))]
    extra["slide_id"], extra["patient_id"] = names, names
    slides = pd.concat([folder.slides, extra], ignore_index=True)
    more = dataclasses.replace(folder, slides=slides)
    pd.testing.assert_frame_equal(assign_splits(more, TRAINING), expected)


def test_without_any_label_there_is_nothing_to_divide(tile_folder):
    folder = open_tile_folder(tile_folder)
    bare = dataclasses.replace(
        folder,
        slides=folder.slides.assign(label=None),
        tiles=folder.tiles.assign(label=pd.array([pd.NA] * len(folder.tiles), "Int8")),
    )
    with pytest.raises(CohortError, match="with a label are needed, got none"):
        assign_splits(bare, TRAINING)
