"""Self-attention at linear cost that does not mind the order of its tokens."""

from typing import Any

from eosin.models.attention import masked_softmax
from eosin.models.keras_backend import keras

ops = keras.ops


def attend_by_landmarks(
    queries: Any, keys: Any, values: Any, assignment: Any, mask: Any, *, n_steps: int
) -> Any:
    """Approximate softmax attention by landmarks (Xiong et al., 2021).

    `softmax(Q K') V` becomes `softmax(Q k') pinv(softmax(q k')) softmax(q K') V`,
    where the landmarks `q` and `k` are means of queries and of keys. Memory grows
    with tokens times landmarks. Where every token is a landmark and `n_steps` is
    large, the result is exact.

    Args:
        queries: `(batch, heads, tokens, width)`, scaled.
        keys: As `queries`.
        values: As `queries`.
        assignment: Which landmark each token belongs to, `(batch, tokens,
            landmarks)`, 0 or 1; padding belongs to none.
        mask: True at real tokens, `(batch, tokens)`.
        n_steps: Steps of the iteration towards the pseudo-inverse.

    Returns:
        float32, of the shape of `queries`.
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
    """Share tokens out to landmarks by how similar they are to something.

    The real tokens are ranked, and each landmark takes a run of equal length, so
    that like goes with like and the order in which tokens came plays no part.
    With no more tokens than landmarks, every token has its own.

    Args:
        similarity: `(batch, tokens)`.
        mask: True at real tokens, `(batch, tokens)`; one in every row at least.
        n_landmarks: How many.

    Returns:
        0 or 1, `(batch, tokens, landmarks)`, float32.
    """
    hidden = ops.where(mask, -ops.cast(similarity, "float32"), 1e9)
    order = _sort(hidden)
    ranks = _sort(ops.cast(order, "float32"))
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
