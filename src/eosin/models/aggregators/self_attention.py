"""The two attention layers of TransMIL."""

from typing import Any

from eosin.models.aggregators.nystrom import assign_landmarks, attend_by_landmarks
from eosin.models.attention import masked_softmax, seed_dense
from eosin.models.dense import Dense
from eosin.models.keras_backend import keras

ops = keras.ops

_INVERSION_STEPS = 6


class _Heads(keras.layers.Layer):
    """Queries, keys and values of several heads, and the layer behind them."""

    def __init__(self, units: int, *, heads: int, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.heads, self.seed = units, heads, seed
        self.query, self.key, self.value = (
            self._make_dense(units, name, i, use_bias=False)
            for i, name in enumerate(("query", "key", "value"))
        )

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        for dense in (self.query, self.key, self.value):
            dense.build(input_shape)
        self.out = self._make_dense(input_shape[-1], "out", 3)
        self.out.build((*input_shape[:-1], self.units))
        super().build(input_shape)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """No output is to be masked further on."""

    def _make_dense(self, units: int, name: str, place: int, **options: Any) -> Any:
        seeded = seed_dense(self.seed, place)
        policy = self.dtype_policy
        return Dense(units, name=name, dtype=policy, **seeded, **options)

    def _split(self, tokens: Any) -> Any:
        """Go from `(batch, tokens, units)` to `(batch, heads, tokens, width)`."""
        width = self.units // self.heads
        shape = (-1, ops.shape(tokens)[1], self.heads, width)
        return ops.transpose(ops.reshape(tokens, shape), (0, 2, 1, 3))

    def _scale(self, queries: Any) -> Any:
        return queries / (self.units // self.heads) ** 0.5


class LandmarkSelfAttention(_Heads):
    """Nystrom self-attention of all tokens; the first is the class token.

    Landmarks are means over runs of the tokens ranked by how much their keys
    resemble the class token's.

    Args:
        units: Width of all heads together.
        heads: How many; divides `units`.
        landmarks: How many.
        seed: Seed of the weights.
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        tokens: `(batch, tokens, features)`.
        mask: True at real tokens, `(batch, tokens)`; the first is one.

    Returns:
        `(batch, tokens, features)`; what padding gets means nothing.
    """

    def __init__(self, units: int, *, landmarks: int, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.landmarks = landmarks

    def call(self, tokens: Any, mask: Any = None) -> Any:
        """Run as the class says."""
        keys = self.key(tokens)
        similarity = ops.einsum("btu,bu->bt", keys, keys[:, 0])
        attended = attend_by_landmarks(
            self._scale(self._split(self.query(tokens))),
            self._split(keys),
            self._split(self.value(tokens)),
            assign_landmarks(similarity, mask, self.landmarks),
            mask,
            n_steps=_INVERSION_STEPS,
        )
        merged = ops.transpose(attended, (0, 2, 1, 3))
        return self.out(ops.reshape(merged, (-1, ops.shape(tokens)[1], self.units)))


class ClassTokenAttention(_Heads):
    """Exact attention of the class token to all tokens; the first is the class token.

    Args and call arguments are those of `LandmarkSelfAttention`, without the
    landmarks.

    Returns:
        `(attended, attention)`: `(batch, features)`, and the mean of the heads'
        attention to the other tokens, `(batch, tokens - 1)`, which sums to 1, or
        to 0 where there are none.
    """

    def call(self, tokens: Any, mask: Any = None) -> tuple[Any, Any]:
        """Run as the class says."""
        queries = self._scale(self._split(self.query(tokens[:, :1])))
        scores = ops.einsum("bhqw,bhtw->bht", queries, self._split(self.key(tokens)))
        attention = masked_softmax(scores, mask[:, None, :], axis=-1)
        values = ops.cast(self._split(self.value(tokens)), "float32")
        attended = ops.einsum("bht,bhtw->bhw", attention, values)
        shown = ops.mean(attention, axis=1)[:, 1:]
        # Nothing but padding leaves nothing to divide by.
        total = ops.maximum(ops.sum(shown, axis=1, keepdims=True), 1e-30)
        return self.out(ops.reshape(attended, (-1, self.units))), shown / total
