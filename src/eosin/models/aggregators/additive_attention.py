"""Additive attention, as Javed et al., 2022."""

from typing import Any

from eosin.models.aggregators.aggregator import Aggregator
from eosin.models.attention import masked_softmax
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class AdditiveAttentionAggregator(Aggregator):
    """Sum the instances' own logits, weighted by gated attention.

    The classifier, of one hidden layer, sees the instances one by one instead of
    their mean, so that a bag's logit falls into its instances' contributions,
    attention times instance logit, without remainder (Javed et al., 2022; there
    the attention scales the classifier's input, here its output, which keeps
    the size of the bag out of the sum). A bag of nothing but padding gets
    logits of 0.

    Args:
        units: Width of the attention's layer and of the classifier's, at least 1.
        **kwargs: As of `Aggregator`, whose call arguments and results hold.

    Raises:
        ValueError: `units` is below 1.
    """

    option_names = ("units",)

    def __init__(self, n_outputs: int, *, units: int = 128, **kwargs: Any) -> None:
        super().__init__(n_outputs, **kwargs)
        self.units = units
        self.scores = self._make_scores(units)
        self.hidden = self._make_dense(units, "hidden", activation="relu")
        self.head = self._make_head(n_outputs)

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        self.scores.build(input_shape)
        self.hidden.build(input_shape)
        self.head.build((*input_shape[:-1], self.units))
        super().build(input_shape)

    def aggregate(self, bags: Any, mask: Any) -> dict[str, Any]:
        """Aggregate as the class says."""
        attention = masked_softmax(self.scores(bags)[..., 0], mask, axis=1)
        instance_logits = self.head(self.hidden(bags))
        return {
            "logits": ops.einsum("bi,bio->bo", attention, instance_logits),
            "attention": attention,
            "instance_logits": instance_logits,
        }
