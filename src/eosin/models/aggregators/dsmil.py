"""Dual-stream MIL, as Li et al., 2021."""

from typing import Any

from eosin.models.aggregators.aggregator import Aggregator, BagLoss, pick_best
from eosin.models.attention import HIDDEN_SCORE, masked_softmax
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class DSMIL(Aggregator):
    """Find the critical instance, and attend to whatever resembles it.

    One stream classifies instances and takes the highest logit of each class.
    The other weights the instances by how much their queries resemble that of
    the critical one, and classifies the weighted sums of all classes together.
    A bag's logit is the mean of both streams', its loss the mean of both
    losses. With several outputs, attention is that of the highest. A bag of
    nothing but padding gets half the second stream's bias.

    Args:
        units: Width of the queries, at least 1.
        **kwargs: As of `Aggregator`, whose call arguments and results hold.
    """

    option_names = ("units",)

    def __init__(self, n_outputs: int, *, units: int = 128, **kwargs: Any) -> None:
        super().__init__(n_outputs, **kwargs)
        self.units = units
        self.instances = self._make_head(n_outputs, "instances")
        self.query_hidden = self._make_dense(units, "query_hidden", activation="relu")
        self.query = self._make_dense(units, "query", activation="tanh")
        self.head = self._make_head(n_outputs)

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        self.instances.build(input_shape)
        self.query_hidden.build(input_shape)
        self.query.build((*input_shape[:-1], self.units))
        self.head.build((input_shape[0], input_shape[-1] * self.n_outputs))
        super().build(input_shape)

    def aggregate(self, bags: Any, mask: Any) -> dict[str, Any]:
        """Aggregate as the class says."""
        instance_logits = self.instances(bags)
        hidden = ops.where(mask[..., None], instance_logits, HIDDEN_SCORE)
        is_any = ops.any(mask, axis=1, keepdims=True)
        critical_logits = ops.where(is_any, ops.max(hidden, axis=1), 0.0)
        queries = ops.cast(self.query(self.query_hidden(bags)), "float32")
        is_critical = ops.one_hot(ops.argmax(hidden, axis=1), ops.shape(bags)[1])
        critical = ops.einsum("boi,biq->boq", is_critical, queries)
        scores = ops.einsum("biq,boq->bio", queries, critical) / self.units**0.5
        attention = masked_softmax(scores, mask[..., None], axis=1)
        pooled = ops.einsum("bio,bif->bof", attention, ops.cast(bags, "float32"))
        width = self.n_outputs * bags.shape[-1]
        bag_logits = self.head(ops.reshape(pooled, (-1, width)))
        logits = (critical_logits + bag_logits) / 2
        return {
            "logits": logits,
            "attention": pick_best(attention, logits),
            "instance_logits": instance_logits,
            "critical_logits": critical_logits,
            "bag_logits": bag_logits,
        }

    def find_loss(
        self, labels: Any, outputs: dict[str, Any], mask: Any, bag_loss: BagLoss
    ) -> Any:
        """Average the losses of both streams."""
        del mask
        critical = bag_loss(labels, outputs["critical_logits"])
        return (critical + bag_loss(labels, outputs["bag_logits"])) / 2
