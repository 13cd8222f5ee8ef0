"""The highest instance."""

from typing import Any

from eosin.models.aggregators.aggregator import InstanceAggregator
from eosin.models.attention import HIDDEN_SCORE
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class MaxAggregator(InstanceAggregator):
    """Score instances by a linear layer; the highest logit is the bag's.

    Wang et al., 2018 (mi-Net with the maximum). All attention goes to the
    highest instance, and equal ones share it; with several outputs, to that of
    the output that is highest. Arguments and results are those of `Aggregator`;
    a bag of nothing but padding gets logits of 0.
    """

    def pool(self, instance_logits: Any, mask: Any) -> tuple[Any, Any]:
        """Pool as the class says."""
        hidden = ops.where(mask, instance_logits, HIDDEN_SCORE)
        highest = ops.max(hidden, axis=1, keepdims=True)
        is_highest = ops.logical_and(hidden >= highest, mask)
        shares = ops.cast(is_highest, "float32")
        shares = shares / ops.maximum(ops.sum(shares, axis=1, keepdims=True), 1.0)
        logits = ops.where(ops.any(mask, axis=1), highest[:, 0], 0.0)
        return logits, ops.stop_gradient(shares)
