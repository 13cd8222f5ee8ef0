"""Writing models for ONNX Runtime, which runs every finished model."""

import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from eosin.core import ModelError, atomic_path
from eosin.models.keras_backend import keras
from eosin.models.registry import ENCODERS
from eosin.models.tile_classifiers import FEATURES_LAYER, LOGITS_LAYER

ONNX_INPUT = "tiles"
_FALLBACK_BATCH = 16

# What tracing a model says of its own doing, none of which anybody can act on.
_TRACING_WARNINGS = (
    "Converting a tensor to a Python",
    "torch.as_tensor results are registered as constants",
    "torch.tensor results are registered as constants",
    "Constant folding",
    "You are using the legacy TorchScript-based ONNX export",
    "The feature will be removed. Please remove usage of this function",
    "`isinstance(treespec, LeafSpec)` is deprecated",
    "__array__ implementation doesn't accept a copy keyword",
)


@dataclass(frozen=True)
class ExportedModel:
    """What stands in an ONNX file.

    Attributes:
        path: The file.
        outputs: Names of the outputs, in their order.
        batch: The only batch size that it takes. None means any.
    """

    path: Path
    outputs: tuple[str, ...]
    batch: int | None


def export_onnx(model: Any, path: Path, *, batch: int | None = None) -> ExportedModel:
    """Write a model for ONNX Runtime.

    The input is called `tiles`, `(batch, px, px, 3)`, raw RGB in 0..255 as
    float32. A classifier has the outputs `features` `(batch, dimension)` and
    `logits`; a model that ends in a feature map has `activations`, one that
    ends in a vector `features`.

    Args:
        model: An encoder, a classifier, or the trunk of one.
        path: File to write, ending in `.onnx`.
        batch: The batch size that the file is to take. None asks for any size,
            which is had wherever the graph allows it; the result says so.

    Raises:
        ModelError: The model cannot be exported.
        RunError: The file cannot be written.
    """
    outputs = _find_outputs(model)
    view = keras.Model(model.input, list(outputs.values()), name=model.name)
    # Keras exports only what has been called once.
    view(np.zeros((1, *view.input_shape[1:]), "float32"))
    spec = ENCODERS.get(model.name)
    if batch is not None:
        proto = _trace(view, batch)
    elif spec is not None and spec.has_dynamic_export:
        proto = _trace(view, None)
    else:
        proto, batch = _trace_for_any_batch(view)
    _name_ports(proto, view, tuple(outputs), batch)
    onnx.checker.check_model(proto)
    with atomic_path(path) as temporary:
        onnx.save_model(proto, temporary)
    return ExportedModel(path, tuple(outputs), batch)


def _find_outputs(model: Any) -> dict[str, Any]:
    """Name the tensors that the file is to give."""
    if len(model.outputs) > 1:
        # A stem: activations and, from the same pass, features.
        ranks = {4: "activations", 2: "features"}
        return {ranks[len(tensor.shape)]: tensor for tensor in model.outputs}
    names = {layer.name for layer in model.layers}
    if {FEATURES_LAYER, LOGITS_LAYER} <= names:
        return {
            name: model.get_layer(name).output
            for name in (FEATURES_LAYER, LOGITS_LAYER)
        }
    rank = len(model.output.shape)
    return {"activations" if rank == 4 else "features": model.output}


def _trace_for_any_batch(view: Any) -> tuple[onnx.ModelProto, int | None]:
    """Make a graph for any batch out of graphs for fixed ones.

    Keras' torch backend pads by the tensor's own size, which cannot be traced
    when the batch is open. With a fixed batch it can, and where graphs of two
    batch sizes agree to the last constant, nothing in them depends on it.
    """
    first = _trace(view, 2)
    second = _trace(view, 3)
    if _list_content(first) == _list_content(second):
        return first, None
    return _trace(view, _FALLBACK_BATCH), _FALLBACK_BATCH


def _trace(view: Any, batch: int | None) -> onnx.ModelProto:
    """Let Keras export a model, and read what it wrote."""
    signature = [
        keras.InputSpec(
            shape=(batch, *view.input_shape[1:]), dtype="float32", name=ONNX_INPUT
        )
    ]
    with tempfile.TemporaryDirectory() as folder, _without_tracing_noise():
        path = Path(folder) / "model.onnx"
        try:
            view.export(
                str(path), format="onnx", verbose=False, input_signature=signature
            )
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"{view.name} cannot be written as ONNX by the Keras backend "
                f"'{keras.config.backend()}' with a batch of {batch or 'any size'} "
                f"({first_line}); try another backend or a fixed batch"
            ) from error
        proto: onnx.ModelProto = onnx.load_model(path)
    # Notes for debuggers: lines of Keras' source files on this machine.
    for node in proto.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del proto.graph.value_info[:]
    return proto


def _list_content(proto: onnx.ModelProto) -> list[bytes]:
    """List all that a graph computes with."""
    parts = [*proto.graph.node, *proto.graph.initializer]
    return [part.SerializeToString(deterministic=True) for part in parts]


def _name_ports(
    proto: onnx.ModelProto, view: Any, outputs: tuple[str, ...], batch: int | None
) -> None:
    """Give inputs and outputs their names and shapes, in place."""
    graph = proto.graph
    names = dict(zip((port.name for port in graph.output), outputs, strict=True))
    names[graph.input[0].name] = ONNX_INPUT
    for node in graph.node:
        for ports in (node.input, node.output):
            for i, name in enumerate(ports):
                ports[i] = names.get(name, name)
    shapes = dict(zip(outputs, (tensor.shape for tensor in view.outputs), strict=True))
    del graph.input[1:], graph.output[:]
    graph.input[0].CopyFrom(_describe_port(ONNX_INPUT, view.input_shape, batch))
    graph.output.extend(_describe_port(name, shapes[name], batch) for name in outputs)


def _describe_port(
    name: str, shape: tuple[int | None, ...], batch: int | None
) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(
        name, onnx.TensorProto.FLOAT, ["batch" if batch is None else batch, *shape[1:]]
    )


@contextmanager
def _without_tracing_noise() -> Iterator[None]:
    """Keep an exporter's talk about itself from the user, and only that."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _TRACING_WARNINGS:
                warnings.filterwarnings("ignore", message=f".*{re.escape(message)}")
            yield
    finally:
        logging.disable(disabled)
