import dataclasses

import numpy as np
import pandas as pd
import pytest

from eosin.workflows.fold_pooling import (
    choose_by_fold,
    find_validation_auc,
    pool_validation,
)
from eosin.workflows.fold_training import FoldResult
from eosin.workflows.tile_folder import open_tile_folder


def make_result(tiles, logits):
    return FoldResult(pd.DataFrame(), tiles, np.array(logits, np.float32)[:, None], ())


@pytest.fixture
def tiles(tile_folder):
    rows = open_tile_folder(tile_folder).tiles.head(4).reset_index(drop=True)
    return rows.assign(label=pd.array([0, 1, None, 1], dtype="Int64"))


def test_what_several_folds_say_of_one_tile_is_averaged(tile_folder, tiles):
    folder = dataclasses.replace(open_tile_folder(tile_folder), tiles=tiles)
    first = make_result(tiles.head(3), [-1.0, 2.0, 0.5])
    second = make_result(tiles.tail(2), [1.5, -1.0])
    table, temperature, _ = pool_validation(folder, [first, second])
    assert list(table["id"]) == sorted(tiles["tile_id"])
    assert set(table["split"]) == {"val"}
    own = table.set_index("id").loc[tiles["tile_id"].iloc[2], "probability_tumor"]
    both = [1 / (1 + np.exp(-logit / temperature)) for logit in (0.5, 1.5)]
    assert own == pytest.approx(np.mean(both))


def test_the_auc_is_that_of_labelled_tiles(tiles):
    # One of the two pairs of a tumour and a normal tile is in order.
    result = make_result(tiles, [0.0, 1.0, 9.0, -1.0])
    assert find_validation_auc(result, ("normal", "tumor")) == pytest.approx(0.5)


def test_there_is_no_auc_where_a_class_is_absent(tiles):
    result = make_result(tiles.tail(2), [0.0, 1.0])
    assert find_validation_auc(result, ("normal", "tumor")) is None


def test_a_single_fold_needs_no_choices_of_its_own(tile_folder):
    folder = open_tile_folder(tile_folder)
    assert choose_by_fold(folder, [None], "youden") == ()


def test_each_fold_chooses_on_its_own_patients_alone(tile_folder, tiles):
    folder = dataclasses.replace(open_tile_folder(tile_folder), tiles=tiles)
    low = make_result(tiles, [-3.0, -1.0, 0.0, -1.5])
    high = make_result(tiles, [1.0, 3.0, 0.0, 2.5])
    own = choose_by_fold(folder, [low, high], "youden")
    alone = choose_by_fold(folder, [low, low], "youden")
    # What the other fold says changes nothing.
    assert own[0] == alone[0] == alone[1]
    assert own[1]["tile_threshold"] > own[0]["tile_threshold"]
