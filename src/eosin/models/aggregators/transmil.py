"""A transformer over instances, after Shao et al., 2021."""

from typing import Any

from eosin.models.aggregators.aggregator import Aggregator
from eosin.models.attention import masked_softmax, seed_dense
from eosin.models.dense import Dense
from eosin.models.keras_backend import keras

ops = keras.ops

_INVERSION_STEPS = 6


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
        units: Width of all heads together, a multiple of `heads`.
        heads: Heads of both layers, at least 1.
        landmarks: Landmarks of the first layer, at least 1.
        **kwargs: As of `Aggregator`, whose call arguments and results hold.

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


class Heads(keras.layers.Layer):
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


class LandmarkSelfAttention(Heads):
    """Nystrom self-attention of all tokens; the first is the class token.

    Landmarks are means over runs of the tokens ranked by how much their keys
    resemble the class token's.

    Args:
        units: Width of all heads together.
        landmarks: How many.
        **kwargs: `heads`, which divides `units`, `seed`, and what is passed to
            `keras.layers.Layer`.

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


class ClassTokenAttention(Heads):
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


def attend_by_landmarks(
    queries: Any, keys: Any, values: Any, assignment: Any, mask: Any, *, n_steps: int
) -> Any:
    """Approximate softmax attention by landmarks (Xiong et al., 2021).

    `softmax(Q K') V` becomes `softmax(Q k') pinv(softmax(q k')) softmax(q K') V`, where
    the landmarks `q` and `k` are means of queries and of keys. Memory grows with tokens
    times landmarks. Where every token is a landmark and `n_steps`, towards the
    pseudo-inverse, is large, the result is exact.

    Args:
        queries: `(batch, heads, tokens, width)`, scaled; keys and values likewise.
        keys: As `queries`.
        values: As `queries`.
        assignment: Which landmark each token belongs to, `(batch, tokens,
            landmarks)`, 0 or 1; padding belongs to none.
        mask: True at real tokens, `(batch, tokens)`.
        n_steps: Steps of the iteration towards the pseudo-inverse.
    """
    counts = ops.sum(assignment, axis=1)
    means = assignment / ops.maximum(counts, 1.0)[:, None, :]
    queries, keys, values = (ops.cast(x, "float32") for x in (queries, keys, values))
    query_marks = ops.einsum("btl,bhtw->bhlw", means, queries)
    key_marks = ops.einsum("btl,bhtw->bhlw", means, keys)
    is_mark = (counts > 0)[:, None, None, :]
    is_token = mask[:, None, None, :]

    def compare(left: Any, right: Any, is_there: Any) -> Any:
        return masked_softmax(ops.matmul(left, _turn(right)), is_there, axis=-1)

    near = compare(queries, key_marks, is_mark)
    core = compare(query_marks, key_marks, is_mark)
    # A landmark without tokens has no row either.
    core = core * ops.cast(ops.transpose(is_mark, (0, 1, 3, 2)), "float32")
    far = compare(query_marks, keys, is_token)
    return ops.matmul(near, ops.matmul(invert(core, n_steps), ops.matmul(far, values)))


def invert(matrices: Any, n_steps: int) -> Any:
    """Iterate towards pseudo-inverses (Razavi et al., 2014), batch by batch.

    Small singular values come last, so that few steps leave them damped.
    """
    size = matrices.shape[-1]
    rows = ops.max(ops.sum(ops.abs(matrices), axis=-1), axis=-1)
    columns = ops.max(ops.sum(ops.abs(matrices), axis=-2), axis=-1)
    inverse = _turn(matrices) / (rows * columns)[..., None, None]
    identity = ops.eye(size, dtype="float32")
    for _ in range(n_steps):
        product = ops.matmul(matrices, inverse)
        inner = 15 * identity - ops.matmul(product, 7 * identity - product)
        inverse = ops.matmul(inverse, 13 * identity - ops.matmul(product, inner)) / 4
    return inverse


def assign_landmarks(similarity: Any, mask: Any, n_landmarks: int) -> Any:
    """Share tokens out to landmarks by their similarity `(batch, tokens)` to something.

    The real tokens are ranked, and each landmark takes a run of equal length, so
    that like goes with like and the order in which tokens came plays no part.
    With no more tokens than landmarks, every token has its own. The mask shows one
    in every row at least.

    Returns:
        0 or 1, `(batch, tokens, landmarks)`, float32.
    """
    hidden = ops.where(mask, -ops.cast(similarity, "float32"), 1e9)
    ranks = _sort(ops.cast(_sort(hidden), "float32"))
    n_real = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
    n_used = ops.minimum(n_real, n_landmarks)
    runs = ops.cast(ranks, "int32") * n_used // n_real
    is_in = ops.equal(runs[..., None], ops.arange(n_landmarks)[None, None, :])
    return ops.cast(ops.logical_and(is_in, mask[..., None]), "float32")


def _sort(values: Any) -> Any:
    """Give the places of values `(batch, tokens)`, rising."""
    # Not by argsort, which PyTorch's exporter does not know.
    return ops.top_k(-values, ops.shape(values)[1])[1]


def _turn(matrices: Any) -> Any:
    return ops.swapaxes(matrices, -1, -2)
