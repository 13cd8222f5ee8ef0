"""Which parts of a tile speak for a class: Grad-CAM and Grad-CAM++."""

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eosin.core import ModelError
from eosin.models.keras_backend import keras
from eosin.models.registry import ENCODERS
from eosin.models.tile_classifiers import DROPOUT_LAYER, FEATURES_LAYER, LOGITS_LAYER

Variant = Literal["grad_cam", "grad_cam_plus_plus"]
Maps = NDArray[np.float32]

ops = keras.ops

_TINY = 1e-12
# What these give is of another size than what was looked at.
_RESHAPING = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """A place in a model, a layer or operation, on which alone all that follows rests.

    Its `tensor` is `(batch, height, width, channels)`.
    """

    name: str
    tensor: Any

    @property
    def n_cells(self) -> int:
        """Places along the shorter side."""
        return int(min(self.tensor.shape[1:3]))


def grad_cam(
    model: Any,
    tiles: NDArray[Any],
    class_index: int | NDArray[np.integer[Any]] | None = None,
    variant: Variant = "grad_cam",
    *,
    layer: str | None = None,
    batch: int = 32,
) -> Maps:
    """Map how strongly each place of each tile speaks for a class.

    The channels of a feature map are weighted by the gradient of the class's
    logit, summed, and cut off at 0 (Selvaraju et al., 2017). Grad-CAM++ weights
    every place's gradient too, so that several small findings count as much as a
    large one (Chattopadhay et al., 2018, eq. 19, for the exponential of the
    logit). The map has the feature map's resolution, enlarged bilinearly.

    Args:
        model: A classifier of eosin, or any Keras model from tiles to one logit
            (or sigmoid) or to one logit (or softmax) per class.
        tiles: `(tiles, height, width, channels)`, as the model takes them.
        class_index: The class in question, one for all tiles or one for each. Of a
            single logit, 1 asks what speaks for it and 0 what speaks against it.
            None asks for the class that the model chooses for each tile.
        variant: `grad_cam` or `grad_cam_plus_plus`.
        layer: The layer whose output is mapped. None takes the one that the encoder
            names (`EncoderSpec.map_layer`), else the last feature map, the coarsest
            one and the closest to the decision.
        batch: Tiles that are run at once, 1 or more.

    Returns:
        `(tiles, height, width)`, float32 in 0..1; the highest place of a tile's
        feature map is 1, and a tile in which nothing speaks for the class is 0.

    Raises:
        ModelError: The model has no feature map, or no logits behind it.
        ValueError: The variant is unknown, or there is no such class.
    """
    if variant not in ("grad_cam", "grad_cam_plus_plus"):
        raise ValueError(
            f"variant must be 'grad_cam' or 'grad_cam_plus_plus', got {variant!r}"
        )
    with _ending_in_logits(model):
        cut = find_map(model, layer).tensor
        parts = (
            keras.Model(model.inputs[0], cut),
            keras.Model(cut, _find_logits(model)),
        )
        is_last = cut is _find_last_map(model).tensor
        head = _find_linear_head(model) if is_last else None
        chosen = _spread(class_index, len(tiles))
        maps = [
            _map_batch(
                parts,
                tiles[i : i + batch],
                None if chosen is None else chosen[i : i + batch],
                variant,
                head,
            )
            for i in range(0, len(tiles), batch)
        ]
    size = tiles.shape[1:3]
    return np.concatenate([np.zeros((0, *size), np.float32), *maps])


def _spread(
    class_index: int | NDArray[Any] | None, n_tiles: int
) -> NDArray[Any] | None:
    """Give every tile its class."""
    if class_index is None:
        return None
    if np.ndim(class_index) > 0 and np.shape(class_index) != (n_tiles,):
        raise ValueError(
            f"class_index must be one class, or one for each of the {n_tiles} tiles, "
            f"got {np.shape(class_index)}"
        )
    return np.broadcast_to(class_index, n_tiles)


def _map_batch(
    parts: tuple[Any, Any],
    tiles: NDArray[Any],
    chosen: NDArray[Any] | None,
    variant: Variant,
    head: NDArray[np.float32] | None,
) -> Maps:
    trunk, tail = parts
    activations = np.asarray(trunk.predict_on_batch(tiles), np.float32)
    logits = np.asarray(tail.predict_on_batch(activations), np.float32)
    signs = _choose_logits(logits, chosen)
    if head is None:
        gradients = find_gradients(tail, activations, signs)
    else:
        gradients = find_linear_gradients(head, activations, signs)
    coarse = weigh_activations(activations, gradients, variant)
    return _enlarge(coarse, tiles.shape[1:3])


def weigh_activations(activations: Maps, gradients: Maps, variant: Variant) -> Maps:
    """Sum feature maps' channels by their gradients, of the maps' shape.

    Activations are `(tiles, height, width, channels)`. The result is 0 or more, and 1
    at the highest place of each tile that has any.
    """
    if variant == "grad_cam":
        weights = gradients.mean(axis=(1, 2), keepdims=True)
    else:
        squares = gradients**2
        totals = activations.sum(axis=(1, 2), keepdims=True)
        below = 2 * squares + totals * squares * gradients
        # Where the gradient is 0, so is the weight.
        shares = np.divide(squares, below, out=np.zeros_like(squares), where=below != 0)
        weights = (shares * np.maximum(gradients, 0)).sum(axis=(1, 2), keepdims=True)
    maps = np.maximum((weights * activations).sum(axis=-1), 0)
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(maps / np.maximum(highest, _TINY), np.float32)


def find_linear_gradients(
    kernel: NDArray[np.float32], activations: Maps, signs: NDArray[np.float32]
) -> Maps:
    """Give the gradient through an average over the places and a dense layer.

    A place's share of the average is the same everywhere, and the dense layer's kernel
    `(channels, logits)` says what the average is worth. No backend has to
    differentiate.
    """
    places = activations.shape[1] * activations.shape[2]
    per_channel = (signs @ kernel.T / places)[:, None, None, :]
    return np.broadcast_to(per_channel, activations.shape)


def find_gradients(tail: Any, activations: Maps, signs: NDArray[np.float32]) -> Maps:
    """Give the gradient of logits, by how much each counts, by a tail's activations.

    This is the one place that asks which backend runs: Keras 3 computes on any of them,
    but has no function of its own that gives a gradient by an input.

    Raises:
        ModelError: The backend cannot differentiate.
    """

    def score(inputs: Any) -> Any:
        return ops.sum(ops.multiply(tail(inputs, training=False), signs))

    name = keras.config.backend()
    if name not in _DIFFERENTIATE:
        raise ModelError(
            f"the Keras backend '{name}' gives no gradients; set KERAS_BACKEND to "
            f"{', '.join(_DIFFERENTIATE)}, or take a classifier of eosin, whose head "
            "needs none"
        )
    return np.asarray(_DIFFERENTIATE[name](score, activations), np.float32)


def _differentiate_torch(score: Callable[[Any], Any], activations: Maps) -> Any:
    torch = importlib.import_module("torch")
    with torch.enable_grad():
        inputs = ops.convert_to_tensor(activations).detach().requires_grad_()
        (gradients,) = torch.autograd.grad(score(inputs), inputs)
    return ops.convert_to_numpy(gradients)


def _differentiate_tensorflow(score: Callable[[Any], Any], activations: Maps) -> Any:
    tensorflow = importlib.import_module("tensorflow")
    inputs = ops.convert_to_tensor(activations)
    with tensorflow.GradientTape() as tape:
        tape.watch(inputs)
        value = score(inputs)
    return ops.convert_to_numpy(tape.gradient(value, inputs))


def _differentiate_jax(score: Callable[[Any], Any], activations: Maps) -> Any:
    jax = importlib.import_module("jax")
    gradients = jax.grad(score)(ops.convert_to_tensor(activations))
    return ops.convert_to_numpy(gradients)


_DIFFERENTIATE = {
    "torch": _differentiate_torch,
    "tensorflow": _differentiate_tensorflow,
    "jax": _differentiate_jax,
}


def _choose_logits(
    logits: NDArray[np.float32], chosen: NDArray[Any] | None
) -> NDArray[np.float32]:
    """Say how much of each logit is asked for: 1 of the class, or -1 of its rival."""
    n_logits = logits.shape[1]
    n_classes = max(2, n_logits)
    if chosen is None:
        chosen = logits[:, 0] > 0 if n_logits == 1 else logits.argmax(axis=1)
    chosen = np.asarray(chosen).astype(np.int64)
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < n_classes:
        raise ValueError(
            f"class_index must be in 0..{n_classes - 1}, got "
            f"{chosen.min()}..{chosen.max()}"
        )
    if n_logits == 1:
        return np.asarray(2 * chosen - 1, np.float32)[:, None]
    return np.asarray(np.eye(n_logits)[chosen], np.float32)


def find_map(model: Any, layer: str | None = None) -> FeatureMap:
    """Find the feature map that `grad_cam` looks at: of a layer, or the default one.

    Raises:
        ModelError: The model has no feature map, or not of this layer.
    """
    if layer is None and model.name in ENCODERS:
        layer = ENCODERS[model.name].map_layer
    return _find_last_map(model) if layer is None else _find_named_map(model, layer)


def list_feature_maps(model: Any) -> list[FeatureMap]:
    """List the feature maps at which a model can be cut in two, the first one first.

    Those within a branch that another one bypasses are left out, and so is what only
    was padded or cropped. A model within the model counts as one layer. There are none
    where a layer is used several times, and of a `Sequential` model.
    """
    steps = list(_iter_steps(model))
    if len({id(operation) for operation, _, _ in steps}) < len(steps):
        return []
    waiting = Counter(id(tensor) for _, inputs, _ in steps for tensor in inputs)
    # What was given and is still to be taken.
    live: set[int] = set()
    found = []
    for operation, inputs, outputs in steps:
        waiting.subtract(id(tensor) for tensor in inputs)
        live -= {id(tensor) for tensor in inputs if not waiting[id(tensor)]}
        live |= {id(tensor) for tensor in outputs}
        is_cut = len(live) == 1 and len(outputs) == 1 and inputs
        if not is_cut or isinstance(operation, _RESHAPING):
            continue
        if len(outputs[0].shape) == 4:
            found.append(FeatureMap(operation.name, outputs[0]))
    return found


def _iter_steps(model: Any) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """Yield each use of an operation in a model, with what it takes and gives.

    Keras keeps them in an order in which nothing is taken before it was given. Only
    their nodes, which it calls private, know the outer tensors of an inner model.
    """
    own = {id(tensor) for tensor in model.inputs}
    for operation in getattr(model, "operations", ()):
        for node in operation._inbound_nodes:
            inputs, outputs = list(node.input_tensors), list(node.output_tensors)
            # A layer may have been used in another model too.
            if inputs and not all(id(tensor) in own for tensor in inputs):
                continue
            own |= {id(tensor) for tensor in outputs}
            yield operation, inputs, outputs


def _find_named_map(model: Any, name: str) -> FeatureMap:
    for found in list_feature_maps(model):
        if found.name == name:
            return found
    try:
        tensor = model.get_layer(name).output
    except ValueError as error:
        raise ModelError(f"{model.name}: has no layer '{name}'") from error
    if len(tensor.shape) == 4:
        return FeatureMap(name, tensor)
    raise ModelError(
        f"{model.name}: layer '{name}' must give a feature map (batch, height, "
        f"width, channels), but gives {tuple(tensor.shape)}"
    )


def _find_last_map(model: Any) -> FeatureMap:
    """Find the last tensor with places."""
    for candidate in reversed(model.layers):
        # A model within knows only the input that it was built on.
        if isinstance(candidate, keras.Model) or isinstance(candidate.input, list):
            continue
        if len(candidate.input.shape) == 4 and len(candidate.output.shape) != 4:
            tensor = candidate.input
            known = [m for m in list_feature_maps(model) if m.tensor is tensor]
            return known[0] if known else FeatureMap("the last", tensor)
    raise ModelError(
        f"{model.name}: has no feature map (batch, height, width, channels) that a "
        "later layer turns into a vector; name a layer that gives one"
    )


def _find_logits(model: Any) -> Any:
    """Find the tensor of logits: the output, or what a last activation takes."""
    last = model.layers[-1]
    is_activation = isinstance(last, keras.layers.Activation | keras.layers.Softmax)
    logits = last.input if is_activation else model.outputs[0]
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ModelError(
            f"{model.name}: must end in one output (batch, classes), but ends in "
            f"{', '.join(map(str, shapes))}"
        )
    return logits


@contextmanager
def _ending_in_logits(model: Any) -> Iterator[None]:
    """Take the activation off the last layer for the length of a block."""
    last = model.layers[-1]
    activation = getattr(last, "activation", None)
    if activation is None or isinstance(last, keras.layers.Activation):
        yield
        return
    try:
        last.activation = keras.activations.linear
        yield
    finally:
        last.activation = activation


def _find_linear_head(model: Any) -> NDArray[np.float32] | None:
    """Give the kernel of a head that is an average and a dense layer, if it is."""
    layers = {layer.name: layer for layer in model.layers[-3:]}
    kinds = {
        FEATURES_LAYER: keras.layers.GlobalAveragePooling2D,
        DROPOUT_LAYER: keras.layers.Dropout,
        LOGITS_LAYER: keras.layers.Dense,
    }
    if layers.keys() != kinds.keys() or not all(
        isinstance(layers[name], kind) for name, kind in kinds.items()
    ):
        return None
    return np.asarray(ops.convert_to_numpy(layers[LOGITS_LAYER].kernel), np.float32)


def _enlarge(maps: Maps, size: tuple[int, ...]) -> Maps:
    """Enlarge maps to the tiles' size."""
    enlarged = ops.image.resize(
        maps[..., None], size, interpolation="bilinear", data_format="channels_last"
    )
    values = ops.convert_to_numpy(enlarged)[..., 0]
    return np.asarray(np.clip(values, 0, 1), np.float32)
