"""The mean of the instances."""

from typing import Any

from eosin.models.aggregators.aggregator import InstanceAggregator, count_instances
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class MeanAggregator(InstanceAggregator):
    """Score instances by a linear layer and average the logits.

    That equals the layer's logits of the mean instance (Wang et al., 2018).
    Attention is the same for all instances. Arguments and results are those of
    `Aggregator`; a bag of nothing but padding gets logits of 0.
    """

    def pool(self, instance_logits: Any, mask: Any) -> tuple[Any, Any]:
        """Pool as the class says."""
        weights = ops.cast(mask, "float32") / count_instances(mask)[:, None, :]
        shares = weights * ops.ones_like(instance_logits)
        return ops.sum(shares * instance_logits, axis=1), shares
