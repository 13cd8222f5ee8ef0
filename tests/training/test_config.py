import math

import pytest

from eosin.core import ConfigError, load_config
from eosin.training import FineTuneConfig, HeadConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be 1 or more, got 0"),
        ({"batch": 0}, "batch must be 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": math.inf}, "learning_rate must be above 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in"),
        ({"weight_decay": -1.0, "optimiser": "adamw"}, "weight_decay must be 0"),
        ({"weight_decay": 0.1}, "weight_decay needs the optimiser adamw, got adam"),
        ({"max_repeats": 0.5}, "max_repeats must be 1 or more"),
        ({"patience": 0}, "patience must be 1 or more, or none"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"class_weights": "balanced"}, "would count twice"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"mixup": -0.1}, "mixup must be 0 or more"),
        ({"mixup": math.inf}, "mixup must be 0 or more"),
        ({"ema_decay": 1.0}, "ema_decay must be in"),
        ({"min_steps": -1}, "min_steps must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        HeadConfig(**settings)


def test_settings_come_from_text():
    config = load_config(
        HeadConfig,
        overrides=["balance=slide", "class_weights=1,2.5", "patience=none"],
    )
    assert config.class_weights == (1.0, 2.5)
    assert config.patience is None
    assert (
        load_config(
            FineTuneConfig, overrides=["balance=none", "class_weights=balanced"]
        ).class_weights
        == "balanced"
    )


@pytest.mark.parametrize("layer_decay", [0.0, 1.5])
def test_a_layer_decay_out_of_range_is_refused(layer_decay):
    with pytest.raises(ConfigError, match=r"layer_decay must be in \(0, 1\], got"):
        FineTuneConfig(layer_decay=layer_decay)


def test_a_decay_of_weights_is_checked_in_fine_tuning_too():
    with pytest.raises(ConfigError, match="ema_decay must be in"):
        FineTuneConfig(ema_decay=-0.5)
