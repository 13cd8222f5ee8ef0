"""MIL models: scaled features, a layer that learns, an aggregator."""

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eosin.bags import FeatureScale
from eosin.core import ConfigError, ModelError, atomic_path
from eosin.models.aggregators import find_aggregator
from eosin.models.attention import seed_dense
from eosin.models.keras_backend import keras

ops = keras.ops

MILPrecision = Literal["float32", "mixed_bfloat16", "mixed_float16"]

# Arguments of a method that the model gives by itself.
_OURS = {"n_outputs", "seed", "kwargs"}
# Of the places for seeds, the aggregator takes the first.
_PROJECTION_PLACE = 1000


@keras.saving.register_keras_serializable(package="eosin")
class FeatureScaling(keras.layers.Layer):
    """Subtract the training data's mean and divide by its deviation.

    What lies further out than a limit is moved there. Always in float32, since
    features as they come may lie far from 0. Until `set_statistics` is called,
    features pass unchanged.

    Args:
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        bags: `(batch, instances, features)`, float.

    Returns:
        The same shape, float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        shape = (input_shape[-1],)
        self.mean = self.add_weight(
            shape=shape, initializer="zeros", trainable=False, name="mean"
        )
        self.deviation = self.add_weight(
            shape=shape, initializer="ones", trainable=False, name="deviation"
        )
        self.clip = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(math.inf),
            trainable=False,
            name="clip",
        )
        super().build(input_shape)

    def call(self, bags: Any) -> Any:
        """Run as the class says."""
        scaled = (bags - self.mean) / self.deviation
        return ops.maximum(ops.minimum(scaled, self.clip), -self.clip)

    def set_statistics(
        self,
        mean: NDArray[Any],
        deviation: NDArray[Any],
        *,
        clip: float | None = None,
    ) -> None:
        """Set what is subtracted, what is divided by, and the limit.

        Args:
            mean: `(features,)`.
            deviation: `(features,)`; of a constant feature it becomes 1.
            clip: How many deviations from the mean a feature may lie. None has
                no limit.
        """
        self.mean.assign(np.asarray(mean, np.float32))
        is_constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1.0)
        self.deviation.assign(np.where(is_constant, 1.0, deviation).astype(np.float32))
        self.clip.assign(np.float32(math.inf if clip is None else clip))

    @property
    def scale(self) -> FeatureScale:
        """The same for batches that are scaled as they are put together."""
        mean, deviation, clip = self.get_weights()
        return FeatureScale(mean, deviation, float(clip))


@keras.saving.register_keras_serializable(package="eosin")
class MILModel(keras.Model):
    """From a padded batch of bags to logits, attention and instance scores.

    Features are scaled as the training data were, padding is set to 0 whatever
    it held, dense layers with ReLU project each instance by itself, and the
    aggregator does the rest. Build it by `build_mil_model`. The layer `scaling`
    does the first; the inner model `body` the last two, for batches that were
    scaled as they were read.

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

    Call arguments:
        inputs: A dictionary of `features` `(batch, instances, features)` and
            `mask` `(batch, instances)`, bool.

    Returns:
        What `Aggregator` gives.
    """

    def __init__(
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
        spec = find_aggregator(aggregator)
        layer = spec.layer(
            1 if n_classes == 2 else n_classes,
            seed=seed,
            dtype=precision,
            name="aggregator",
            **options,
        )
        projection = _build_projection(dimension, widths, dropout, precision, seed)
        scaled, mask = _make_inputs(spec.n_instances, dimension)
        body = keras.Model(
            {"features": scaled, "mask": mask},
            layer(projection(scaled), mask=mask),
            name="body",
        )
        features, mask = _make_inputs(spec.n_instances, dimension)
        scaling = FeatureScaling(name="scaling")
        # Not only weighed by 0 later on: NaN times 0 is NaN.
        shown = ops.where(mask[..., None], scaling(features), 0.0)
        super().__init__(
            inputs={"features": features, "mask": mask},
            outputs=body({"features": shown, "mask": mask}),
            name=f"mil_{aggregator}",
        )
        self._mil_config: dict[str, Any] = config

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
    def scaling(self) -> FeatureScaling:
        """The layer that scales features."""
        layer: FeatureScaling = self.get_layer("scaling")
        return layer

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

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make another."""
        return dict(self._mil_config)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Build from what `get_config` gave."""
        del custom_objects
        return cls(**config)


def build_mil_model(
    aggregator: str,
    *,
    dimension: int,
    n_classes: int = 2,
    widths: Sequence[int] = (256,),
    dropout: float = 0.25,
    precision: MILPrecision = "float32",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
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
            float32 always. Training scales no loss, so it is for bfloat16 and
            float32; float16 is for prediction.
        seed: Seed of the weights and of dropout.
        options: Arguments of the method, such as `{"k": 8}`.

    Returns:
        A model that takes `{"features", "mask"}` and gives a dictionary with
        `logits`, `(batch, 1)` for two classes (above 0 means label 1), otherwise
        `(batch, n_classes)`.

    Raises:
        ConfigError: The method is unknown, does not have such an option, or a
            number is out of range.
    """
    spec = find_aggregator(aggregator)
    if n_classes < 2:
        raise ConfigError(f"a MIL model needs 2 classes or more, got {n_classes}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
    if dimension < 1 or any(width < 1 for width in widths):
        raise ConfigError(
            f"dimension and widths must be 1 or more, got {dimension} and {widths}"
        )
    options = dict(options or {})
    known = inspect.signature(spec.layer).parameters.keys() - _OURS
    if unknown := options.keys() - known:
        raise ConfigError(
            f"{aggregator} has no option {', '.join(sorted(unknown))}; it has "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    try:
        return MILModel(
            aggregator=aggregator,
            dimension=dimension,
            n_classes=n_classes,
            widths=widths if spec.has_projection else (),
            dropout=dropout if spec.has_projection else 0.0,
            precision=precision,
            seed=seed,
            options=options,
        )
    except ValueError as error:
        raise ConfigError(f"{aggregator}: {error}") from error


def save_mil_model(model: MILModel, path: Path) -> None:
    """Write a model as a `.keras` file, whole or not at all.

    Raises:
        RunError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        model.save(temporary)


def load_mil_model(path: Path) -> MILModel:
    """Read a model that `save_mil_model` wrote.

    Raises:
        ModelError: The file is missing, is no Keras model, or is none of ours.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model")
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{path}: not a Keras model that this version reads ({first_line})"
        ) from error
    if not isinstance(model, MILModel):
        raise ModelError(f"{path}: is a Keras model, but not a MIL model of eosin")
    return model


def _make_inputs(n_instances: int | None, dimension: int) -> tuple[Any, Any]:
    """Make the inputs of features and of their mask."""
    features = keras.Input((n_instances, dimension), name="features")
    return features, keras.Input((n_instances,), dtype="bool", name="mask")


def _build_projection(
    dimension: int,
    widths: Sequence[int],
    dropout: float,
    precision: MILPrecision,
    seed: int,
) -> Any:
    """Build what sees each instance by itself."""
    layers = [
        keras.layers.Dense(
            width,
            "relu",
            dtype=precision,
            name=f"dense_{i}",
            **seed_dense(seed, _PROJECTION_PLACE + i),
        )
        for i, width in enumerate(widths)
    ]
    if dropout:
        layers.append(
            keras.layers.Dropout(dropout, seed=seed, dtype=precision, name="dropout")
        )
    inputs = keras.Input((None, dimension), name="instances")
    x = inputs
    for layer in layers or [keras.layers.Identity(dtype=precision)]:
        x = layer(x)
    return keras.Model(inputs, x, name="projection")
