"""What a MIL model says of bags, all of their instances seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.bags import Bag, BagScores, plan_batches, read_batch, require_features
from eosin.models.keras_backend import keras
from eosin.models.mil_models import MILModel

_BATCH = 64
_MAX_INSTANCES = 1 << 16
_MAX_TILES = 64


def predict_bags(
    model: MILModel, bags: Sequence[Bag], *, max_padded: int | None = None
) -> list[BagScores]:
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
        max_padded = _MAX_TILES if model.takes_pixels else _MAX_INSTANCES
    for bag in bags:
        require_features(bag, model.dimension, are_pixels=model.takes_pixels)
    if not bags:
        return []
    predictions: dict[int, BagScores] = {}
    sizes, scale = [len(bag) for bag in bags], model.scale
    for rows in plan_batches(sizes, batch=_BATCH, max_padded=max_padded):
        if sizes[rows[0]] > max_padded and model.n_instances is None:
            outputs = _predict_in_parts(model, bags[rows[0]], max_padded)
        else:
            padded = read_batch(bags, rows, n_instances=model.n_instances, scale=scale)
            outputs = model.body.predict_on_batch(model.pack(padded, bags))
        for place, row in enumerate(rows):
            predictions[row] = _take(outputs, place, bags[row])
    return [predictions[row] for row in range(len(bags))]


def _predict_in_parts(model: MILModel, bag: Bag, size: int) -> dict[str, Any]:
    """Project a bag part by part, each read once, then aggregate it whole."""
    # Two copies of a part are held at a time.
    size = min(size, bag.list_blocks()[0].stop)
    width = model.projection.output_shape[-1]
    projected = np.empty((1, len(bag), width), np.float32)
    for start in range(0, len(bag), size):
        part = slice(start, start + size)
        projected[0, part] = _project(model, bag.read(part))
    instances = keras.Input((None, width), dtype="float32")
    tail = keras.Model(instances, model.aggregator(instances))
    outputs: dict[str, Any] = tail.predict_on_batch(projected)
    if model.clinical is not None:
        (coefficients,) = model.clinical_head.get_weights()
        clinical = model.encode_clinical(bag)[None]
        outputs["logits"] = outputs["logits"] + clinical @ coefficients
    return outputs


def _project(model: MILModel, features: NDArray[np.float32]) -> Any:
    """Scale some instances and project each by itself."""
    if (scale := model.scale) is not None:
        scaled = np.empty_like(features)
        scale.apply(features, scaled)
        features = scaled
    return model.projection.predict_on_batch(features[None])[0]


def _take(outputs: dict[str, Any], place: int, bag: Bag) -> BagScores:
    """Cut one bag out of a batch's outputs."""
    instance_logits = outputs.get("instance_logits")
    if instance_logits is not None:
        instance_logits = np.array(instance_logits[place, : len(bag)])
    return BagScores(
        bag.bag_id,
        np.asarray(outputs["logits"][place]),
        np.array(outputs["attention"][place, : len(bag)]),
        instance_logits,
    )
