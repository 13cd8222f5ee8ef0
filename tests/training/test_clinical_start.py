from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eosin.bags import Bag, fit_clinical
from eosin.models import build_mil_model, predict_bags
from eosin.training import MILConfig, TrainingBags, train_mil
from eosin.training.clinical_start import start_clinical

KINDS = {"marker": "number", "noise": "number"}
N_TRAIN, N_VAL, N_TEST = 40, 16, 60
DIMENSION = 200


@pytest.fixture
def bags():
    """Bags whose features say nothing, though they tell every training bag apart."""
    rng = np.random.default_rng(0)
    bags = []
    for i in range(N_TRAIN + N_VAL + N_TEST):
        values = {"marker": f"{2 * (i % 2) + rng.normal():.3f}", "noise": str(i % 7)}
        features = rng.normal(size=(5, DIMENSION))
        bags.append(Bag(bag_id=str(i), features=features, label=i % 2, clinical=values))
    return bags


def split(bags):
    rows = np.arange(len(bags))
    return TrainingBags(
        bags, rows[:N_TRAIN], rows[N_TRAIN : N_TRAIN + N_VAL], ("normal", "tumour")
    )


def build(bags, **options):
    clinical = fit_clinical([bag.clinical for bag in bags[:N_TRAIN]], KINDS)
    return build_mil_model(
        "gated_attention", dimension=DIMENSION, clinical=clinical, **options
    )


def score(model, bags):
    held = bags[-N_TEST:]
    logits = [found.logits[0] for found in predict_bags(model, held)]
    return roc_auc_score([bag.label for bag in held], logits)


def test_it_starts_where_the_columns_speak(bags):
    model = build(bags)
    start_clinical(model, split(bags))
    # A number, and whether it was missing, of each column.
    marker, was_missing, noise, _ = model.clinical_head.get_weights()[0][:, 0]
    assert marker > 1
    assert was_missing == 0
    assert abs(noise) < 0.5


def test_validation_and_labels_of_others_have_no_say(bags):
    first, second = build(bags), build(bags)
    start_clinical(first, split(bags))
    others = [replace(bag, label=0) for bag in bags[N_TRAIN:]]
    start_clinical(second, split(bags[:N_TRAIN] + others))
    np.testing.assert_array_equal(
        *(m.clinical_head.get_weights() for m in (first, second))
    )


def test_each_class_has_its_own_start(bags):
    three = [
        replace(b, label=i % 3, clinical={"marker": str(i % 3), "noise": "1"})
        for i, b in enumerate(bags)
    ]
    model = build(three, n_classes=3)
    rows = np.arange(len(three))
    start_clinical(model, TrainingBags(three, rows, rows[:0], ("a", "b", "c")))
    low, middle, high = model.clinical_head.get_weights()[0][0]
    assert low < middle < high


def test_a_model_without_columns_stays_as_it_is(bags):
    model = build_mil_model("gated_attention", dimension=DIMENSION)
    before = model.get_weights()
    start_clinical(model, split([replace(bag, clinical=None) for bag in bags]))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_marker_is_learnt_beside_features_that_fit_anything(bags):
    config = MILConfig(epochs=15, batch=4, monitor="val_loss")
    model = build(bags)
    train_mil(model, split(bags), config)
    alone = roc_auc_score(
        [bag.label for bag in bags[-N_TEST:]],
        [float(bag.clinical["marker"]) for bag in bags[-N_TEST:]],
    )
    assert alone > 0.9
    assert score(model, bags) > alone - 0.05
    # Dealt to other bags, the same columns teach nothing.
    order = np.random.default_rng(1).permutation(len(bags))
    dealt = [
        replace(bag, clinical=bags[i].clinical)
        for bag, i in zip(bags, order, strict=True)
    ]
    model = build(dealt)
    train_mil(model, split(dealt), config)
    assert 0.3 < score(model, dealt) < 0.7
