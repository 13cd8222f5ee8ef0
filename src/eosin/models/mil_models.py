"""MIL models: scaled features, a layer that learns, an aggregator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.bags import Bag, ClinicalEncoding, FeatureScale, PaddedBatch
from eosin.core import ModelError
from eosin.models.aggregators import find_aggregator
from eosin.models.feature_scaling import FeatureScaling
from eosin.models.keras_backend import keras, share_array
from eosin.models.keras_files import load_keras_model, save_keras_model
from eosin.models.mil_body import (
    TILE_ENCODING,
    MILPrecision,
    build_body,
    make_inputs,
)

ops = keras.ops


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
        aggregator: Name of a method.
        dimension: Features per instance.
        n_classes: Classes, the negative one included; at least 2.
        widths: Widths of the dense layers.
        dropout: Share of the projected features that training drops, [0, 1).
        precision: dtype of the computation; weights, softmax and logits are
            float32 always.
        seed: Seed of the weights and of dropout.
        options: Arguments of the method.
        clinical: What `ClinicalEncoding.to_config` gave. None takes no columns.
        encoder: `name` and `tile_px` of the encoder of tiles. None takes features.

    Call arguments:
        inputs: A dictionary of `features` `(batch, instances, features)`, `mask`
            `(batch, instances)`, bool, and, where the model takes columns, `clinical`
            `(batch, numbers)`.

    Returns:
        What `Aggregator` gives.
    """

    def __init__(  # noqa: PLR0913 - what is kept in the file
        self,
        *,
        aggregator: str,
        dimension: int,
        n_classes: int,
        widths: Sequence[int],
        dropout: float,
        precision: MILPrecision,
        seed: int,
        options: Mapping[str, Any],
        clinical: Sequence[Mapping[str, Any]] | None = None,
        encoder: Mapping[str, Any] | None = None,
    ) -> None:
        config: dict[str, Any] = {
            "aggregator": aggregator,
            "dimension": dimension,
            "n_classes": n_classes,
            "widths": list(widths),
            "dropout": dropout,
            "precision": precision,
            "seed": seed,
            "options": dict(options),
        }
        if clinical is not None:
            config["clinical"] = [dict(column) for column in clinical]
        if encoder is not None:
            config["encoder"] = dict(encoder)
        body = build_body(config)
        n_instances = find_aggregator(aggregator).n_instances
        features, mask = make_inputs(n_instances, dimension)
        inputs = {"features": features, "mask": mask}
        shown = features
        if encoder is None:
            # Not only weighed by 0 later on: NaN times 0 is NaN.
            scaling = FeatureScaling(name="scaling")
            shown = ops.where(mask[..., None], scaling(features), 0.0)
        told = {name: i for name, i in body.input.items() if name == "clinical"}
        inputs |= {
            name: keras.Input(i.shape[1:], name=name) for name, i in told.items()
        }
        super().__init__(
            inputs=inputs,
            outputs=body({**inputs, "features": shown}),
            name=f"mil_{aggregator}",
        )
        self._mil_config: dict[str, Any] = config
        self._clinical = (
            None if clinical is None else ClinicalEncoding.from_config(clinical)
        )

    @property
    def n_classes(self) -> int:
        """Classes, the negative one included."""
        return int(self._mil_config["n_classes"])

    @property
    def dimension(self) -> int:
        """Features per instance."""
        return int(self._mil_config["dimension"])

    @property
    def method(self) -> str:
        """Name of the aggregator."""
        return str(self._mil_config["aggregator"])

    @property
    def n_instances(self) -> int | None:
        """The only bag size that the model takes. None means any."""
        return find_aggregator(self.method).n_instances

    @property
    def clinical(self) -> ClinicalEncoding | None:
        """How the clinical columns that it takes are encoded. None takes none."""
        return self._clinical

    @property
    def takes_pixels(self) -> bool:
        """Whether an instance is a tile's pixels, not its features."""
        return "encoder" in self._mil_config

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
        """Make what `body` takes of a batch.

        Args:
            batch: Features that were scaled as they were read.
            bags: All bags, of which `batch.rows` are in the batch.

        Raises:
            ModelError: The model takes clinical columns, and a bag has none.
            ManifestError: A value does not fit its column.
        """
        inputs = {"features": batch.features, "mask": batch.mask}
        if self._clinical is not None:
            own = [bags[row] for row in batch.rows]
            inputs["clinical"] = np.stack([self.encode_clinical(bag) for bag in own])
        return {name: share_array(array) for name, array in inputs.items()}

    def encode_clinical(self, bag: Bag) -> NDArray[np.float32]:
        """Encode a bag's clinical columns, `(numbers,)`; no numbers without columns.

        Raises:
            ModelError: The model takes columns, and the bag has none.
            ManifestError: A value does not fit its column.
        """
        if self._clinical is None:
            return np.zeros(0, np.float32)
        return bag.encode_clinical(self._clinical)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make another."""
        return dict(self._mil_config)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Build from what `get_config` gave."""
        del custom_objects
        return cls(**config)


def save_mil_model(model: MILModel, path: Path) -> None:
    """Write a model as a `.keras` file, whole or not at all.

    Raises:
        RunError: The file cannot be written.
    """
    save_keras_model(model, path)


def load_mil_model(path: Path) -> MILModel:
    """Read a model that `save_mil_model` wrote.

    Raises:
        ModelError: The file is missing, is no Keras model, or is none of ours.
    """
    model = load_keras_model(path)
    if not isinstance(model, MILModel):
        raise ModelError(f"{path}: is a Keras model, but not a MIL model of eosin")
    return model
