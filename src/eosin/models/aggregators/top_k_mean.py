"""The mean of the highest instances."""

from typing import Any

from eosin.models.aggregators.aggregator import InstanceAggregator, find_highest
from eosin.models.attention import HIDDEN_SCORE
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class TopKMeanAggregator(InstanceAggregator):
    """Score instances by a linear layer and average the `k` highest logits.

    Campanella et al., 2019, with all `k` at once. A bag of fewer instances is
    averaged over all of them. Attention is shared by the highest instances;
    with several outputs, by those of the highest output. A bag of nothing but
    padding gets logits of 0.

    Args:
        k: How many instances, at least 1.
        **kwargs: As of `Aggregator`, whose call arguments and results hold.

    Raises:
        ValueError: `k` is below 1.
    """

    option_names = ("k",)

    def __init__(self, n_outputs: int, *, k: int = 4, **kwargs: Any) -> None:
        super().__init__(n_outputs, **kwargs)
        if k < 1:
            raise ValueError(f"k must be 1 or more, got {k}")
        self.k = k

    def pool(self, instance_logits: Any, mask: Any) -> tuple[Any, Any]:
        """Pool as the class says."""
        hidden = ops.where(mask, instance_logits, HIDDEN_SCORE)
        highest, _ = find_highest(ops.transpose(hidden, (0, 2, 1)), self.k)
        is_real = highest > HIDDEN_SCORE / 2
        n_taken = ops.maximum(ops.sum(ops.cast(is_real, "float32"), axis=-1), 1.0)
        logits = ops.sum(ops.where(is_real, highest, 0.0), axis=-1) / n_taken
        # The lowest of those taken; equal instances share what they tie for.
        lowest = ops.min(ops.where(is_real, highest, -HIDDEN_SCORE), axis=-1)
        is_taken = ops.logical_and(hidden >= lowest[:, None, :], mask)
        shares = ops.cast(is_taken, "float32")
        shares = shares / ops.maximum(ops.sum(shares, axis=1, keepdims=True), 1.0)
        return logits, ops.stop_gradient(shares)
