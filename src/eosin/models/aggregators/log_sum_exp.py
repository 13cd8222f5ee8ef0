"""A smooth maximum."""

from typing import Any

from eosin.models.aggregators.aggregator import InstanceAggregator, count_instances
from eosin.models.attention import HIDDEN_SCORE, masked_softmax
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class LogSumExpAggregator(InstanceAggregator):
    """Score instances by a linear layer and pool the logits by log-mean-exp.

    The bag's logit is `log(mean(exp(r * logit))) / r`: near the mean for a
    small sharpness `r`, near the maximum for a large one (Pinheiro and
    Collobert, 2015; Wang et al., 2018). Attention is the share that each
    instance has in it, a softmax of `r * logit`; with several outputs, that of
    the highest. A bag of nothing but padding gets logits of 0.

    Args:
        sharpness: `r`, above 0.
        **kwargs: As of `Aggregator`, whose call arguments and results hold.

    Raises:
        ValueError: `sharpness` is not above 0.
    """

    option_names = ("sharpness",)

    def __init__(
        self, n_outputs: int, *, sharpness: float = 5.0, **kwargs: Any
    ) -> None:
        super().__init__(n_outputs, **kwargs)
        if sharpness <= 0:
            raise ValueError(f"sharpness must be above 0, got {sharpness}")
        self.sharpness = sharpness

    def pool(self, instance_logits: Any, mask: Any) -> tuple[Any, Any]:
        """Pool as the class says."""
        sharp = ops.where(mask, self.sharpness * instance_logits, HIDDEN_SCORE)
        log_mean = ops.logsumexp(sharp, axis=1) - ops.log(count_instances(mask))
        logits = ops.where(ops.any(mask, axis=1), log_mean / self.sharpness, 0.0)
        return logits, masked_softmax(sharp, mask, axis=1)
