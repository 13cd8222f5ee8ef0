"""A classifier's graph cut at its features: the encoder's identity, and the head."""

import base64
import hashlib

import onnx

_FEATURES, _LOGITS = "features", "logits"


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


def cut_head(model: onnx.ModelProto) -> str | None:
    """Cut a classifier's graph behind its features, as text (ONNX in base64).

    None of a model that has no features or no logits.
    """
    if not {_FEATURES, _LOGITS} <= {output.name for output in model.graph.output}:
        return None
    head = onnx.utils.Extractor(model).extract_model([_FEATURES], [_LOGITS])
    return base64.b64encode(head.SerializeToString(deterministic=True)).decode()


def _changes_nothing(node: onnx.NodeProto, types: dict[str, int]) -> bool:
    """Whether a node gives what it is given: identities, and casts to the own type."""
    if node.op_type == "Identity":
        return True
    aims = {attribute.i for attribute in node.attribute if attribute.name == "to"}
    return node.op_type == "Cast" and aims == {types.get(node.input[0])}


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
