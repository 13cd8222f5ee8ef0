import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import Classes
from eosin.runs.card import FoldCard
from eosin.runs.choices import choose, find_validation_auc, list_fold_cautions, pool

TARGET = Classes(("normal", "tumor"))


def make_held(logits, labels, *, ids=None, split="val"):
    """Rows as `Run.held_out` has them: one slide and patient each."""
    ids = ids or [f"U{i}" for i in range(len(logits))]
    logits = np.reshape(logits, (len(ids), -1))
    table = pd.DataFrame({"id": ids, "slide_id": ids, "patient_id": ids})
    table["label"] = pd.array(labels, "Int64")
    table["split"] = split
    return table.join(pd.DataFrame(logits).add_prefix("logit_"))


def test_the_threshold_lies_between_the_classes():
    held = make_held([-2.0, -1.0, 1.5, 3.0], [0, 0, 1, 1])
    for unit in ("slide", "patient", "bag"):
        card = choose(held, unit=unit, target=TARGET, rule="youden")
        ends = 1 / (1 + np.exp(-np.array([-1.0, 1.5]) / card.temperature))
        assert ends[0] < card.threshold <= ends[1]
        assert (card.tile_threshold, card.share) == (None, None)


def test_what_several_folds_say_of_one_unit_is_averaged():
    held = make_held([-1.0, 2.0, 0.5, 1.5], [0, 1, 1, 1], ids=["a", "b", "c", "c"])
    table = pool(held, unit="tile", target=TARGET, temperature=2.0)
    assert list(table["id"]) == ["a", "b", "c"]
    found = table.set_index("id").loc["c", "probability_tumor"]
    assert found == pytest.approx(np.mean(1 / (1 + np.exp([-0.25, -0.75]))))


HOW = {"unit": "slide", "target": TARGET, "rule": "youden"}


def test_choices_that_could_not_be_made_are_cautions():
    card = choose(make_held([-1.0, 1.0], [1, 1]), **HOW)
    assert card.threshold == 0.5
    assert [text.split(":")[0] for text in card.cautions][-1] == "Threshold"
    assert "not chosen" in card.cautions[-1]


def test_three_classes_have_no_threshold():
    target = Classes(("a", "b", "c"))
    held = make_held(np.eye(3) * 3, [0, 1, 2])
    card = choose(held, unit="slide", target=target, rule="youden")
    assert card.threshold is None
    assert find_validation_auc(held, target) == 1.0


def test_the_auc_is_that_of_labelled_units_and_needs_every_class():
    # One of the two pairs of a tumour and a normal unit is in order.
    held = make_held([0.0, 1.0, 9.0, -1.0], [0, 1, None, 1])
    assert find_validation_auc(held, TARGET) == pytest.approx(0.5)
    assert find_validation_auc(held[held["label"] == 1], TARGET) is None


def test_cautions_of_folds_are_told_once():
    folds = [
        FoldCard(cautions=own) for own in (("Too few.",), (), ("Too few.", "Odd."))
    ]
    assert list_fold_cautions(folds) == ["Folds 0, 2, too few.", "Fold 2, odd."]
