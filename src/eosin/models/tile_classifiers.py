"""Tile classifiers: an encoder, global average pooling and a dense layer."""

from pathlib import Path
from typing import Any

from eosin.core import ConfigError, ModelError
from eosin.models.keras_backend import keras
from eosin.models.keras_files import load_keras_model

FEATURES_LAYER = "features"
DROPOUT_LAYER = "dropout"
LOGITS_LAYER = "logits"


def build_classifier(
    encoder: Any, *, n_classes: int, dropout: float = 0.5, seed: int = 0
) -> Any:
    """Put a classification head on an encoder.

    The encoder's layers are shared, not copied: training the classifier
    changes the encoder.

    Args:
        encoder: From `build_encoder`.
        n_classes: Classes, the negative one included; at least 2.
        dropout: Share of the features that training drops, in [0, 1).
        seed: Seed of the head's weights and of the dropout.

    Returns:
        A `keras.Model` with the encoder's name, from tiles to logits:
        `(batch, 1)` for two classes (above 0 means label 1), otherwise
        `(batch, n_classes)`. Its layer `features` holds the pooled features.

    Raises:
        ConfigError: `n_classes` or `dropout` is out of range.
    """
    require_head("classifier", n_classes, dropout)
    layers = keras.layers
    pooled = layers.GlobalAveragePooling2D(name=FEATURES_LAYER)(encoder.output)
    kept = layers.Dropout(dropout, seed=seed, name=DROPOUT_LAYER)(pooled)
    logits = layers.Dense(
        1 if n_classes == 2 else n_classes,
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
        # Logits feed a softmax or a file: float32 under any dtype policy.
        dtype="float32",
        name=LOGITS_LAYER,
    )(kept)
    return keras.Model(encoder.input, logits, name=encoder.name)


def require_head(noun: str, n_classes: int, dropout: float) -> None:
    """Refuse a head that cannot be built, whatever model it is of."""
    if n_classes < 2:
        raise ConfigError(f"a {noun} needs 2 classes or more, got {n_classes}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), got {dropout}")


def load_classifier(path: Path) -> Any:
    """Read a tile classifier that `save_model` wrote.

    Raises:
        ModelError: The file is missing, is no Keras model, or is none of ours.
    """
    classifier = load_keras_model(path)
    names = {layer.name for layer in classifier.layers}
    if not {FEATURES_LAYER, LOGITS_LAYER} <= names:
        raise ModelError(
            f"{path}: is a Keras model, but not a tile classifier of eosin, which "
            f"has the layers '{FEATURES_LAYER}' and '{LOGITS_LAYER}'"
        )
    return classifier
