"""How the learning rate goes, and the optimiser that follows it."""

import math
from typing import Any

from eosin.models.keras_backend import keras
from eosin.training.config import Schedule, TrainingConfig

# The shape of the one-cycle policy as fast.ai and PyTorch have it.
_WARM_UP_SHARE = 0.3
_START_FACTOR = 1 / 25
_END_FACTOR = _START_FACTOR / 1e4


def find_learning_rate(
    step: int, n_steps: int, *, peak: float, schedule: Schedule
) -> float:
    """Give the learning rate of one step.

    `one_cycle` rises along a half cosine from a 25th of the peak over the first
    30 % of the steps, then falls along another to a 250,000th. `cosine` falls
    from the peak towards 0. `constant` stays.

    Args:
        step: From 0 to `n_steps - 1`.
        n_steps: Steps of the whole training.
        peak: The highest learning rate.
        schedule: The shape.
    """
    if schedule == "constant" or n_steps == 1:
        return peak
    if schedule == "cosine":
        return _interpolate(peak, 0.0, step / n_steps)
    top = _WARM_UP_SHARE * n_steps - 1
    if step <= top:
        return _interpolate(peak * _START_FACTOR, peak, step / top)
    last = n_steps - 1
    return _interpolate(peak, peak * _END_FACTOR, (step - top) / (last - top))


def build_optimiser(config: TrainingConfig) -> Any:
    """Build the optimiser; the loop sets its learning rate at every step."""
    if config.optimiser == "adam":
        return keras.optimizers.Adam(config.learning_rate)
    optimiser = keras.optimizers.AdamW(
        config.learning_rate, weight_decay=config.weight_decay
    )
    # Decay pulls directions to 0; a bias or a scale has none.
    optimiser.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimiser


def _interpolate(start: float, end: float, share: float) -> float:
    """Go from start to end along a half cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
