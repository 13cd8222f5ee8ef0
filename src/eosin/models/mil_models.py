"""MIL models: scaled features, layers that see instances alone, an aggregator."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.bags import Bag, ClinicalEncoding, FeatureScale, PaddedBatch
from eosin.core import ConfigError, ModelError
from eosin.models.aggregators import find_aggregator
from eosin.models.attention import seed_dense
from eosin.models.dense import Dense
from eosin.models.encoders import build_encoder
from eosin.models.keras_backend import keras, share_array
from eosin.models.keras_files import load_keras_model
from eosin.models.mil_layers import (
    ClinicalHead,
    FeatureScaling,
    SeededDropout,
    TileEncoding,
)
from eosin.models.tile_classifiers import require_head
from eosin.settings import DtypePolicy

ops = keras.ops

TILE_ENCODING = "tile_encoding"
# Of the places for seeds, the aggregator takes the first.
_PROJECTION_PLACE = 1000
# Arguments of a method that the model gives by itself.
_OURS = {"n_outputs", "seed", "kwargs"}


@keras.saving.register_keras_serializable(package="eosin")
class MILModel(keras.Model):
    """From a padded batch of bags to logits, attention and instance scores.

    Features are scaled as the training data were, padding is set to 0 whatever
    it held, dense layers with ReLU project each instance by itself, and the
    aggregator does the rest. Build it by `build_mil_model`. The layer `scaling`
    does the first; the inner model `body` the last two, for batches that were
    scaled as they were read.

    Where the model takes clinical columns, a linear layer of them is added to the
    bag's logits: what a linear head on the pooled instances beside the columns would
    do, for every method alike. It starts at 0.

    Where the model takes pixels, an instance is a tile, its numbers those of
    `(px, px, 3)` in 0..255, and an encoder comes before the dense layers; nothing is
    scaled.

    Args:
        **config: As `build_mil_model` takes them: `aggregator`, `dimension`,
            `n_classes`, `widths`, `dropout`, `precision`, `seed`, `options`; perhaps
            `clinical`, as `ClinicalEncoding.to_config` gives it, and `encoder`, the
            `name` and `tile_px` of an encoder of tiles.

    Call arguments:
        inputs: A dictionary of `features` `(batch, instances, features)`, `mask`
            `(batch, instances)`, bool, and, where the model takes columns, `clinical`
            `(batch, numbers)`.

    Returns:
        What `Aggregator` gives.

    Attributes:
        method: Name of the aggregator.
        dimension: Features per instance.
        n_classes: Classes, the negative one included.
        n_instances: The only bag size that it takes; None means any.
        takes_pixels: Whether an instance is a tile's pixels, not its features.
        clinical: How clinical columns are encoded; None takes none.
    """

    def __init__(self, **config: Any) -> None:
        method = find_aggregator(config["aggregator"])
        body = _build_body(config)
        inputs = dict(_make_inputs(method.n_instances, config["dimension"]))
        shown = inputs["features"]
        if "encoder" not in config:
            scaled = FeatureScaling(name="scaling")(shown)
            # Not only weighed by 0 later on: NaN times 0 is NaN.
            shown = ops.where(inputs["mask"][..., None], scaled, 0.0)
        if "clinical" in config:
            shape = body.input["clinical"].shape[1:]
            inputs["clinical"] = keras.Input(shape, name="clinical")
        super().__init__(
            inputs=inputs,
            outputs=body({**inputs, "features": shown}),
            name=f"mil_{method.name}",
        )
        self._mil_config = config
        self.method, self.n_instances = method.name, method.n_instances
        self.dimension, self.n_classes = config["dimension"], config["n_classes"]
        self.takes_pixels = "encoder" in config
        self.clinical: ClinicalEncoding | None = None
        if "clinical" in config:
            self.clinical = ClinicalEncoding.from_config(config["clinical"])

    @property
    def encoder(self) -> Any:
        """The encoder of tiles. None where the model takes features."""
        if not self.takes_pixels:
            return None
        return self.projection.get_layer(TILE_ENCODING).encoder

    @property
    def scaling(self) -> FeatureScaling | None:
        """The layer that scales features. None where the model takes pixels."""
        return None if self.takes_pixels else self.get_layer("scaling")

    @property
    def scale(self) -> FeatureScale | None:
        """What `scaling` does, for batches that are scaled as they are read."""
        return None if self.scaling is None else self.scaling.scale

    @property
    def body(self) -> Any:
        """The inner model, which takes features that were scaled, padded with 0."""
        return self.get_layer("body")

    @property
    def projection(self) -> Any:
        """The inner model that sees each instance by itself, within the body."""
        return self.body.get_layer("projection")

    @property
    def aggregator(self) -> Any:
        """The aggregator's layer, within the body."""
        return self.body.get_layer("aggregator")

    @property
    def clinical_head(self) -> Any:
        """The layer that weighs clinical columns, within the body."""
        return self.body.get_layer("clinical_head")

    def pack(self, batch: PaddedBatch, bags: Sequence[Bag]) -> dict[str, Any]:
        """Make what `body` takes of a scaled batch, which holds `batch.rows` of bags.

        Raises:
            ModelError: The model takes clinical columns, and a bag has none.
            ManifestError: A value does not fit its column.
        """
        inputs = {"features": batch.features, "mask": batch.mask}
        if self.clinical is not None:
            inputs["clinical"] = np.stack(
                [self.encode_clinical(bags[row]) for row in batch.rows]
            )
        return {name: share_array(array) for name, array in inputs.items()}

    def encode_clinical(self, bag: Bag) -> NDArray[np.float32]:
        """Encode a bag's clinical columns, `(numbers,)`; no numbers without columns.

        Raises:
            ModelError: The model takes columns, and the bag has none.
            ManifestError: A value does not fit its column.
        """
        if self.clinical is None:
            return np.zeros(0, np.float32)
        return bag.encode_clinical(self.clinical)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make another."""
        return dict(self._mil_config)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Build from what `get_config` gave."""
        del custom_objects
        return cls(**config)


def load_mil_model(path: Path) -> MILModel:
    """Read a MIL model that `save_model` wrote.

    Raises:
        ModelError: The file is missing, is no Keras model, or is none of ours.
    """
    model = load_keras_model(path)
    if not isinstance(model, MILModel):
        raise ModelError(f"{path}: is a Keras model, but not a MIL model of eosin")
    return model


def build_mil_model(  # noqa: PLR0913 - each says another thing of the model
    aggregator: str,
    *,
    dimension: int,
    n_classes: int = 2,
    widths: Sequence[int] = (256,),
    dropout: float = 0.25,
    precision: DtypePolicy = "float32",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    clinical: ClinicalEncoding | None = None,
) -> MILModel:
    """Build an untrained MIL model.

    Args:
        aggregator: One of `AGGREGATORS`.
        dimension: Features per instance.
        n_classes: Classes, the negative one included; at least 2.
        widths: Widths of the dense layers before the aggregator, which see the
            instances one by one. A method without a projection has none.
        dropout: Share of the projected features that training drops, [0, 1).
        precision: dtype of the computation; weights, softmax and logits are
            float32 always. Training scales no loss, so float16 is not for it.
        seed: Seed of the weights and of dropout.
        options: Arguments of the method, such as `{"k": 8}`.
        clinical: Encodes the clinical columns that it takes besides. None takes none.

    Returns:
        A model that takes `{"features", "mask"}` and gives a dictionary with
        `logits`, `(batch, 1)` for two classes (above 0 means label 1), otherwise
        `(batch, n_classes)`.

    Raises:
        ConfigError: The method is unknown, does not have such an option, or a
            number is out of range.
    """
    if dimension < 1 or any(width < 1 for width in widths):
        raise ConfigError(
            f"dimension and widths must be 1 or more, got {dimension} and {widths}"
        )
    return _make_model(
        aggregator,
        dimension=dimension,
        n_classes=n_classes,
        widths=widths,
        dropout=dropout,
        precision=precision,
        seed=seed,
        options=dict(options or {}),
        **({} if clinical is None else {"clinical": clinical.to_config()}),
    )


def build_pixel_mil_model(
    aggregator: str,
    encoder: str,
    *,
    tile_px: int,
    weights: str | Path = "imagenet",
    n_classes: int = 2,
    widths: Sequence[int] = (128,),
    dropout: float = 0.25,
    seed: int = 0,
) -> MILModel:
    """Build a MIL model that takes tiles' pixels and trains their encoder with it.

    Args:
        aggregator: One of `AGGREGATORS`.
        encoder: One of `ENCODERS`.
        tile_px: Side of the tiles, in pixels.
        weights: The encoder's first weights, as for `build_encoder`.
        n_classes: Classes, the negative one included; at least 2.
        widths: Widths of the dense layers between encoder and aggregator.
        dropout: Share of the projected features that training drops, [0, 1).
        seed: Seed of the weights and of dropout.

    Returns:
        A model whose instances are `(tile_px * tile_px * 3,)` in 0..255.

    Raises:
        ConfigError: A name is unknown, or a number is out of range.
        ModelError: The weights cannot be had or do not fit.
    """
    start = build_encoder(encoder, tile_px=tile_px, weights=weights, seed=seed)
    model = _make_model(
        aggregator,
        dimension=3 * tile_px**2,
        n_classes=n_classes,
        widths=widths,
        dropout=dropout,
        precision="float32",
        seed=seed,
        options={},
        encoder={"name": encoder, "tile_px": tile_px},
    )
    model.encoder.set_weights(start.get_weights())
    return model


def _make_model(
    aggregator: str,
    *,
    n_classes: int,
    widths: Sequence[int],
    dropout: float,
    options: dict[str, Any],
    **config: Any,
) -> MILModel:
    """Build a model, and say it in words where the method does not take an option."""
    method = find_aggregator(aggregator)
    require_head("MIL model", n_classes, dropout)
    known = inspect.signature(method.layer).parameters.keys() - _OURS
    if unknown := options.keys() - known:
        raise ConfigError(
            f"{aggregator} has no option {', '.join(sorted(unknown))}; it has "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    try:
        return MILModel(
            aggregator=aggregator,
            n_classes=n_classes,
            widths=list(widths) if method.has_projection else [],
            dropout=dropout if method.has_projection else 0.0,
            options=options,
            **config,
        )
    except ValueError as error:
        raise ConfigError(f"{aggregator}: {error}") from error


def _make_inputs(n_instances: int | None, dimension: int) -> dict[str, Any]:
    features = keras.Input((n_instances, dimension), name="features")
    return {
        "features": features,
        "mask": keras.Input((n_instances,), dtype="bool", name="mask"),
    }


def _build_body(config: Mapping[str, Any]) -> Any:
    """Build what comes behind the scaling: projection, aggregator, columns."""
    spec = find_aggregator(config["aggregator"])
    n_outputs = 1 if config["n_classes"] == 2 else config["n_classes"]
    aggregator = spec.layer(
        n_outputs,
        seed=config["seed"],
        dtype=config["precision"],
        name="aggregator",
        **config["options"],
    )
    projection = _build_projection(config)
    inputs = _make_inputs(spec.n_instances, config["dimension"])
    outputs = aggregator(projection(inputs["features"]), mask=inputs["mask"])
    if "clinical" in config:
        width = ClinicalEncoding.from_config(config["clinical"]).width
        inputs["clinical"] = keras.Input((width,), name="clinical")
        head = ClinicalHead(n_outputs, name="clinical_head")
        outputs = add_clinical(outputs, head(inputs["clinical"]))
    return keras.Model(inputs, outputs, name="body")


def add_clinical(outputs: dict[str, Any], logits: Any) -> dict[str, Any]:
    """Add what clinical columns say, `(batch, outputs)`, to the bags' logits."""
    return {**outputs, "logits": outputs["logits"] + logits}


def _build_projection(config: Mapping[str, Any]) -> Any:
    """Build what sees each instance by itself."""
    precision, seed = config["precision"], config["seed"]
    layers: list[Any] = []
    if "encoder" in config:
        name, tile_px = (config["encoder"][key] for key in ("name", "tile_px"))
        encoder = build_encoder(name, tile_px=tile_px, weights="none", seed=seed)
        layers.append(TileEncoding(encoder, name=TILE_ENCODING))
    for i, width in enumerate(config["widths"]):
        start = seed_dense(seed, _PROJECTION_PLACE + i)
        layers.append(Dense(width, "relu", dtype=precision, name=f"dense_{i}", **start))
    if rate := config["dropout"]:
        layers.append(SeededDropout(rate, seed=seed, dtype=precision, name="dropout"))
    inputs = keras.Input((None, config["dimension"]), name="instances")
    x = inputs
    for layer in layers or [keras.layers.Identity(dtype=precision)]:
        x = layer(x)
    return keras.Model(inputs, x, name="projection")
