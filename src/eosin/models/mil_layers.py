"""Layers of a MIL model beside its dense ones and its aggregator."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.bags import FeatureScale
from eosin.models.keras_backend import keras

ops = keras.ops

can_take: Any = None
draw_uniform: Any = None
if keras.backend.backend() == "torch":
    from eosin.models.torch_products import can_take, draw_uniform

_TILES_AT_ONCE = 8


@keras.saving.register_keras_serializable(package="eosin")
class FeatureScaling(keras.layers.Layer):
    """Subtract the training data's mean and divide by its deviation.

    What lies further out than a limit is moved there. Always in float32, since
    features as they come may lie far from 0. Until `set_statistics` is called,
    features pass unchanged.

    Call arguments:
        bags: `(batch, instances, features)`, float.

    Returns:
        The same shape, float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, input_shape: Any) -> None:
        """Build the statistics, which are weights that training leaves alone."""

        def add(name: str, shape: tuple[int, ...], start: Any) -> Any:
            return self.add_weight(
                shape=shape, initializer=start, trainable=False, name=name
            )

        self.mean = add("mean", (input_shape[-1],), "zeros")
        self.deviation = add("deviation", (input_shape[-1],), "ones")
        self.clip = add("clip", (), keras.initializers.Constant(math.inf))
        super().build(input_shape)

    def call(self, bags: Any) -> Any:
        """Run as the class says."""
        scaled = (bags - self.mean) / self.deviation
        return ops.maximum(ops.minimum(scaled, self.clip), -self.clip)

    def set_statistics(
        self, mean: NDArray[Any], deviation: NDArray[Any], *, clip: float | None = None
    ) -> None:
        """Set mean and deviation, `(features,)`, and the limit in deviations.

        The deviation of a constant feature becomes 1. A `clip` of None has no limit.
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
class ClinicalHead(keras.layers.Layer):
    """Weigh encoded clinical columns, linearly and without a constant.

    Starts at 0; training begins with what the columns say by themselves (see
    `start_clinical`).

    Args:
        n_outputs: Logits per bag.

    Call arguments:
        clinical: `(batch, numbers)`, float.

    Returns:
        `(batch, outputs)`, float32.
    """

    def __init__(self, n_outputs: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.n_outputs = n_outputs

    def build(self, input_shape: Any) -> None:
        """Build the weights."""
        self.coefficients = self.add_weight(
            shape=(input_shape[-1], self.n_outputs),
            initializer="zeros",
            name="coefficients",
        )
        super().build(input_shape)

    def call(self, clinical: Any) -> Any:
        """Run as the class says."""
        return ops.matmul(clinical, self.coefficients)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make another."""
        return {**super().get_config(), "n_outputs": self.n_outputs}


class TileEncoding(keras.layers.Layer):
    """Encode every tile of bags, and average its feature map.

    Padding is encoded with the rest. Memory is bounded by a few tiles at a time, but
    for what the gradient needs; in training with batch normalisation that learns, all
    tiles of a step are one batch.

    Args:
        encoder: From `build_encoder`; its weights become this layer's.

    Call arguments:
        bags: `(batch, instances, px * px * 3)`, in 0..255.

    Returns:
        `(batch, instances, features)`.
    """

    def __init__(self, encoder: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder

    def build(self, input_shape: Any) -> None:
        """Find the encoder built."""
        super().build(input_shape)

    def call(self, bags: Any, training: bool | None = None) -> Any:  # noqa: FBT001 - Keras' signature
        """Run as the class says."""
        n_bags, n_instances = ops.shape(bags)[:2]
        tiles = ops.reshape(bags, (-1, *self.encoder.input_shape[1:]))
        n_tiles, parts = tiles.shape[0], [tiles]
        # Keras keeps all that a model makes on its way until it is through.
        if n_tiles is not None and not (training and self._learns_statistics()):
            starts = range(0, n_tiles, _TILES_AT_ONCE)
            parts = [tiles[start : start + _TILES_AT_ONCE] for start in starts]
        encoded = [
            ops.mean(self.encoder(part, training=training), axis=(1, 2))
            for part in parts
        ]
        features = ops.concatenate(encoded) if len(encoded) > 1 else encoded[0]
        return ops.reshape(features, (n_bags, n_instances, features.shape[-1]))

    def _learns_statistics(self) -> bool:
        """Say whether tiles share the statistics of a batch in training."""
        norm = keras.layers.BatchNormalization
        return any(isinstance(x, norm) and x.trainable for x in self.encoder.layers)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Give `(batch, instances, features)`."""
        return (*input_shape[:2], self.encoder.output_shape[-1])

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Features have no mask."""


@keras.saving.register_keras_serializable(package="eosin")
class SeededDropout(keras.layers.Layer):
    """Set a random share of all numbers to 0 in training, and scale up the rest.

    What `keras.layers.Dropout` does, drawn as uniform numbers and applied in one
    product. On a processor PyTorch draws Bernoulli numbers one at a time, which took
    an eighth of all time that a gated attention model trained for. Numbers that are
    NaN stay NaN, dropped or not.

    Args:
        rate: Share that is dropped, [0, 1).
        seed: Seed of the draws.

    Call arguments:
        inputs: Any shape, float.
        training: Whether to drop; without it inputs pass unchanged.

    Returns:
        The shape and dtype of `inputs`.
    """

    def __init__(self, rate: float, *, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras' signature
        """Run as the class says."""
        if not training or not self.rate:
            return inputs
        factor = 1 / (1 - self.rate)
        if can_take is not None and can_take(inputs, inputs):
            drawn = draw_uniform(inputs, self.seed_generator)
            # In place, where it lies in the processor's cache.
            return inputs * drawn.ge_(self.rate).mul_(factor).to(inputs.dtype)
        drawn = keras.random.uniform(ops.shape(inputs), seed=self.seed_generator)
        return inputs * (ops.cast(drawn >= self.rate, inputs.dtype) * factor)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Give the shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make another."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
