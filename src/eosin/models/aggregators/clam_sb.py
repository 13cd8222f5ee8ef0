"""CLAM with one attention branch, as Lu et al., 2021."""

from typing import Any

from eosin.models.aggregators.aggregator import Aggregator, BagLoss
from eosin.models.aggregators.instance_loss import find_instance_loss
from eosin.models.attention import masked_softmax
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class CLAMSB(Aggregator):
    """Gated attention whose highest and lowest instances teach the features.

    The loss is `bag_weight` times the bag's plus the rest times the instances'
    (see `find_instance_loss`; cross entropy, where the paper also uses a smooth
    hinge loss). Instance logits are those of the instance classifiers; with one
    output, of the positive class. A bag of nothing but padding gets the
    classifier's bias.

    Args:
        n_outputs: As in `Aggregator`.
        units: Width of the attention's layers, at least 1.
        k: Instances of each end that the instance loss takes, at least 1.
        bag_weight: Share of the bag's loss, in [0, 1].
        is_exclusive: Whether a bag's instances may be of its own class only, as
            tumour subtypes are (CLAM's `subtyping`). Not so where positive bags
            hold negative instances.
        **kwargs: Passed to `Aggregator`, whose call arguments and results hold.

    Raises:
        ValueError: A number is out of its range.
    """

    option_names = ("units", "k", "bag_weight", "is_exclusive")

    def __init__(
        self,
        n_outputs: int,
        *,
        units: int = 128,
        k: int = 8,
        bag_weight: float = 0.7,
        is_exclusive: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_outputs, **kwargs)
        if k < 1 or not 0 <= bag_weight <= 1:
            raise ValueError(
                "k must be 1 or more and bag_weight in [0, 1], got "
                f"{k} and {bag_weight}"
            )
        self.units, self.k = units, k
        self.bag_weight, self.is_exclusive = bag_weight, is_exclusive
        self.n_classes = max(2, n_outputs)
        self.scores = self._make_scores(units, branches=self._count_branches())
        self.instances = self._make_head(self.n_classes, "instances")
        self._make_heads()

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        self.scores.build(input_shape)
        self.instances.build(input_shape)
        self._build_heads((input_shape[0], input_shape[-1]))
        super().build(input_shape)

    def aggregate(self, bags: Any, mask: Any) -> dict[str, Any]:
        """Aggregate as the class says."""
        scores = ops.cast(self.scores(bags), "float32")
        attention = masked_softmax(scores, mask[..., None], axis=1)
        pooled = ops.einsum("bic,bif->bcf", attention, ops.cast(bags, "float32"))
        class_instance_logits = self.instances(bags)
        logits = self._classify(pooled)
        return {
            "logits": logits,
            "attention": self._choose(attention, logits),
            "instance_logits": class_instance_logits[..., -self.n_outputs :],
            "class_instance_logits": class_instance_logits,
            "attention_scores": scores,
        }

    def find_loss(
        self, labels: Any, outputs: dict[str, Any], mask: Any, bag_loss: BagLoss
    ) -> Any:
        """Mix the bag's loss and its instances'."""
        classes = labels
        if self.n_outputs == 1:
            classes = ops.concatenate([1 - labels, labels], axis=-1)
        scores = outputs["attention_scores"]
        instance_loss = find_instance_loss(
            classes,
            ops.broadcast_to(scores, ops.shape(outputs["class_instance_logits"])),
            outputs["class_instance_logits"],
            mask,
            k=self.k,
            is_exclusive=self.is_exclusive,
        )
        own = super().find_loss(labels, outputs, mask, bag_loss)
        return self.bag_weight * own + (1 - self.bag_weight) * instance_loss

    def _count_branches(self) -> int:
        """Attention branches."""
        return 1

    def _make_heads(self) -> None:
        self.head = self._make_head(self.n_outputs)

    def _build_heads(self, pooled_shape: Any) -> None:
        self.head.build(pooled_shape)

    def _classify(self, pooled: Any) -> Any:
        """Give logits for what the branches pooled, `(batch, branches, features)`."""
        return self.head(pooled[:, 0])

    def _choose(self, attention: Any, logits: Any) -> Any:
        """Choose the attention that is shown."""
        del logits
        return attention[..., 0]
