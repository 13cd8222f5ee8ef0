"""CLAM with one attention branch, as Lu et al., 2021."""

from typing import Any

from eosin.models.aggregators.aggregator import Aggregator, BagLoss, find_highest
from eosin.models.attention import HIDDEN_SCORE, masked_softmax
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
        units: Width of the attention's layers, at least 1.
        k: Instances of each end that the instance loss takes, at least 1.
        bag_weight: Share of the bag's loss, in [0, 1].
        is_exclusive: Whether a bag's instances may be of its own class only, as
            tumour subtypes are (CLAM's `subtyping`). Not so where positive bags
            hold negative instances.
        **kwargs: As of `Aggregator`, whose call arguments and results hold.

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


def find_instance_loss(
    labels: Any,
    scores: Any,
    instance_logits: Any,
    mask: Any,
    *,
    k: int,
    is_exclusive: bool,
) -> Any:
    """Give each bag's instance loss, `(batch,)` (Lu et al., 2021).

    Attention makes the pseudo-labels: for the bag's own class, the `k` highest
    instances of its branch count as positive, the `k` lowest as negative. Where classes
    exclude each other, the `k` highest of every other class's branch count as negative
    for that class, and the classes' losses are averaged. A bag of `n` instances takes
    `n // 2` at most from each end, so that none is both; one of one instance has a loss
    of 0.

    Args:
        labels: `(batch, classes)`, 0 and 1, perhaps smoothed.
        scores: Attention before the softmax, `(batch, instances, classes)`.
        instance_logits: `(batch, instances, classes)`; above 0 means that the
            instance is positive for the class.
        mask: True at real instances, `(batch, instances)`.
        k: Instances from each end, at least 1.
        is_exclusive: Whether classes exclude each other.
    """
    classes = scores.shape[-1]
    n_real = ops.sum(ops.cast(mask, "int32"), axis=1)
    n_taken = ops.minimum(n_real // 2, k)
    is_taken = ops.arange(k)[None, None, :] < n_taken[:, None, None]
    taken = ops.cast(is_taken, "float32")
    by_class = ops.transpose(instance_logits, (0, 2, 1))
    ranks = ops.transpose(ops.cast(scores, "float32"), (0, 2, 1))
    high = _take(by_class, _rank(ranks, mask, k), k)
    low = _take(by_class, _rank(-ranks, mask, k), k)
    # Cross entropies of positive and of negative pseudo-labels.
    as_positive = _mean(ops.softplus(-high), taken)
    as_negative = _mean(ops.softplus(high), taken)
    low_as_negative = _mean(ops.softplus(low), taken)
    is_class = ops.cast(labels >= 0.5, "float32")
    loss = is_class * (as_positive + low_as_negative) / 2
    if is_exclusive:
        loss = (loss + (1 - is_class) * as_negative) / classes
    return ops.sum(loss, axis=1)


def _rank(scores: Any, mask: Any, k: int) -> Any:
    """Find the places of the highest real scores, `(batch, classes, k)`."""
    hidden = ops.where(mask[:, None, :], scores, HIDDEN_SCORE)
    return find_highest(hidden, k)[1]


def _take(logits: Any, places: Any, k: int) -> Any:
    """Read logits at places, which may lie up to `k` behind the last."""
    padded = ops.pad(logits, [[0, 0], [0, 0], [0, k]])
    return ops.take_along_axis(padded, places, axis=-1)


def _mean(losses: Any, taken: Any) -> Any:
    """Average over what was taken, `(batch, classes)`."""
    total = ops.sum(losses * taken, axis=-1)
    return total / ops.maximum(ops.sum(taken, axis=-1), 1.0)
