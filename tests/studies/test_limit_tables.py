import math

import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import DetectionLimit
from eosin.settings import LimitSettings
from eosin.studies.limit_cells import Cell
from eosin.studies.limit_sides import StudyTiles
from eosin.studies.limit_tables import (
    TABLES,
    LimitTables,
    find_cautions,
    say_limit,
    tabulate_study,
    write_tables,
)

SETTINGS = LimitSettings(witnesses=(20, 5), train_witnesses=("20",))


def make_content(n_found, *, threshold=0.5, resampled=((1.0, 0.5),) * 3):
    """Of 20 negatives one is called; of 10 positives all, and `n_found`."""
    return {
        "negatives": [0.0] * 19 + [1.0],
        "positives": [[2.0] * 10, [2.0] * n_found + [-1.0] * (10 - n_found)],
        "threshold": threshold,
        "attention_auc": [0.8, None],
        "val_roc_auc": 0.7,
        "resampled_sensitivity": resampled,
        "resampled_auc": [[1.0, 0.6]] * len(resampled),
        "seconds": 2.0,
    }


def tabulate(*cells, **words):
    """Tabulate cells, each given as (fold, seed, found)."""
    found = {
        Cell(fold, "20", 500, "mean", seed): make_content(n, **words)
        for fold, seed, n in cells
    }
    ceilings = [
        {"instance_auc": auc, "roc_auc": [1.0, auc], "sensitivity": [1.0, 0.5]}
        for auc in (0.8, 0.9)
    ]
    return tabulate_study(found, [{"features": own} for own in ceilings], SETTINGS)


@pytest.fixture(scope="module")
def tables():
    return tabulate((0, 0, 8), (1, 0, 6), (0, 1, 10), (1, 1, 8))


def test_cells_pool_calls_and_average_what_is_found_within_a_fold(tables):
    row = tables.cells.set_index(["seed", "witnesses"]).loc[(0, 5)]
    # 8 and 6 of 10 positives, 1 of 20 negatives twice.
    counts = ["true_positive", "false_negative", "false_positive", "true_negative"]
    assert row[counts].tolist() == [14, 6, 2, 38]
    assert row["accuracy"] == pytest.approx(52 / 60)
    assert row["precision"] == pytest.approx(14 / 16)
    assert row["recall"] == pytest.approx(14 / 20)
    assert row["specificity"] == pytest.approx(38 / 40)
    assert (row["rate"], row["seconds"]) == (0.125, 4)
    # A found positive lies above all negatives, another below all; 19 of 20 are 0.
    assert row["roc_auc"] == pytest.approx((0.8 + 0.6) / 2)
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
    assert row["interval"] == f"{5 * 4**0.8:.3g} of 40"
    assert (row["share_reached"], row["val_roc_auc"]) == (1, pytest.approx(0.7))


def test_intervals_may_have_no_end():
    resampled = [[0.95, 0.95], [0.2, 0.1]]
    tables = tabulate((0, 0, 10), (0, 1, 10), resampled=resampled)
    (row,) = tables.limits.to_dict("records")
    assert row["limit"] == "\N{LESS-THAN OR EQUAL TO} 5 of 40"
    assert row["interval"] == "\N{LESS-THAN OR EQUAL TO} 5 of 40 to not reached"
    assert row["share_reached"] == pytest.approx(0.5, abs=0.05)


def test_nothing_called_positive_leaves_precision_open():
    tables = tabulate((0, 0, 5), threshold=9)
    assert tables.cells["precision"].isna().all()
    assert tables.cells["recall"].tolist() == [0, 0]
    assert tables.summary["recall_sd"].isna().all()


def test_ceilings_are_means_of_the_folds(tables):
    row = tables.ceilings.set_index("witnesses").loc[5]
    assert (row["source"], row["sensitivity"]) == ("features", 0.5)
    assert (row["instance_auc"], row["roc_auc"]) == (pytest.approx(0.85),) * 2


def test_limits_are_said_in_witnesses():
    assert say_limit(DetectionLimit(None), 40) == "not reached"
    assert say_limit(DetectionLimit(0.0934), 40) == "3.74 of 40"


def make_tiles(*, knows_patients=True):
    return StudyTiles(
        table=pd.DataFrame(),
        is_witness=np.zeros(0, bool),
        features=np.zeros((0, 1), np.float32),
        splits=pd.DataFrame({"fold": [0], "slide_id": ["S"], "split": ["test"]}),
        class_names=("normal", "tumor"),
        knows_patients=knows_patients,
        sha256="",
    )


SOURCES = pd.DataFrame(
    {
        "side": ["train", "test", "test"],
        "patients_with_witnesses": [2, 5, 6],
        "witness_tiles": [10, 900, 600],
    }
)


def make_tables(auc):
    ceilings = pd.DataFrame({"source": ["features", "colour"], "instance_auc": auc})
    return LimitTables(*[pd.DataFrame({"value": [1 / 3]})] * 3, ceilings)


def test_few_patients_unknown_ones_and_colour_are_cautions():
    assert not list(find_cautions(make_tiles(), SOURCES, make_tables(0.69)))
    # Test sides alone are counted.
    few = SOURCES.assign(patients_with_witnesses=[2, 4, 6])
    tiles = make_tiles(knows_patients=False)
    said = list(find_cautions(tiles, few, make_tables(0.7)))
    assert "1,500 witness tiles of 10 patients, 4 in the smallest fold" in said[0]
    assert "may share a patient" in said[1]
    assert "AUC of 0.70" in said[2]


def test_every_table_is_written(tmp_path):
    write_tables(tmp_path, make_tiles(), tables=make_tables(0.5), sources=SOURCES)
    assert {p.stem for p in tmp_path.iterdir()} == set(TABLES)
    assert (tmp_path / "cells.csv").read_text() == "value\n0.333333\n"
