"""Attention, as Ilse et al., 2018."""

from typing import Any

from eosin.models.aggregators.aggregator import Aggregator
from eosin.models.attention import AttentionScores, masked_softmax
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class AttentionAggregator(Aggregator):
    """Classify the attention-weighted mean of the instances (Ilse et al., 2018).

    The classifier is linear, so a bag's logit is the attention-weighted mean of
    its instances' logits; those are the instance scores. A bag of nothing but
    padding gets the classifier's bias.

    Args:
        units: Width of the attention's layer, at least 1.
        **kwargs: As of `Aggregator`, whose call arguments and results hold.

    Raises:
        ValueError: `units` is below 1.
    """

    scores_kind = AttentionScores
    option_names = ("units",)

    def __init__(self, n_outputs: int, *, units: int = 128, **kwargs: Any) -> None:
        super().__init__(n_outputs, **kwargs)
        self.units = units
        self.scores = self._make_scores(units, self.scores_kind)
        self.head = self._make_head(n_outputs)

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        self.scores.build(input_shape)
        self.head.build((input_shape[0], input_shape[-1]))
        super().build(input_shape)

    def aggregate(self, bags: Any, mask: Any) -> dict[str, Any]:
        """Aggregate as the class says."""
        attention = masked_softmax(self.scores(bags)[..., 0], mask, axis=1)
        instances = ops.cast(bags, "float32")
        pooled = ops.einsum("bi,bif->bf", attention, instances)
        return {
            "logits": self.head.run(pooled),
            "attention": attention,
            "instance_logits": self.head.run(instances),
        }
