"""An exported classifier cut at its features: the encoder's identity, and the head."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from eosin.core import ModelError

_FEATURES, _LOGITS = "features", "logits"


def hash_encoder(path: Path) -> str | None:
    """Hash all that a model computes from a tile up to its features.

    Operators, their settings and every constant count, names do not, nor steps that
    change nothing. So two files of one hash give the same features of the same tile,
    whatever head follows; a trained encoder has another hash than the one it was.

    Args:
        path: An ONNX file of eosin.

    Returns:
        SHA-256 as text; None of a model that has no features, or with loops or
        branches, whose inner parts are not looked into.

    Raises:
        ModelError: The file is missing or no ONNX model.
    """
    model = onnx.shape_inference.infer_shapes(_load(path))
    graph = model.graph
    if _FEATURES not in {output.name for output in graph.output} or any(
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
    return hashes[_FEATURES]


class Head:
    """The part of an exported classifier behind its features.

    Args:
        path: An ONNX file with the outputs `features` and `logits`.

    Raises:
        ModelError: The file is missing or has no such outputs.
    """

    def __init__(self, path: Path) -> None:
        try:
            cut = onnx.utils.Extractor(_load(path)).extract_model(
                [_FEATURES], [_LOGITS]
            )
            self._session = ort.InferenceSession(
                cut.SerializeToString(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX has no class of its own for what it lacks
            raise ModelError(
                f"{path}: a classifier with the outputs features and logits is needed "
                f"({error})"
            ) from error

    def run(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Give the logits, `(tiles, ...)`, of features `(tiles, dimension)`."""
        (logits,) = self._session.run([_LOGITS], {_FEATURES: features})
        return np.asarray(logits, np.float32)


def _load(path: Path) -> Any:
    try:
        return onnx.load_model(path)
    except Exception as error:  # protobuf's own class is no public name
        raise ModelError(f"{path}: not an ONNX model that can be read") from error


def _changes_nothing(node: Any, types: dict[str, int]) -> bool:
    """Whether a node gives what it is given: identities, and casts to the own type."""
    if node.op_type == "Identity":
        return True
    aims = {attribute.i for attribute in node.attribute if attribute.name == "to"}
    return node.op_type == "Cast" and aims == {types.get(node.input[0])}


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
