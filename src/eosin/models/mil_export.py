"""Bag models for ONNX Runtime: one graph for instances, one for whole bags."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.bags import Bag, BagScores, ClinicalEncoding
from eosin.core import AGGREGATOR_SUFFIX, PROJECTION_SUFFIX, ModelError
from eosin.models.keras_backend import keras
from eosin.models.mil_models import TILE_ENCODING, MILModel
from eosin.models.mil_prediction import predict_bags
from eosin.models.onnx_export import (
    Shape,
    export_tiles_view,
    name_ports,
    trace,
    write_graph,
)
from eosin.models.torch_process import on_torch

ops = keras.ops

TOLERANCE = 1e-4
"""What logits, and attention times the instances, may differ by in ONNX Runtime."""

_MADE_SIZES = (1, 7, 300)
_MADE_TILES = (1, 5)
_REAL_BAGS, _REAL_SIZE, _REAL_TILES = 2, 256, 8


@on_torch
def export_mil_model(model: MILModel, stem: Path) -> None:
    """Write a model as two graphs for ONNX Runtime.

    `<stem>.projection.onnx` sees instances one by one: from `instances` `(instances,
    dimension)` as they come, float32, or from `tiles` `(tiles, px, px, 3)`, raw RGB, to
    `projected` `(instances, width)`. `<stem>.aggregator.onnx` sees a whole bag: from
    `projected`, and from `clinical` `(1, numbers)` where the model takes columns, to
    `logits` `(outputs,)`, `attention` `(instances,)` and, where the method scores
    instances, `instance_logits` `(instances, outputs)`. A method of one bag size fills
    a smaller bag up by itself and gives attention for all of its places.

    Both compute in float32, whatever precision the model was trained in. Call
    `check_mil_export` afterwards.

    Args:
        model: The trained model.
        stem: Both files' path up to their suffixes.

    Raises:
        ModelError: The model cannot be exported.
        RunError: A file cannot be written.
    """
    model = _to_float32(model)
    _export_projection(model, Path(f"{stem}{PROJECTION_SUFFIX}"))
    _export_aggregator(model, Path(f"{stem}{AGGREGATOR_SUFFIX}"))


def check_mil_export(
    model: MILModel,
    score: Callable[[Bag], BagScores],
    bags: Sequence[Bag] = (),
) -> None:
    """Compare an exported model with the trained one, computed in float32.

    On made bags, some of which lack clinical values, and on a few instances of the
    first of the given bags, such as those of the training. Where two instances are as
    good as equal, rounding decides which gets the attention of some methods; so a bag
    that differs is shaken a little and compared once more.

    Raises:
        ModelError: Logits, instance logits or attention (times the instances) differ by
            more than `TOLERANCE`, as a share of the largest where that is above 1.
    """
    model = _to_float32(model)
    rng = np.random.default_rng(0)
    for bag in (*_make_bags(model, rng), *_cut_bags(model, bags)):
        worst = _compare(model, score, bag)
        if not worst <= TOLERANCE:
            worst = _compare(model, score, _shake(model, bag, rng))
        if not worst <= TOLERANCE:
            raise ModelError(
                f"{model.name}: the exported model must say what the trained one says "
                f"to {TOLERANCE:g}; on a bag of {len(bag)} instances they differ by "
                f"{worst:.2g}; try another method or Keras backend"
            )


def _to_float32(model: MILModel) -> MILModel:
    """Make the same model with all of its computation in float32."""
    config = model.get_config()
    if config["precision"] == "float32":
        return model
    same = MILModel.from_config({**config, "precision": "float32"})
    same.set_weights(model.get_weights())
    return same  # type: ignore[no-any-return] # Keras ships no types


def _export_projection(model: MILModel, path: Path) -> None:
    if model.takes_pixels:
        inputs = model.encoder.input
        x = ops.mean(model.encoder.output, axis=(1, 2))
    else:
        inputs = keras.Input((model.dimension,), name="instances")
        x = model.get_layer("scaling")(inputs)
    for layer in model.projection.layers[1:]:
        if layer.name != TILE_ENCODING:
            x = layer(x)
    if model.takes_pixels:
        view = keras.Model(inputs, x, name=model.encoder.name)
        export_tiles_view(view, path, ("projected",))
    else:
        view = keras.Model(inputs, x, name=model.name)
        _export_instances(view, path, {"instances": inputs}, {"projected": x.shape})


class Tail(keras.layers.Layer):
    """What comes behind the projection, for one bag without padding."""

    def __init__(self, model: MILModel, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._size = model.n_instances
        self._aggregator = model.aggregator
        self._clinical_head = model.clinical_head if model.clinical else None

    def call(self, projected: Any, clinical: Any = None) -> tuple[Any, ...]:
        """Give the logits and what else the method says of the instances."""
        bags, mask = projected[None], None
        if self._size is not None:
            padding = ops.zeros((1, self._size, projected.shape[-1]))
            mask = ops.concatenate([ops.ones_like(bags), padding], axis=1)
            mask = mask[:, : self._size, 0] > 0
            bags = ops.concatenate([bags, padding], axis=1)[:, : self._size]
        outputs = self._aggregator(bags, mask=mask)
        logits = outputs["logits"]
        if self._clinical_head is not None:
            logits = logits + self._clinical_head(clinical)
        found = [logits, outputs["attention"]]
        if "instance_logits" in outputs:
            found.append(outputs["instance_logits"])
        return tuple(output[0] for output in found)


def _export_aggregator(model: MILModel, path: Path) -> None:
    width = model.projection.output_shape[-1]
    inputs = [keras.Input((width,), name="projected")]
    if model.clinical is not None:
        shape = (1, model.clinical.width)
        inputs.append(keras.Input(batch_shape=shape, name="clinical"))
    found = Tail(model, name="tail")(*inputs)
    n_outputs = found[0].shape[-1]
    shapes = {
        "logits": (n_outputs,),
        "attention": (model.n_instances,),
        "instance_logits": (None, n_outputs),
    }
    given = inputs if len(inputs) > 1 else inputs[0]
    view = keras.Model(given, list(found), name=model.name)
    names = {tensor.name: tensor for tensor in inputs}
    _export_instances(view, path, names, dict(list(shapes.items())[: len(found)]))


def _export_instances(
    view: Any, path: Path, inputs: Mapping[str, Any], outputs: Mapping[str, Shape]
) -> None:
    """Write a model of any number of instances."""
    proto = trace(view, None)
    shapes = {name: tensor.shape for name, tensor in inputs.items()}
    name_ports(proto, shapes, outputs, axis="instances")
    write_graph(proto, path)


def _compare(model: MILModel, score: Callable[[Bag], BagScores], bag: Bag) -> float:
    """Find the largest difference, as a share of values above 1."""
    (trained,), exported = predict_bags(model, [bag]), score(bag)
    n = len(bag)
    pairs: list[tuple[Any, Any]] = [
        (trained.logits, exported.logits),
        (trained.attention * n, exported.attention * n),
    ]
    if trained.instance_logits is not None:
        pairs.append((trained.instance_logits, exported.instance_logits))
    return max(
        float(np.abs(one - other).max() / max(1.0, np.abs(one).max()))
        for one, other in pairs
    )


def _make_bags(model: MILModel, rng: np.random.Generator) -> Iterator[Bag]:
    """Make bags like those of the training, as far as the model knows them."""
    sizes = _MADE_TILES if model.takes_pixels else _MADE_SIZES
    for size in sizes:
        shape = (min(size, model.n_instances or size), model.dimension)
        yield Bag(
            bag_id=f"made, {size}",
            features=_draw(model, shape, rng),
            clinical=_make_clinical(model.clinical, size),
        )


def _draw(
    model: MILModel, shape: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    if model.scale is None:
        return rng.integers(0, 256, shape).astype(np.float32)
    drawn = model.scale.mean + model.scale.deviation * rng.normal(size=shape)
    return drawn.astype(np.float32)


def _make_clinical(
    encoding: ClinicalEncoding | None, size: int
) -> dict[str, str | None] | None:
    """Make a patient who is like all others, or of whom nothing is known."""
    if encoding is None:
        return None
    if size == _MADE_SIZES[0]:
        return {}
    return {
        column.name: str(column.mean + column.deviation)
        if column.kind == "number"
        else next(iter(column.levels), None)
        for column in encoding.columns
    }


def _cut_bags(model: MILModel, bags: Sequence[Bag]) -> Iterator[Bag]:
    """Take a few instances of a few bags."""
    most = _REAL_TILES if model.takes_pixels else model.n_instances or _REAL_SIZE
    for bag in bags[:_REAL_BAGS]:
        rows = np.unique(np.linspace(0, len(bag) - 1, most).astype(np.int64))
        yield Bag(bag_id=bag.bag_id, features=bag.read(rows), clinical=bag.clinical)


def _shake(model: MILModel, bag: Bag, rng: np.random.Generator) -> Bag:
    """Change each number a little, so that no two instances are equal."""
    noise = rng.normal(size=(len(bag), bag.n_features))
    if model.scale is None:
        return replace(bag, features=np.clip(bag.read() + np.sign(noise), 0, 255))
    return replace(bag, features=bag.read() + 1e-2 * model.scale.deviation * noise)
