import pytest

from eosin.settings import TileTraining, parse_threshold_rule


@pytest.mark.parametrize(
    ("fine_tune", "weights", "depth"),
    [
        ("auto", "none", "all"),
        ("auto", "imagenet", "none"),
        ("auto", "weights.h5", "none"),
        ("last", "none", "last"),
        ("progressive", "imagenet", "progressive"),
    ],
)
def test_what_is_trained_follows_from_the_weights(fine_tune, weights, depth):
    assert TileTraining(fine_tune=fine_tune, weights=weights).depth == depth


def test_fine_tuning_has_its_own_steps_and_shares_the_rest():
    shared = {
        "schedule": "cosine",
        "weight_decay": 0.01,
        "label_smoothing": 0.1,
        "class_weights": (1, 2),
        "mixup": 0.2,
        "ema_decay": 0.9,
        "balance": "slide",
        "max_repeats": 2,
        "monitor": "val_loss",
        "patience": 2,
        "seed": 4,
        "layer_decay": 0.5,
    }
    own = {"tune_epochs": 3, "tune_learning_rate": 1e-5, "tune_batch": 7}
    head = {"epochs": 99, "batch": 64, "min_steps": 9}
    tuning = TileTraining(weights="none", **shared, **own, **head).tuning
    assert (tuning.epochs, tuning.learning_rate, tuning.batch) == (3, 1e-5, 7)
    assert (tuning.depth, tuning.batch_norm) == ("all", "trained")
    assert tuning.least_steps == 0
    assert {name: getattr(tuning, name) for name in shared} == shared
    pretrained = TileTraining(fine_tune="progressive").tuning
    assert (pretrained.depth, pretrained.batch_norm) == ("last", "frozen")


@pytest.mark.parametrize(
    ("rule", "parsed"),
    [
        ("youden", ("youden", 0)),
        ("specificity@0.9", ("specificity", 0.9)),
        ("sensitivity@1", ("sensitivity", 1.0)),
    ],
)
def test_a_threshold_rule_is_read(rule, parsed):
    assert parse_threshold_rule(rule) == parsed
