import pytest

from eosin.core import ConfigError
from eosin.settings import (
    RateSearch,
    SplitSettings,
    TileTraining,
    parse_threshold_rule,
)


def test_somebody_is_left_to_train():
    with pytest.raises(ConfigError, match=r"something to train on, got 0.5 and 0.5"):
        SplitSettings(val_fraction=0.5, test_fraction=0.5)
    # With folds nobody is held out beside them.
    SplitSettings(folds=3, val_fraction=0.5, test_fraction=0.5)


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
    made = TileTraining(
        weights="none",
        tune_epochs=3,
        tune_learning_rate=1e-5,
        tune_batch=7,
        layer_decay=0.5,
        epochs=99,
        batch=64,
        balance="slide",
        class_weights=(1, 2),
        mixup=0.2,
        ema_decay=0.9,
        max_repeats=2,
        monitor="val_loss",
        patience=2,
        label_smoothing=0.1,
        weight_decay=0.01,
        schedule="cosine",
        seed=4,
    )
    tuning = made.tuning
    assert (tuning.epochs, tuning.learning_rate, tuning.batch) == (3, 1e-5, 7)
    assert (tuning.depth, tuning.batch_norm, tuning.least_steps) == (
        "all",
        "trained",
        0,
    )
    for name in (
        "schedule",
        "weight_decay",
        "label_smoothing",
        "class_weights",
        "mixup",
        "ema_decay",
        "balance",
        "max_repeats",
        "monitor",
        "patience",
        "seed",
        "layer_decay",
    ):
        assert getattr(tuning, name) == getattr(made, name), name
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


@pytest.mark.parametrize(
    "rule", ["best", "youden@0.5", "sensitivity@0", "specificity@1.5", "sensitivity@x"]
)
def test_an_unknown_threshold_rule_is_told_before_training(rule):
    with pytest.raises(ConfigError, match=f"youden, sensitivity@x .*, got '{rule}'"):
        TileTraining(threshold_rule=rule)


def test_a_search_for_rates_checks_both_of_its_parts():
    with pytest.raises(ConfigError, match="lowest must be below highest"):
        RateSearch(lowest=1, highest=0.1)
    with pytest.raises(ConfigError, match="would count twice"):
        RateSearch(class_weights="balanced")
