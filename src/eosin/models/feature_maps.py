"""The feature maps of a network through which everything passes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eosin.models.keras_backend import keras

# What these give is of another size than what was looked at.
_RESHAPING = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """A place in a model on which alone all that follows rests.

    Attributes:
        name: Of the layer, or of the operation, that gives it.
        tensor: What it gives, `(batch, height, width, channels)`.
    """

    name: str
    tensor: Any

    @property
    def n_cells(self) -> int:
        """Places along the shorter side."""
        return int(min(self.tensor.shape[1:3]))


def list_feature_maps(model: Any) -> list[FeatureMap]:
    """List the feature maps at which a model can be cut in two, the first one first.

    Those within a branch that another one bypasses are left out, and so is what only
    was padded or cropped. A model within the model counts as one layer.

    Args:
        model: A functional `keras.Model`.

    Returns:
        Empty where a layer is used several times, and of a `Sequential` model.
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
