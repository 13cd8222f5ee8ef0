from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.bags import Bag
from eosin.core import CohortError, Progress
from eosin.settings import BagTraining
from eosin.studies.bag_learner import BagLearner
from eosin.studies.labelled_bags import LabelledBags
from eosin.studies.nested_choices import choose_settings, divide_inner
from eosin.studies.study import study_bags

SETTINGS = BagTraining(
    classes=("a", "b"),
    folds=2,
    inner_folds=2,
    widths=(8,),
    dropout=0.0,
    epochs=10,
    learning_rate=1e-2,
    choose=("aggregator=mean,max",),
)


def make_study(turn=None, **changes):
    """One of 30 instances is a witness, which a mean drowns in noise."""
    rng, bags = np.random.default_rng(1), []
    for i in range(24):
        features = rng.normal(size=(30, 3))
        features[rng.integers(30), 0] += 9 * (i % 2)
        words = {"features": features, "label": i % 2}
        if turn is not None and turn[i]:
            words = {"features": features + 9, "label": 1 - i % 2}
        name = f"B{i}"
        bags.append(Bag(bag_id=name, patient_id=name, slide_ids=(name,), **words))
    names = [bag.bag_id for bag in bags]
    table = pd.DataFrame({"slide_id": names, "patient_id": names})
    table["label"] = ["ab"[i % 2] for i in range(24)]
    labelled = LabelledBags(bags=bags, table=table, class_names=("a", "b"), cautions=())
    return study_bags(labelled, replace(SETTINGS, **changes), where="x")


class Watched:
    """Scores as a `BagLearner` does, and remembers whom it was shown."""

    def __init__(self, study, settings, place, stop_at=0):
        self.study, self.stop_at = study, stop_at
        learner = BagLearner(study, settings, place, Progress())
        self.score, self.seen, self.n = learner._train_and_score, set(), 0

    def __call__(self, side, settings, state):
        self.n += 1
        if self.n == self.stop_at:
            raise KeyboardInterrupt
        self.seen |= set(self.study.patients[side != ""])
        return self.score(side, settings, state)


def choose(place, *, fold=0, study=None, stop_at=0, **changes):
    study, settings = study or make_study(), replace(SETTINGS, **changes)
    score = Watched(study, settings, place, stop_at)
    words = {"state": place / "state", "progress": Progress()}
    return choose_settings(study, settings, fold, score, **words), score


def test_a_fold_chooses_the_method_that_finds_the_witness(tmp_path):
    choice, score = choose(tmp_path)
    assert choice.chosen.aggregator == "max"
    assert choice.chosen.choose == ()
    assert dict(choice.settings) == {"aggregator": "max"}
    table = choice.table.set_index("aggregator")
    assert table["is_chosen"].to_dict() == {"mean": False, "max": True}
    assert table.loc["max", "log_loss"] < table.loc["mean", "log_loss"]
    assert table.loc["max", "roc_auc"] > 0.9
    # Every patient that is not tested is held out once, and nobody else is seen.
    inside = set(score.study.patients[score.study.sides[0] != "test"])
    assert set(table["n"]) == {len(inside)}
    assert score.seen == inside


def test_labels_of_test_patients_change_no_choice(tmp_path):
    study = make_study()
    turned = make_study(turn=study.sides[1] == "test")
    tables = [
        choose(tmp_path / name, fold=1, study=own, epochs=2)[0].table
        for name, own in (("one", study), ("other", turned))
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_what_is_finished_is_not_done_again(tmp_path):
    whole, _ = choose(tmp_path / "whole", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        choose(tmp_path / "cut", stop_at=3, epochs=1)
    # Two settings in two inner folds, one of which was cut.
    found, score = choose(tmp_path / "cut", epochs=1)
    assert score.n == 2
    pd.testing.assert_frame_equal(found.table, whole.table, check_exact=True)
    assert choose(tmp_path / "cut", epochs=1)[1].n == 0


def test_too_few_patients_for_inner_folds_are_told():
    study, settings = make_study(), replace(SETTINGS, inner_folds=9)
    message = "to choose in fold 1 .*inner_folds=9.*: 9 folds need 9 .* has 6"
    with pytest.raises(CohortError, match=message):
        divide_inner(study, settings, 1)
