"""The probability that at least one instance is positive."""

import math
from typing import Any

from eosin.models.aggregators.aggregator import InstanceAggregator
from eosin.models.keras_backend import keras

ops = keras.ops

# Keeps the logit finite, at about -16, where a bag has no instances or is surely
# negative.
_LEAST_RATE = 1e-7


@keras.saving.register_keras_serializable(package="eosin")
class NoisyOrAggregator(InstanceAggregator):
    """Give a bag the probability that at least one of its instances is positive.

    `1 - prod(1 - p)` over the instances' probabilities, taken as independent
    (Maron and Lozano-Perez, 1998; Viola et al., 2006), computed in logarithms.
    With several outputs each class has its own, and the logits of those
    probabilities go to the softmax. Attention is an instance's part in the sum
    of the instances' `-log(1 - p)`; with several outputs, that of the highest.
    A bag of nothing but padding gets logits of -16.

    Args:
        prior: Probability that an instance starts with, in (0, 1). A high one
            makes every large bag surely positive before anything is learnt.
        **kwargs: As of `Aggregator`, whose call arguments and results hold.

    Raises:
        ValueError: `prior` is not in (0, 1).
    """

    option_names = ("prior",)

    def __init__(self, n_outputs: int, *, prior: float = 0.02, **kwargs: Any) -> None:
        super().__init__(n_outputs, **kwargs)
        if not 0 < prior < 1:
            raise ValueError(f"prior must be in (0, 1), got {prior}")
        self.prior = prior
        self.starting_logit = math.log(prior / (1 - prior))

    def pool(self, instance_logits: Any, mask: Any) -> tuple[Any, Any]:
        """Pool as the class says."""
        # -log(1 - p) of each instance, and of the bag.
        rates = ops.softplus(instance_logits) * ops.cast(mask, "float32")
        total = ops.sum(rates, axis=1)
        rate = ops.maximum(total, _LEAST_RATE)
        # log(exp(rate) - 1); by tanh, because 1 - exp(-rate) loses small rates.
        half = ops.tanh(rate / 2)
        logits = rate + ops.log(2 * half / (1 + half))
        return logits, rates / ops.maximum(total, 1e-30)[:, None, :]
