"""Losses for training, in Keras, and for validation, in NumPy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.core import ConfigError
from eosin.models.keras_backend import keras
from eosin.training.config import ClassWeights

Logits = NDArray[np.floating[Any]]


def build_loss(n_classes: int, *, label_smoothing: float) -> Any:
    """Build the cross entropy of logits: one of them for two classes."""
    if n_classes == 2:
        return keras.losses.BinaryCrossentropy(
            from_logits=True, label_smoothing=label_smoothing
        )
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing
    )


def encode_labels(labels: NDArray[Any], n_classes: int) -> NDArray[np.float32]:
    """Turn labels into what the loss expects.

    Returns:
        `(tiles, 1)` of 0 and 1 for two classes, else `(tiles, n_classes)`.
    """
    if n_classes == 2:
        return np.asarray(labels, np.float32)[:, None]
    return np.asarray(np.eye(n_classes)[labels], np.float32)


def find_class_weights(
    class_weights: ClassWeights, labels: NDArray[Any], n_classes: int
) -> NDArray[np.float32]:
    """Give each class its factor in the loss.

    Args:
        class_weights: As in the config; `balanced` weights every class by the
            inverse of its share, so that the tiles' weights average 1.
        labels: Of the training tiles; every class is among them.
        n_classes: Classes.

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


def find_log_probabilities(logits: Logits) -> NDArray[np.float64]:
    """Turn logits into the logarithm of each class's probability.

    Args:
        logits: `(..., 1)` for two classes, else `(..., n_classes)`.

    Returns:
        `(..., n_classes)`.
    """
    scores = logits.astype(np.float64)
    if scores.shape[-1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=-1)
    return np.asarray(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))
