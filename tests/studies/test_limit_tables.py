import math
from dataclasses import dataclass

import numpy as np
import pytest

from eosin.evaluation import DetectionLimit
from eosin.studies.limit_cells import Cell
from eosin.studies.limit_tables import say_limit, tabulate_study


@dataclass(frozen=True)
class Settings:
    bag_size: int = 40
    witnesses: tuple[int, ...] = (20, 5)
    seeds: tuple[int, ...] = (0, 1)
    specificity: float = 0.95
    power: float = 0.9
    seed: int = 0


def make_content(n_found, *, threshold=0.5, resampled=(1.0, 0.5)):
    """Of 20 negatives one is called; of 10 positives all, and `n_found`."""
    return {
        "negatives": [0.0] * 19 + [1.0],
        "positives": [[2.0] * 10, [2.0] * n_found + [-1.0] * (10 - n_found)],
        "threshold": threshold,
        "attention_auc": [0.8, None],
        "val_roc_auc": 0.7,
        "resampled_sensitivity": [list(resampled)] * 3,
        "resampled_auc": [[1.0, 0.6]] * 3,
        "seconds": 2.0,
    }


CEILINGS = [
    {
        "features": {
            "instance_auc": auc,
            "roc_auc": [1.0, auc],
            "sensitivity": [1.0, 0.5],
        }
    }
    for auc in (0.8, 0.9)
]


@pytest.fixture(scope="module")
def tables():
    found = {
        Cell(fold, "20", 500, "mean", seed): make_content(n)
        for fold, seed, n in ((0, 0, 8), (1, 0, 6), (0, 1, 10), (1, 1, 8))
    }
    return tabulate_study(found, CEILINGS, Settings())


def test_calls_are_pooled_over_the_folds(tables):
    row = tables.cells.set_index(["seed", "witnesses"]).loc[(0, 5)]
    # 8 and 6 of 10 positives, 1 of 20 negatives twice.
    counts = ["true_positive", "false_negative", "false_positive", "true_negative"]
    assert row[counts].tolist() == [14, 6, 2, 38]
    assert row["accuracy"] == pytest.approx(52 / 60)
    assert row["precision"] == pytest.approx(14 / 16)
    assert row["recall"] == pytest.approx(14 / 20)
    assert row["specificity"] == pytest.approx(38 / 40)
    assert row["rate"] == 0.125
    assert row["seconds"] == 4


def test_auc_and_sensitivity_are_means_of_the_folds(tables):
    row = tables.cells.set_index(["seed", "witnesses"]).loc[(0, 5)]
    # A found positive lies above all negatives, another below all.
    assert row["roc_auc"] == pytest.approx((0.8 + 0.6) / 2)
    # 19 of 20 negatives are 0: the positives at 2 lie above.
    assert row["sensitivity"] == pytest.approx(0.7)
    assert math.isnan(row["attention_auc"])
    assert tables.cells["attention_auc"].max() == pytest.approx(0.8)


def test_seeds_are_averaged_with_their_deviation(tables):
    row = tables.summary.set_index("witnesses").loc[5]
    assert row["seeds"] == 2
    # 0.7 and 0.9.
    assert row["recall"] == pytest.approx(0.8)
    assert row["recall_sd"] == pytest.approx(0.2 / math.sqrt(2))
    assert (row["true_positive"], row["false_positive"]) == (32, 4)
    assert (row["sensitivity_low"], row["sensitivity_high"]) == (0.5, 0.5)


def test_the_limit_is_interpolated_between_the_rates(tables):
    (row,) = tables.limits.to_dict("records")
    # From 0.8 at 5 of 40 to 1 at 20 of 40: half-way in the logarithm is 10 of 40.
    assert row["rate"] == pytest.approx(0.25)
    assert row["limit"] == "10 of 40"
    # In all resampled studies 0.5 and 1: 0.9 lies four fifths of the way.
    ends = 5 * 4**0.8
    assert row["interval"] == f"{ends:.3g} of 40"
    assert row["share_reached"] == 1
    assert row["val_roc_auc"] == pytest.approx(0.7)


def test_intervals_may_have_no_end():
    found = {
        Cell(0, "mixture", 500, "mean", seed): {
            **make_content(10),
            "resampled_sensitivity": [[0.95, 0.95], [0.2, 0.1]],
            "resampled_auc": [[1.0, 0.6]] * 2,
        }
        for seed in (0, 1)
    }
    (row,) = tabulate_study(found, CEILINGS, Settings()).limits.to_dict("records")
    assert row["limit"] == "\N{LESS-THAN OR EQUAL TO} 5 of 40"
    assert row["interval"] == "\N{LESS-THAN OR EQUAL TO} 5 of 40 to not reached"
    assert row["share_reached"] == pytest.approx(0.5, abs=0.05)


def test_nothing_called_positive_leaves_precision_open():
    found = {Cell(0, "20", 500, "mean", 0): make_content(5, threshold=9)}
    tables = tabulate_study(found, CEILINGS, Settings(seeds=(0,)))
    assert tables.cells["precision"].isna().all()
    assert tables.cells["recall"].tolist() == [0, 0]
    assert tables.summary["recall_sd"].isna().all()


def test_ceilings_are_means_of_the_folds(tables):
    row = tables.ceilings.set_index("witnesses").loc[5]
    assert row["source"] == "features"
    assert row["instance_auc"] == pytest.approx(0.85)
    assert row["roc_auc"] == pytest.approx(0.85)
    assert row["sensitivity"] == 0.5


def test_limits_are_said_in_witnesses():
    assert say_limit(DetectionLimit(None), 40) == "not reached"
    assert say_limit(DetectionLimit(0.0934), 40) == "3.74 of 40"
    assert np.char.endswith(say_limit(DetectionLimit(0.025, is_at_most=True), 40), "40")
