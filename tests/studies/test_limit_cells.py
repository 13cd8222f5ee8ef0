import math
from dataclasses import replace

import numpy as np
import pytest

from eosin.settings import LimitSettings
from eosin.studies.limit_cells import (
    Cell,
    draw_test_bags,
    find_auc,
    measure_ceiling,
    run_cell,
)
from eosin.studies.limit_sides import FoldBags, read_study_tiles
from eosin.tiles.folder import open_tile_folder

CONFIG = LimitSettings(
    bag_size=8,
    witnesses=(8, 2),
    bags=(40,),
    train_witnesses=("2", "mixture"),
    folds=2,
    val_bags=40,
    test_bags=60,
    n_resamples=3,
    resample_bags=20,
    components=4,
    widths=(8,),
    epochs=8,
    learning_rate=2e-2,
    batch=10,
)
CELL = Cell(0, "2", 40, "likelihood_ratio", 3)


@pytest.fixture(scope="module")
def tiles(make_planted):
    features, folder = make_planted(3.0, colour=2.0)
    return read_study_tiles(features, open_tile_folder(folder), CONFIG)


@pytest.fixture(scope="module")
def bags(tiles):
    return FoldBags(tiles, 0, CONFIG)


@pytest.fixture(scope="module")
def test_bags(bags):
    return draw_test_bags(bags, CONFIG)


@pytest.fixture(scope="module")
def found(bags, test_bags):
    return run_cell(CELL, bags, test_bags, CONFIG)


def test_test_bags_are_of_every_rate(test_bags):
    assert len(test_bags.negatives) == 30
    assert {bag.label for bag in test_bags.negatives} == {0}
    for n, own in zip((8, 2), test_bags.positives, strict=True):
        assert len(own) == 30
        assert {int(bag.instance_labels.sum()) for bag in own} == {n}
    assert len(test_bags.resampled) == 3


def test_a_cell_is_trained_and_scored(found):
    assert CELL.name == "2_40_likelihood_ratio_3_0"
    assert len(found["negatives"]) == 30
    assert [len(own) for own in found["positives"]] == [30, 30]
    assert np.shape(found["resampled_sensitivity"]) == (3, 2)
    assert np.shape(found["resampled_auc"]) == (3, 2)
    assert found["val_roc_auc"] > 0.95
    for own in found["positives"]:
        assert find_auc(np.array(found["negatives"]), np.array(own)) > 0.95
    # Bags of nothing but witnesses have no other tile to tell from.
    assert found["attention_auc"][0] is None
    assert found["attention_auc"][1] > 0.9
    assert 1 <= found["best_epoch"] <= found["epochs"] <= 8
    assert math.isfinite(found["threshold"])


def test_the_ceiling_is_measured_for_features_and_for_colour(tiles, bags):
    found = measure_ceiling(tiles, bags, CONFIG)
    # Six directions with a shift of 3 each, and one with a shift of 2.
    assert found["features"]["instance_auc"] > 0.99
    assert found["colour"]["instance_auc"] == pytest.approx(0.92, abs=0.05)
    for ceiling in found.values():
        assert len(ceiling["roc_auc"]) == len(ceiling["sensitivity"]) == 2
        assert ceiling["roc_auc"][0] >= ceiling["roc_auc"][1] > 0.7
    for colour in ({}, {"mean_red": np.nan}):
        table = tiles.table.drop(columns="mean_red").assign(**colour)
        found = measure_ceiling(replace(tiles, table=table), bags, CONFIG)
        assert list(found) == ["features"]
