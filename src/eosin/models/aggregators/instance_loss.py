"""CLAM's loss on the instances that attention ranks highest and lowest."""

from typing import Any

from eosin.models.aggregators.aggregator import find_highest
from eosin.models.attention import HIDDEN_SCORE
from eosin.models.keras_backend import keras

ops = keras.ops


def find_instance_loss(
    labels: Any,
    scores: Any,
    instance_logits: Any,
    mask: Any,
    *,
    k: int,
    is_exclusive: bool,
) -> Any:
    """Give each bag's instance loss (Lu et al., 2021).

    Attention makes the pseudo-labels: for the bag's own class, the `k` highest
    instances of its branch count as positive, the `k` lowest as negative. Where
    classes exclude each other, the `k` highest of every other class's branch
    count as negative for that class, and the classes' losses are averaged. A bag
    of `n` instances takes `n // 2` at most from each end, so that none is both.

    Args:
        labels: `(batch, classes)`, 0 and 1, perhaps smoothed.
        scores: Attention before the softmax, `(batch, instances, classes)`.
        instance_logits: `(batch, instances, classes)`; above 0 means that the
            instance is positive for the class.
        mask: True at real instances, `(batch, instances)`.
        k: Instances from each end, at least 1.
        is_exclusive: Whether classes exclude each other.

    Returns:
        Losses, `(batch,)`; 0 for a bag of one instance.
    """
    classes = scores.shape[-1]
    n_real = ops.sum(ops.cast(mask, "int32"), axis=1)
    n_taken = ops.minimum(n_real // 2, k)
    is_taken = ops.arange(k)[None, None, :] < n_taken[:, None, None]
    taken = ops.cast(is_taken, "float32")
    by_class = ops.transpose(instance_logits, (0, 2, 1))
    ranks = ops.transpose(ops.cast(scores, "float32"), (0, 2, 1))
    high = _take(by_class, _rank(ranks, mask, k), k)
    low = _take(by_class, _rank(-ranks, mask, k), k)
    # Cross entropies of positive and of negative pseudo-labels.
    as_positive = _mean(ops.softplus(-high), taken)
    as_negative = _mean(ops.softplus(high), taken)
    low_as_negative = _mean(ops.softplus(low), taken)
    is_class = ops.cast(labels >= 0.5, "float32")
    loss = is_class * (as_positive + low_as_negative) / 2
    if is_exclusive:
        loss = (loss + (1 - is_class) * as_negative) / classes
    return ops.sum(loss, axis=1)


def _rank(scores: Any, mask: Any, k: int) -> Any:
    """Find the places of the highest real scores, `(batch, classes, k)`."""
    hidden = ops.where(mask[:, None, :], scores, HIDDEN_SCORE)
    return find_highest(hidden, k)[1]


def _take(logits: Any, places: Any, k: int) -> Any:
    """Read logits at places, which may lie up to `k` behind the last."""
    padded = ops.pad(logits, [[0, 0], [0, 0], [0, k]])
    return ops.take_along_axis(padded, places, axis=-1)


def _mean(losses: Any, taken: Any) -> Any:
    """Average over what was taken, `(batch, classes)`."""
    total = ops.sum(losses * taken, axis=-1)
    return total / ops.maximum(ops.sum(taken, axis=-1), 1.0)
