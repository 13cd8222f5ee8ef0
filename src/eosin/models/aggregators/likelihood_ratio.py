"""The best bag score where a bag's share of witnesses is not known."""

import math
from collections.abc import Sequence
from typing import Any

from eosin.models.aggregators.aggregator import InstanceAggregator
from eosin.models.attention import masked_softmax
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class LikelihoodRatioAggregator(InstanceAggregator):
    """Take instance logits as likelihood ratios and pool them as Neyman and Pearson.

    Where each instance of a positive bag is a witness with probability `r`, and its
    logit `z` is the logarithm of how much likelier a witness looks like this than
    another instance, the bag's likelihood ratio is `prod(1 - r + r exp(z))`, and no
    score of the same logits tells the bags apart better. A rate near 1 sums the
    logits (like the mean), a low one looks for the few highest (like noisy-or and
    top-k). The rate of a bag is not known: the ratio is averaged over `rates`, so
    that each bag is judged by those that fit it.

    Attention is the probability that an instance is a witness, given its bag, as a
    share of their sum; with several outputs, that of the highest. A bag of nothing but
    padding gets logits of 0.

    Args:
        rates: Shares of witnesses, each in (0, 1), equally likely.
        **kwargs: As of `Aggregator`, whose call arguments and results hold.

    Raises:
        ValueError: A rate is not in (0, 1), or there is none.
    """

    option_names = ("rates",)

    def __init__(
        self,
        n_outputs: int,
        *,
        rates: Sequence[float] = (0.02, 0.05, 0.1, 0.25, 0.5),
        **kwargs: Any,
    ) -> None:
        super().__init__(n_outputs, **kwargs)
        wrong = [rate for rate in rates if not 0 < rate < 1]
        if wrong or not rates:
            raise ValueError(
                "rates must be one or more in (0, 1), got "
                f"{wrong[0] if wrong else 'none'}"
            )
        self.rates = [float(rate) for rate in rates]

    def pool(self, instance_logits: Any, mask: Any) -> tuple[Any, Any]:
        """Pool as the class says."""
        shown = ops.cast(mask, "float32")
        logs, witness = [], []
        for rate in self.rates:
            shifted = instance_logits + math.log(rate / (1 - rate))
            parts = (ops.softplus(shifted) + math.log1p(-rate)) * shown
            logs.append(ops.sum(parts, axis=1))
            witness.append(ops.log_sigmoid(shifted))
        # Of every rate, along a last axis.
        ratios = ops.stack(logs, axis=-1)
        total = ops.logsumexp(ratios, axis=-1)
        fit = (ratios - total[..., None])[:, None]
        # In logarithms, because all instances of a bag may be far from a witness.
        scores = ops.logsumexp(ops.stack(witness, axis=-1) + fit, axis=-1)
        attention = masked_softmax(scores, mask, axis=1)
        return total - math.log(len(self.rates)), ops.stop_gradient(attention)
