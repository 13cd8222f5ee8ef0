"""A transformer over instances, after Shao et al., 2021."""

from typing import Any

from eosin.models.aggregators.aggregator import Aggregator
from eosin.models.aggregators.self_attention import (
    ClassTokenAttention,
    LandmarkSelfAttention,
)
from eosin.models.keras_backend import keras

ops = keras.ops


class LayerNormalization(keras.layers.LayerNormalization):
    """Keras' own, written out: PyTorch's exporter knows no open sizes in it.

    Named as Keras' own, after which files name the weights.
    """

    def call(self, inputs: Any) -> Any:
        """Run as `keras.layers.LayerNormalization` does."""
        tokens = ops.cast(inputs, "float32")
        centred = tokens - ops.mean(tokens, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        scaled = centred * ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta
        return ops.cast(scaled, self.compute_dtype)


@keras.saving.register_keras_serializable(package="eosin")
class TransMIL(Aggregator):
    """Two layers of self-attention with a class token, without places.

    The first layer is Nystrom attention for bags of every size, as in the
    paper. Its landmarks are means over runs of the tokens ranked by their
    resemblance to the class token, where the paper takes runs of the order in
    which they came. Of the second layer only the class token is read, so its
    attention is exact; averaged over heads and without the class token's own
    part, it is the attention shown. The paper's convolutions (the position
    encoding on a square of the tokens, and the one beside the attention) depend
    on the order of the instances and are left out. Instances get no logits. A
    bag of nothing but padding gets the logits of the class token alone.

    Args:
        n_outputs: As in `Aggregator`.
        units: Width of all heads together, a multiple of `heads`.
        heads: Heads of both layers, at least 1.
        landmarks: Landmarks of the first layer, at least 1.
        **kwargs: Passed to `Aggregator`, whose call arguments and results hold.

    Raises:
        ValueError: A number is below 1, or `heads` does not divide `units`.
    """

    option_names = ("units", "heads", "landmarks")

    def __init__(
        self,
        n_outputs: int,
        *,
        units: int = 128,
        heads: int = 4,
        landmarks: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_outputs, **kwargs)
        if min(units, heads, landmarks) < 1 or units % heads:
            raise ValueError(
                "units, heads and landmarks must be 1 or more and units a multiple of "
                f"heads, got {units}, {heads} and {landmarks}"
            )
        self.units, self.heads, self.landmarks = units, heads, landmarks
        policy = self.dtype_policy
        self.norms: list[Any] = [
            LayerNormalization(dtype=policy, name=f"norm_{i}") for i in range(3)
        ]
        self.mixing = LandmarkSelfAttention(
            units,
            heads=heads,
            landmarks=landmarks,
            seed=self.seed,
            dtype=policy,
            name="mixing",
        )
        self.reading = ClassTokenAttention(
            units, heads=heads, seed=self.seed + 1, dtype=policy, name="reading"
        )
        self.head = self._make_head(n_outputs)

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        width = input_shape[-1]
        self.class_token = self.add_weight(
            shape=(1, 1, width),
            initializer=keras.initializers.RandomNormal(stddev=0.02, seed=self.seed),
            name="class_token",
        )
        tokens = (input_shape[0], None, width)
        for layer in (*self.norms[:2], self.mixing, self.reading):
            layer.build(tokens)
        self.norms[2].build((input_shape[0], width))
        self.head.build((input_shape[0], width))
        super().build(input_shape)

    def aggregate(self, bags: Any, mask: Any) -> dict[str, Any]:
        """Aggregate as the class says."""
        first = ops.ones_like(bags[:, :1, :1]) * self.class_token
        tokens = ops.concatenate([first, bags], axis=1)
        is_token = ops.pad(mask, [[0, 0], [1, 0]], constant_values=True)
        tokens = tokens + self.mixing(self.norms[0](tokens), mask=is_token)
        read, attention = self.reading(self.norms[1](tokens), mask=is_token)
        return {
            "logits": self.head(self.norms[2](tokens[:, 0] + read)),
            "attention": attention,
        }
