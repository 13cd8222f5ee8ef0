"""Attention over the instances of a bag, with masks."""

from typing import Any

import numpy as np

from eosin.models.dense import Dense
from eosin.models.keras_backend import keras

ops = keras.ops

HIDDEN_SCORE = -1e9
"""What padding scores: finite, so that nothing but padding does not become NaN."""


def masked_softmax(scores: Any, mask: Any, *, axis: int) -> Any:
    """Turn scores into weights that sum to 1 over what the mask shows, along an axis.

    Computed in float32 whatever comes in, because half precision cannot hold the
    weights of a large bag. They are exactly 0 where the mask is False, and 0 everywhere
    where it shows nothing.
    """
    hidden = ops.where(mask, ops.cast(scores, "float32"), HIDDEN_SCORE)
    # Not Keras' softmax, which warns of a bag of one instance.
    highest = ops.stop_gradient(ops.max(hidden, axis=axis, keepdims=True))
    parts = ops.exp(hidden - highest) * ops.cast(mask, "float32")
    return parts / ops.maximum(ops.sum(parts, axis=axis, keepdims=True), 1e-30)


def seed_dense(seed: int, place: int) -> dict[str, Any]:
    """Give a dense layer's initialiser by a model's seed and the layer's place.

    Layers of one shape and one seed would start equal; the place tells them apart.
    """
    (drawn,) = np.random.SeedSequence((seed, place)).generate_state(1)
    return {
        "kernel_initializer": keras.initializers.GlorotUniform(seed=int(drawn >> 1))
    }


@keras.saving.register_keras_serializable(package="eosin")
class AttentionScores(keras.layers.Layer):
    """Score every instance by a tanh layer (Ilse et al., 2018, eq. 8).

    Instances are scored one by one, so there is no mask.

    Args:
        units: Width of the tanh layer, at least 1.
        branches: Scores per instance, at least 1.
        seed: Seed of the weights.

    Call arguments:
        bags: Instance features, `(batch, instances, features)`, float.

    Returns:
        Scores before any softmax, `(batch, instances, branches)`.

    Raises:
        ValueError: `units` or `branches` is below 1.
    """

    def __init__(
        self, units: int, *, branches: int = 1, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if min(units, branches) < 1:
            raise ValueError(
                f"units and branches must be 1 or more, got {units} and {branches}"
            )
        self.units, self.branches, self.seed = units, branches, seed
        policy = self.dtype_policy
        self.content = Dense(
            units, "tanh", dtype=policy, name="content", **seed_dense(seed, 0)
        )
        self.score = Dense(branches, dtype=policy, name="score", **seed_dense(seed, 1))

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        self.content.build(input_shape)
        self.score.build((*input_shape[:-1], self.units))
        super().build(input_shape)

    def call(self, bags: Any) -> Any:
        """Run as the class says."""
        return self.score.run(self.content.run(bags))

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make another."""
        config = {"units": self.units, "branches": self.branches, "seed": self.seed}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="eosin")
class GatedAttentionScores(AttentionScores):
    """Score every instance by a tanh layer that a sigmoid layer gates.

    As Ilse et al., 2018, eq. 9. Arguments and shapes are those of
    `AttentionScores`; `units` is the width of both layers.
    """

    def __init__(
        self, units: int, *, branches: int = 1, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(units, branches=branches, seed=seed, **kwargs)
        self.gate = Dense(
            units,
            "sigmoid",
            dtype=self.dtype_policy,
            name="gate",
            **seed_dense(seed, 2),
        )

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        self.gate.build(input_shape)
        super().build(input_shape)

    def call(self, bags: Any) -> Any:
        """Run as the class says."""
        return self.score.run(self.content.run(bags) * self.gate.run(bags))
