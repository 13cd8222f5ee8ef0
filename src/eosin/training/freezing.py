"""Layers that stand still, move less, or compute in another way, for a while."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Literal

from eosin.models import LOGITS_LAYER, has_gpu, split_model
from eosin.models.keras_backend import keras
from eosin.settings import Precision
from eosin.training.state import copy_value

find_direct_calls: Any = None
if keras.backend.backend() == "torch":
    from eosin.models.torch_layers import find_direct_calls


def find_batch_norms(model: Any) -> list[Any]:
    """List a model's batch normalisations, those of inner models included."""
    norm = keras.layers.BatchNormalization
    return [layer for layer in _iter_layers(model) if isinstance(layer, norm)]


def find_resting(
    model: Any,
    *,
    depth: Literal["last", "all"],
    batch_norm: Literal["frozen", "trained"],
    trunk_stages: int | None = None,
) -> Iterator[Any]:
    """List the layers of an encoder or a classifier that settings leave untrained."""
    if batch_norm == "frozen":
        yield from find_batch_norms(model)
    trunk, _ = split_model(model, "last")
    if depth == "last":
        yield from trunk.layers
    elif trunk_stages is not None:
        yield from chain.from_iterable(find_stages(trunk)[trunk_stages:])


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


def find_stages(trunk: Any) -> list[list[Any]]:
    """Group a trunk's layers with weights by the size of their output, the last first.

    A stage of a convolutional network ends where it halves its maps.
    """
    stages: dict[int, list[Any]] = {}
    for layer in trunk.layers:
        if layer.weights:
            stages.setdefault(int(layer.output.shape[1]), []).append(layer)
    return [stages[height] for height in sorted(stages)]


def find_learning_rate_factors(
    model: Any, trunk: Any, *, decay: float
) -> tuple[float, ...]:
    """Give early layers smaller learning rates than late ones, one for each variable.

    What an encoder knows of edges and colours is general, and is lost when it moves as
    fast as a head that has to learn from nothing. The factor is 1 for the head, `decay`
    for the last block, and its square for the trunk before it.
    """
    head = {id(v) for v in model.get_layer(LOGITS_LAYER).variables}
    early = {id(v) for v in trunk.variables}
    return tuple(
        1.0 if id(v) in head else decay**2 if id(v) in early else decay
        for v in model.trainable_variables
    )


@contextmanager
def moving_less(variables: Sequence[Any], factors: Sequence[float]) -> Iterator[None]:
    """Shorten what one training step in a block does to variables, by their factors.

    Adam's steps, and those of every optimiser whose state does not depend on the
    learning rate, are then exactly what that factor of the learning rate gives.
    """
    slowed = [
        (variable, factor, copy_value(variable))
        for variable, factor in zip(variables, factors, strict=True)
        if factor != 1
    ]
    yield
    for variable, factor, start in slowed:
        variable.assign(start + factor * (copy_value(variable) - start))


@contextmanager
def computing_in(model: Any, precision: Precision) -> Iterator[None]:
    """Let a model compute in another dtype for the length of a block.

    The weights stay float32, and so do layers that ask for it by themselves, such as
    the preprocessing and the logits. `auto` is mixed_bfloat16 on a GPU, float32
    elsewhere.
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


@contextmanager
def calling_directly(model: Any) -> Iterator[None]:
    """Let a model's layers use their backend's own kernels for the length of a block.

    What it computes differs by rounding. Layers must be frozen, and their precision
    set, around the block, not in it. Where Keras' layers have nothing to gain, on other
    backends than torch, they are as they were.
    """
    calls = {} if find_direct_calls is None else find_direct_calls(model)
    try:
        for layer, call in calls.items():
            # Beside Keras' own attributes, of which those of a built layer are locked.
            vars(layer)["call"] = call
        yield
    finally:
        for layer in calls:
            vars(layer).pop("call", None)


def _iter_layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _iter_layers(layer)
