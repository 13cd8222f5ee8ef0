"""Features as the training data were: around 0, of unit spread."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.bags import FeatureScale
from eosin.models.keras_backend import keras

ops = keras.ops


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
