"""Cutting a model in two, so that its first part need not run twice.

The trunk runs once over every tile, and what it gives is kept; the tail is
then trained on that. Both parts share their layers with the whole model, which
therefore holds the trained weights without any copying.
"""

import hashlib
from typing import Any, Literal

import numpy as np

from eosin.models.keras_backend import keras
from eosin.models.registry import find_encoder_of
from eosin.models.tile_classifiers import FEATURES_LAYER, LOGITS_LAYER

Depth = Literal["head", "last"]


def split_model(model: Any, depth: Depth) -> tuple[Any, Any]:
    """Cut an encoder or a classifier into a trunk and a tail.

    `head` cuts behind the pooled features of a classifier, `last` before the encoder's
    last block. The trunk, which carries the model's name, goes from raw tiles to
    features `(batch, dimension)` or activations `(batch, height, width, channels)`; the
    tail from there to what the model gives.

    Raises:
        ModelError: The model was not built by eosin.
        ValueError: `head` was asked of an encoder, which has none.
    """
    cut = _find_cut(model, depth)
    trunk = keras.Model(model.input, cut, name=model.name)
    tail = keras.Model(cut, model.output, name=f"{model.name}_tail")
    return trunk, tail


def build_stem(classifier: Any, depth: Depth) -> Any:
    """Build the model whose outputs are kept, so that it need not run again.

    For `head` it gives a classifier's pooled features; for `last` the activations
    before the encoder's last block, and the features in the same pass.
    """
    features = _find_cut(classifier, "head")
    outputs = features if depth == "head" else [_find_cut(classifier, depth), features]
    return keras.Model(classifier.input, outputs, name=classifier.name)


def hash_weights(classifier: Any) -> str:
    """Hash the weights of a classifier's encoder, leaving out its head."""
    digest = hashlib.sha256(classifier.name.encode())
    for layer in classifier.layers:
        if layer.name != LOGITS_LAYER:
            for array in layer.get_weights():
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _find_cut(model: Any, depth: Depth) -> Any:
    """Find the tensor that is all that the tail takes."""
    last_block = find_encoder_of(model).last_block
    if depth == "head":
        return model.get_layer(FEATURES_LAYER).output
    return model.get_layer(last_block).input
