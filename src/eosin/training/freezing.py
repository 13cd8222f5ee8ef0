"""Layers that stand still, and layers that compute in half precision, for a while."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from eosin.models.keras_backend import has_gpu, keras
from eosin.training.config import Precision


def find_batch_norms(model: Any) -> list[Any]:
    """List a model's batch normalisations, those of inner models included."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            found.append(layer)
        elif isinstance(layer, keras.Model):
            found += find_batch_norms(layer)
    return found


@contextmanager
def frozen(layers: Iterable[Any]) -> Iterator[None]:
    """Keep layers' weights as they are for the length of a block.

    A batch normalisation that is frozen also uses its stored statistics.
    """
    before = [(layer, layer.trainable) for layer in layers]
    try:
        for layer, _ in before:
            layer.trainable = False
        yield
    finally:
        for layer, is_trainable in before:
            layer.trainable = is_trainable


@contextmanager
def computing_in(model: Any, precision: Precision) -> Iterator[None]:
    """Let a model compute in another dtype for the length of a block.

    The weights stay float32, and so do layers that ask for it by themselves,
    such as the preprocessing and the logits.

    Args:
        model: Its layers' dtype policies are changed and put back.
        precision: `auto` is mixed_bfloat16 on a GPU, float32 elsewhere.
    """
    if precision == "auto":
        precision = "mixed_bfloat16" if has_gpu() else "float32"
    if precision == "float32":
        yield
        return
    kept = {"preprocessing", "logits"}
    layers = [layer for layer in _iter_layers(model) if layer.name not in kept]
    before = [(layer, layer.dtype_policy) for layer in layers]
    try:
        for layer, _ in before:
            layer.dtype_policy = precision
        yield
    finally:
        for layer, policy in before:
            layer.dtype_policy = policy


def _iter_layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _iter_layers(layer)
