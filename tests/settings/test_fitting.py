import pytest

from eosin.core import ConfigError, load_config
from eosin.settings import BagFit, HeadFit, RangeTest, TuneFit


def test_classes_are_not_balanced_twice():
    with pytest.raises(ConfigError, match=r"class_weights.* would count twice"):
        HeadFit(class_weights="balanced")
    for balance in ("none", "slide"):
        assert HeadFit(class_weights=(1, 2), balance=balance).class_weights == (1, 2)


def test_settings_come_from_text():
    texts = ["balance=slide", "class_weights=1,2.5", "patience=none", "epochs=auto"]
    made = load_config(HeadFit, overrides=texts)
    assert made.class_weights == (1.0, 2.5)
    assert (made.patience, made.epochs) == (None, "auto")
    texts = ["balance=none", "class_weights=balanced"]
    assert load_config(TuneFit, overrides=texts).class_weights == "balanced"


@pytest.mark.parametrize(
    ("given", "epochs", "steps"),
    [
        ({"epochs": "auto"}, 20, 2000),
        ({"epochs": "auto", "min_steps": 0}, 20, 0),
        ({"epochs": 7}, 7, 0),
        ({"epochs": 7, "min_steps": 50}, 7, 50),
    ],
)
def test_auto_is_twenty_epochs_of_two_thousand_steps_together(given, epochs, steps):
    made = HeadFit(**given)
    assert (made.n_epochs, made.least_steps) == (epochs, steps)


@pytest.mark.parametrize("kind", [TuneFit, BagFit])
def test_only_the_head_has_automatic_epochs(kind):
    with pytest.raises(ConfigError, match="epochs must be a whole number, got 'auto'"):
        kind(epochs="auto")


def test_weight_decay_is_that_of_adamw():
    assert HeadFit().optimiser == "adam"
    assert HeadFit(weight_decay=0.1).optimiser == BagFit().optimiser == "adamw"


def test_a_part_of_the_trunk_is_trained_with_all_alone():
    assert TuneFit(depth="all", trunk_stages=2).trunk_stages == 2
    with pytest.raises(ConfigError, match=r"trunk_stages must be none, .* got 2"):
        TuneFit(trunk_stages=2)


@pytest.mark.parametrize("ends", [(1e-2, 1e-3), (1e-3, 1e-3)])
def test_the_ends_of_a_range_test_are_in_order(ends):
    with pytest.raises(ConfigError, match=r"lowest must be below highest, got 0.0"):
        RangeTest(lowest=ends[0], highest=ends[1])
