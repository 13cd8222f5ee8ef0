"""Writing models for ONNX Runtime, which runs every finished model."""

import base64
import hashlib
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from eosin.core import ENCODER_HASH, HEAD, ModelError, atomic_path
from eosin.models.keras_backend import keras
from eosin.models.keras_files import first_line
from eosin.models.onnx_normalisation import write_normalisations
from eosin.models.registry import ENCODERS
from eosin.models.tile_classifiers import FEATURES_LAYER, LOGITS_LAYER
from eosin.models.torch_process import on_torch

Shape = tuple[int | None, ...]

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
        encoder_hash: Hash of all that is computed up to `features`; None where there
            is no such output, or the graph cannot be looked into.
    """

    path: Path
    outputs: tuple[str, ...]
    batch: int | None
    encoder_hash: str | None


@on_torch
def export_onnx(model: Any, path: Path) -> ExportedModel:
    """Write a model for ONNX Runtime.

    The input is called `tiles`, `(batch, px, px, 3)`, raw RGB in 0..255 as
    float32. A classifier has the outputs `features` `(batch, dimension)` and
    `logits`; a model that ends in a feature map has `activations`, one that
    ends in a vector `features`. The file says what its encoder's hash is, and holds
    the classifier's head by itself (`Session.encoder_hash` and `Session.open_head`).
    It takes a batch of any size wherever the graph allows it; the result says so.
    Where Keras computes with another backend than torch, a process of its own exports.

    Args:
        model: An encoder, a classifier, or the trunk of one.
        path: File to write, ending in `.onnx`.

    Raises:
        ModelError: The model cannot be exported.
        RunError: The file cannot be written.
    """
    outputs = _find_outputs(model)
    view = keras.Model(model.input, list(outputs.values()), name=model.name)
    return export_tiles_view(view, path, tuple(outputs))


def export_tiles_view(view: Any, path: Path, outputs: Sequence[str]) -> ExportedModel:
    """Write a model of tiles whose outputs have names; it has an encoder's name."""
    spec = ENCODERS.get(view.name)
    batch: int | None = None
    if spec is not None and spec.has_dynamic_export:
        proto = trace(view, None)
    else:
        proto, batch = _trace_for_any_batch(view)
    ports = {n: t.shape for n, t in zip(outputs, view.outputs, strict=True)}
    name_ports(proto, {ONNX_INPUT: view.input_shape}, ports, axis=batch or "batch")
    encoder_hash = hash_encoder(proto)
    notes = {ENCODER_HASH: encoder_hash, HEAD: cut_head(proto)}
    # Behind the hash: what was encoded before this was done is the same to 1e-5.
    write_normalisations(proto)
    write_graph(proto, path, {name: note for name, note in notes.items() if note})
    return ExportedModel(path, tuple(outputs), batch, encoder_hash)


def _find_outputs(model: Any) -> dict[str, Any]:
    """Name the tensors that the file is to give."""
    if {FEATURES_LAYER, LOGITS_LAYER} <= {layer.name for layer in model.layers}:
        return {
            name: model.get_layer(name).output
            for name in (FEATURES_LAYER, LOGITS_LAYER)
        }
    # A stem gives both, in one pass.
    ranks = {4: "activations", 2: "features"}
    return {ranks[len(tensor.shape)]: tensor for tensor in model.outputs}


def _trace_for_any_batch(view: Any) -> tuple[onnx.ModelProto, int | None]:
    """Make a graph for any batch out of graphs for fixed ones.

    Keras' torch backend pads by the tensor's own size, which cannot be traced
    when the batch is open. With a fixed batch it can, and where graphs of two
    batch sizes agree to the last constant, nothing in them depends on it.
    """
    first = trace(view, 2)
    second = trace(view, 3)
    if _list_content(first) == _list_content(second):
        return first, None
    return trace(view, _FALLBACK_BATCH), _FALLBACK_BATCH


def trace(view: Any, batch: int | None) -> onnx.ModelProto:
    """Let Keras export a model, and read what it wrote.

    A `batch` of None leaves an open first axis of the inputs open.

    Raises:
        ModelError: It cannot be exported.
    """
    # Keras exports only what has been called once.
    sample = [np.zeros([size or 1 for size in i.shape], i.dtype) for i in view.inputs]
    view(sample if len(sample) > 1 else sample[0])
    inputs = [
        keras.InputSpec(
            shape=(i.shape[0] or batch, *i.shape[1:]), dtype=i.dtype, name=i.name
        )
        for i in view.inputs
    ]
    with tempfile.TemporaryDirectory() as folder, _without_tracing_noise():
        path = Path(folder) / "model.onnx"
        try:
            view.export(
                str(path),
                format="onnx",
                verbose=False,
                input_signature=[inputs] if len(inputs) > 1 else inputs,
            )
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            raise ModelError(
                f"{view.name} cannot be written as ONNX by the Keras backend "
                f"'{keras.config.backend()}' with a batch of {batch or 'any size'} "
                f"({first_line(error)}); try another backend or a fixed batch"
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


def name_ports(
    proto: onnx.ModelProto,
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
    *,
    axis: str | int,
) -> None:
    """Give inputs and outputs their names and shapes, in place and in order.

    `axis` is the name or the size of the axis that is open (None) in the shapes.
    """
    graph = proto.graph
    pairs = [
        *zip(graph.input, inputs, strict=False),
        *zip(graph.output, outputs, strict=True),
    ]
    names = {port.name: name for port, name in pairs}
    for node in graph.node:
        for ports in (node.input, node.output):
            for i, name in enumerate(ports):
                ports[i] = names.get(name, name)
    for ports, shapes in ((graph.input, inputs), (graph.output, outputs)):
        del ports[:]
        ports.extend(
            onnx.helper.make_tensor_value_info(
                name,
                onnx.TensorProto.FLOAT,
                [axis if size is None else size for size in shape],
            )
            for name, shape in shapes.items()
        )


def write_graph(
    proto: onnx.ModelProto, path: Path, notes: Mapping[str, str] | None = None
) -> None:
    """Write a graph, whole or not at all, with notes for its readers beside it."""
    onnx.checker.check_model(proto)
    onnx.helper.set_model_props(proto, dict(notes or {}))
    with atomic_path(path) as temporary:
        onnx.save_model(proto, temporary)


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


def hash_encoder(model: onnx.ModelProto) -> str | None:
    """Hash all that a model computes from a tile up to its features, as SHA-256.

    Operators, their settings and every constant count, names do not, nor steps that
    change nothing. So two files of one hash give the same features of the same tile,
    whatever head follows; a trained encoder has another hash than the one it was. There
    is none of a model that has no features, or with loops or branches, whose inner
    parts are not looked into.
    """
    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    if FEATURES_LAYER not in {output.name for output in graph.output} or any(
        attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        for node in graph.node
        for attribute in node.attribute
    ):
        return None
    versions = sorted((opset.domain, opset.version) for opset in model.opset_import)
    hashes = {"": ""}
    for port in graph.input:
        # The batch is left out: what is computed of a tile does not depend on it.
        shape = [dim.dim_value for dim in port.type.tensor_type.shape.dim][1:]
        hashes[port.name] = _hash(versions, port.type.tensor_type.elem_type, shape)
    for tensor in graph.initializer:
        content = onnx.numpy_helper.to_array(tensor).tobytes()
        hashes[tensor.name] = _hash(tensor.data_type, list(tensor.dims), content)
    types = {v.name: v.type.tensor_type.elem_type for v in graph.value_info}
    # ONNX keeps the nodes in an order in which each comes after what it needs.
    for node in graph.node:
        given = [hashes[name] for name in node.input]
        if _changes_nothing(node, types):
            hashes[node.output[0]] = given[0]
            continue
        settings = sorted(
            a.SerializeToString(deterministic=True) for a in node.attribute
        )
        own = _hash(node.domain, node.op_type, settings, given)
        for i, name in enumerate(node.output):
            hashes[name] = _hash(own, i)
    return hashes[FEATURES_LAYER]


def cut_head(model: onnx.ModelProto) -> str | None:
    """Cut a classifier's graph behind its features, as text (ONNX in base64).

    None of a model that has no features or no logits.
    """
    if not {FEATURES_LAYER, LOGITS_LAYER} <= {
        output.name for output in model.graph.output
    }:
        return None
    head = onnx.utils.Extractor(model).extract_model([FEATURES_LAYER], [LOGITS_LAYER])
    return base64.b64encode(head.SerializeToString(deterministic=True)).decode()


def _changes_nothing(node: onnx.NodeProto, types: dict[str, int]) -> bool:
    """Whether a node gives what it is given: identities, and casts to the own type."""
    if node.op_type == "Identity":
        return True
    aims = {attribute.i for attribute in node.attribute if attribute.name == "to"}
    return node.op_type == "Cast" and aims == {types.get(node.input[0])}


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
