"""What a MIL model says of bags, all of their instances seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.bags import Bag, plan_batches, read_batch, require_size
from eosin.core import ModelError
from eosin.models.keras_backend import keras
from eosin.models.mil_models import MILModel

Floats = NDArray[np.float32]

_BATCH = 64
_MAX_INSTANCES = 1 << 16
_MAX_TILES = 64


@dataclass(frozen=True, eq=False)
class BagPrediction:
    """What a model says of one bag.

    Attributes:
        bag_id: The bag.
        logits: `(outputs,)`.
        attention: `(instances,)`, sums to 1.
        instance_logits: `(instances, outputs)`. None where the method scores no
            instances.
    """

    bag_id: str
    logits: Floats
    attention: Floats
    instance_logits: Floats | None


def predict_bags(
    model: MILModel, bags: Sequence[Bag], *, max_padded: int | None = None
) -> list[BagPrediction]:
    """Score bags, several at a time.

    A bag of more than `max_padded` instances is projected in parts, so that only
    its projected features are ever held whole beside its own.

    Args:
        model: From `build_mil_model`.
        bags: Of any size that the model takes.
        max_padded: Instances per pass at most, padding included. None takes a number
            that bounds the memory: 65,536, and of tiles' pixels 64.

    Returns:
        One prediction for each bag, in their order.

    Raises:
        ManifestError: A bag is too large for the model, or not finite.
        ModelError: A bag has other features than the model takes, or lacks the
            clinical columns that it takes.
    """
    if max_padded is None:
        max_padded = _find_limit(model)
    predictions: list[BagPrediction | None] = [None] * len(bags)
    for bag in bags:
        _require_own_features(model, bag)
    if not bags:
        return []
    sizes, scale = [len(bag) for bag in bags], model.scale
    for rows in plan_batches(sizes, batch=_BATCH, max_padded=max_padded):
        if sizes[rows[0]] > max_padded and model.n_instances is None:
            (outputs,) = _predict_in_parts([model], bags[rows[0]], max_padded)
        else:
            padded = read_batch(bags, rows, n_instances=model.n_instances, scale=scale)
            outputs = model.body.predict_on_batch(model.pack(padded, bags))
        for place, row in enumerate(rows):
            predictions[row] = _take(outputs, place, bags[row])
    return [prediction for prediction in predictions if prediction is not None]


def predict_bag(
    models: Sequence[MILModel], bag: Bag, *, max_padded: int | None = None
) -> list[BagPrediction]:
    """Score one bag by several models, its instances read once for all of them.

    Worth it where reading costs much, as tiles of a slide do. Of a bag of more than
    `max_padded` instances, every model's projected features are held at once.

    Args:
        models: From `build_mil_model` or `build_pixel_mil_model`.
        bag: Of any size that the models take.
        max_padded: As for `predict_bags`; None takes the least of the models'.

    Returns:
        One prediction for each model, in their order.

    Raises:
        ManifestError: As for `predict_bags`.
        ModelError: As for `predict_bags`.
    """
    for model in models:
        _require_own_features(model, bag)
        # Before any is read: a slide may have tens of thousands of tiles.
        require_size(bag.bag_id, len(bag), model.n_instances)
    if max_padded is None:
        max_padded = min(_find_limit(model) for model in models)
    if len(bag) > max_padded and all(model.n_instances is None for model in models):
        outputs = _predict_in_parts(models, bag, max_padded)
        return [_take(found, 0, bag) for found in outputs]
    whole = replace(bag, features=bag.read())
    return [predict_bags(model, [whole], max_padded=max_padded)[0] for model in models]


def _find_limit(model: MILModel) -> int:
    """Say how many instances a pass may hold."""
    return _MAX_TILES if model.takes_pixels else _MAX_INSTANCES


def _require_own_features(model: MILModel, bag: Bag) -> None:
    """Stop where a bag has other features than a model takes."""
    if bag.n_features == model.dimension:
        return
    if model.takes_pixels:
        raise ModelError(
            f"{bag.bag_id}: the model takes the pixels of tiles ({model.dimension} "
            f"numbers each), got {bag.n_features} features; give it tiles, or train a "
            "model of features"
        )
    raise ModelError(
        f"{bag.bag_id}: the model takes {model.dimension} features per instance, got "
        f"{bag.n_features}; encode the bag with the encoder that the model was trained "
        "on"
    )


def _predict_in_parts(
    models: Sequence[MILModel], bag: Bag, size: int
) -> list[dict[str, Any]]:
    """Project a bag part by part, each read once, then aggregate it whole."""
    # Two copies of a part are held at a time.
    size = min(size, bag.list_blocks()[0].stop)
    projected = [
        np.empty((1, len(bag), model.projection.output_shape[-1]), np.float32)
        for model in models
    ]
    for start in range(0, len(bag), size):
        part = slice(start, start + size)
        features = bag.read(part)
        for model, own in zip(models, projected, strict=True):
            own[0, part] = _project(model, features)
    return [
        _aggregate(model, own, bag)
        for model, own in zip(models, projected, strict=True)
    ]


def _project(model: MILModel, features: Floats) -> Floats:
    """Scale some instances and project each by itself."""
    scale = model.scale
    if scale is not None:
        scaled = np.empty_like(features)
        scale.apply(features, scaled)
        features = scaled
    found: Floats = model.projection.predict_on_batch(features[None])[0]
    return found


def _aggregate(model: MILModel, projected: Floats, bag: Bag) -> dict[str, Any]:
    """Aggregate a bag whose instances were projected."""
    instances = keras.Input((None, projected.shape[-1]), dtype="float32")
    tail = keras.Model(instances, model.aggregator(instances))
    outputs: dict[str, Any] = tail.predict_on_batch(projected)
    if model.clinical is not None:
        clinical = model.encode_clinical(bag)
        told = model.clinical_head.predict(clinical[None])
        outputs["logits"] = outputs["logits"] + told
    return outputs


def _take(outputs: dict[str, Any], place: int, bag: Bag) -> BagPrediction:
    """Cut one bag out of a batch's outputs."""
    instance_logits = outputs.get("instance_logits")
    return BagPrediction(
        bag.bag_id,
        np.asarray(outputs["logits"][place]),
        np.array(outputs["attention"][place, : len(bag)]),
        None
        if instance_logits is None
        else np.array(instance_logits[place, : len(bag)]),
    )
