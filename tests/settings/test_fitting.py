import pytest

from eosin.core import load_config
from eosin.settings import BagFit, HeadFit, TuneFit


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


def test_weight_decay_is_that_of_adamw():
    assert HeadFit().optimiser == "adam"
    assert HeadFit(weight_decay=0.1).optimiser == BagFit().optimiser == "adamw"
