from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from eosin.core import Progress
from eosin.studies.folds import Fitted, fit_folds
from eosin.studies.study import Study

NAMES = [f"U{i}" for i in range(8)]


@dataclass
class Made:
    """A learner that says what it was told to, and remembers what it was asked for."""

    n_seeds: int = 1
    asked: list = field(default_factory=list)

    def find_model(self, fold, seed):
        return f"fold_{fold}/model_{seed}"

    def fit(self, fold, seed, state):
        self.asked.append((fold, seed))
        table = pd.DataFrame({"id": NAMES, "slide_id": NAMES, "patient_id": NAMES})
        table["label"] = pd.array([0, 1] * 4, "Int64")
        table["split"] = ["val"] * 4 + ["test"] * 4
        # Fold and seed can be told from every number.
        table["logit_0"] = np.float32(np.arange(8) + 10 * fold + 0.1 * seed)
        history = pd.DataFrame({"epoch": [1, 2], "val_roc_auc": [None, 0.1 + fold]})
        return Fitted(
            held_out=table,
            history=history,
            facts={"aggregator": f"method {fold}"},
            warnings=("Beware.",),
        )


def fit(learner, state, n_folds=2):
    splits = pd.DataFrame({"fold": range(n_folds)})
    study = Study(unit="slide", class_names=("normal", "tumor"), splits=splits)
    return fit_folds(study, learner, rule="youden", state=state, progress=Progress())


def test_seeds_are_averaged_by_their_logits(tmp_path):
    folds = fit(Made(n_seeds=3), tmp_path)
    for fold in range(2):
        rows = folds.held_out[folds.held_out["fold"] == fold]
        np.testing.assert_allclose(rows["logit_0"], np.arange(8) + 10 * fold + 0.1)
    assert folds.cards[1].models == tuple(f"fold_1/model_{seed}" for seed in range(3))
    assert [card.aggregator for card in folds.cards] == ["method 0", "method 1"]
    assert len(folds.history) == 2 * 3 * 2
    assert folds.warnings == ("Beware.",)


def test_what_is_finished_is_not_done_again(tmp_path):
    whole = fit(Made(n_seeds=2), tmp_path / "whole")
    fit(Made(), tmp_path / "state", n_folds=1)
    learner = Made(n_seeds=2)
    folds = fit(learner, tmp_path / "state")
    assert learner.asked == [(0, 1), (1, 0), (1, 1)]
    pd.testing.assert_frame_equal(folds.held_out, whole.held_out)
    assert (folds.cards, folds.together) == (whole.cards, whole.together)
    pd.testing.assert_frame_equal(folds.history, whole.history)
