import dataclasses

import pandas as pd

from eosin.workflows.tile_folder import open_tile_folder
from eosin.workflows.tile_splits import SPLIT_COLUMNS, assign_splits
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


def test_a_slide_without_label_and_labelled_tiles_has_none(tile_folder):
    folder = open_tile_folder(tile_folder)
    first = folder.slides["slide_id"].iloc[0]
    tiles = folder.tiles.copy()
    tiles.loc[tiles["slide_id"] == first, "label"] = pd.NA
    slides = folder.slides.copy()
    slides.loc[0, "label"] = None
    bare = dataclasses.replace(folder, slides=slides, tiles=tiles)
    assert assign_splits(bare, TRAINING)["label"].iloc[0] is None
