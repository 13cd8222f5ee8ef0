"""What a training step minimises, and how far it goes."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.core import ConfigError
from eosin.models.keras_backend import keras
from eosin.settings import ClassWeights, FitSettings, Schedule

Adam: Any = keras.optimizers.Adam
AdamW: Any = keras.optimizers.AdamW
if keras.backend.backend() == "torch":
    from eosin.training.torch_adam import Adam, AdamW

# The shape of the one-cycle policy as fast.ai and PyTorch have it.
_WARM_UP_SHARE = 0.3
_START_FACTOR = 1 / 25
_END_FACTOR = _START_FACTOR / 1e4

Floats = NDArray[np.float32]


def build_loss(n_classes: int, *, label_smoothing: float) -> Any:
    """Build the cross entropy of logits: one of them for two classes."""
    losses = keras.losses
    kind = (
        losses.BinaryCrossentropy if n_classes == 2 else losses.CategoricalCrossentropy
    )
    return kind(from_logits=True, label_smoothing=label_smoothing)


def encode_labels(labels: NDArray[Any], n_classes: int) -> Floats:
    """Turn labels into what the loss expects.

    That is `(rows, 1)` of 0 and 1 for two classes, else `(rows, classes)`.
    """
    if n_classes == 2:
        return np.asarray(labels, np.float32)[:, None]
    return np.asarray(np.eye(n_classes)[labels], np.float32)


def find_class_weights(
    class_weights: ClassWeights, labels: NDArray[Any], n_classes: int
) -> Floats:
    """Give each class its factor in the loss.

    `balanced` weighs every class by the inverse of its share of the training labels,
    so that these average 1.

    Raises:
        ConfigError: Not one weight above 0 for each class.
    """
    if class_weights == "none":
        return np.ones(n_classes, np.float32)
    if class_weights == "balanced":
        counts = np.bincount(labels, minlength=n_classes)
        return np.asarray(len(labels) / (n_classes * counts), np.float32)
    weights = np.asarray(class_weights, np.float32)
    if len(weights) != n_classes or not (weights > 0).all():
        raise ConfigError(
            f"class_weights must be {n_classes} numbers above 0, got {class_weights}"
        )
    return weights


def find_log_probabilities(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Turn logits into the logarithm of each class's probability.

    From `(..., 1)` for two classes, else `(..., classes)`, to `(..., classes)`.
    """
    scores = logits.astype(np.float64)
    if scores.shape[-1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=-1)
    return np.asarray(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))


def build_optimiser(config: FitSettings) -> Any:
    """Build the optimiser; the loop sets its learning rate at every step."""
    if config.optimiser == "adam":
        return Adam(config.learning_rate)
    optimiser = AdamW(config.learning_rate, weight_decay=config.weight_decay)
    # Decay pulls directions to 0; a bias or a scale has none.
    optimiser.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimiser


def find_learning_rate(
    step: int, n_steps: int, *, peak: float, schedule: Schedule
) -> float:
    """Give the learning rate of one step, from 0, of a whole training.

    `one_cycle` rises along a half cosine from a 25th of the peak over the first
    30 % of the steps, then falls along another to a 250,000th. `cosine` falls
    from the peak towards 0. `constant` stays.
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


def _interpolate(start: float, end: float, share: float) -> float:
    """Go from start to end along a half cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
