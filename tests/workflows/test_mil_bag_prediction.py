import numpy as np
import pytest

from eosin.workflows.mil_bag_prediction import (
    BagJob,
    BagPredictor,
    find_bag_part,
    read_bag_rows,
)
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import EnsemblePrediction, open_mil_run
from eosin.workflows.mil_slides import SlideFinder


class Fixed:
    """An ensemble that says what it is told."""

    def __init__(self, attention):
        self.attention = np.array(attention)

    def predict(self, bags):
        folds = np.array([[0.1, 0.9], [0.5, 0.5], [0.3, 0.7]])
        assert len(bags[0]) == len(self.attention)
        return [EnsemblePrediction(folds.mean(axis=0), folds, self.attention, None)]


def test_a_bag_is_called_and_its_attention_measured(
    mil_study, plant_witnesses, tmp_path
):
    run = open_mil_run(mil_study / "run")
    features = plant_witnesses(tmp_path / "f", {"A": 0, "B": 1})
    # Of the 80 tiles of both slides, two have .3 and .25, the rest shares .45.
    attention = np.full(80, 0.45 / 78)
    attention[[7, 45]] = 0.3, 0.25
    predictor = BagPredictor(
        run,
        Fixed(attention),
        SlideFinder.of_tiles(None),
        MILPredictConfig(tile_objects=1),
        tmp_path / "out",
    )
    paths = (features / "A.h5", features / "B.h5")
    predictor.predict(BagJob("P", "P", ("A", "B"), paths, "key"))
    first, second = read_bag_rows(tmp_path / "out", "P")
    assert first["probability_tumor"] == pytest.approx(0.7)
    assert (first["lowest_fold"], first["highest_fold"]) == (0.5, 0.9)
    assert first["label"] == ("tumor" if run.threshold <= 0.7 else "normal")
    assert not first["seen_in_training"]
    assert first["highest_attention"] == pytest.approx(0.3 * 80)
    assert second["highest_attention"] == pytest.approx(0.25 * 80)
    # Within slide A: .3 of .525 is more than half.
    assert first["tiles_with_half"] == 1
    assert (first["attended_regions"], second["attended_regions"]) == (1, 1)
    # A tile is 64 um wide.
    assert first["attended_mm2"] == pytest.approx(0.0041)
    assert "instances_mm2" not in first
    assert find_bag_part(tmp_path / "out", "P").exists()
    assert not list((tmp_path / "out").glob("*.instances.*"))
