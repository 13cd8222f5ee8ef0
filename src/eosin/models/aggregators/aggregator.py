"""What every aggregator takes and gives."""

from collections.abc import Callable
from typing import Any, ClassVar

from eosin.models.attention import (
    HIDDEN_SCORE,
    AttentionScores,
    GatedAttentionScores,
    seed_dense,
)
from eosin.models.dense import Dense
from eosin.models.keras_backend import keras

ops = keras.ops

BagLoss = Callable[[Any, Any], Any]
"""From labels and logits, both `(batch, outputs)`, to losses `(batch,)`."""


class Aggregator(keras.layers.Layer):
    """From the instances of bags to the bags' logits; the base of all methods.

    A method takes bags of any size, gives padding no weight, and does not mind
    the order of the instances; the registry names the exceptions. A bag with no
    real instance gets finite logits and zero attention.

    Args:
        n_outputs: Logits per bag: 1 for two classes (above 0 means label 1),
            otherwise one for each class.
        seed: Seed of the weights.

    Call arguments:
        bags: Instance features, `(batch, instances, features)`, float.
        mask: True at real instances, `(batch, instances)`, bool. None means
            that the bags hold no padding.

    Returns:
        A dictionary of float32 tensors: `logits` `(batch, outputs)`;
        `attention` `(batch, instances)`, which sums to 1 over the real
        instances; `instance_logits` `(batch, instances, outputs)` where the
        method scores instances; and what its loss needs.

    Raises:
        ValueError: `n_outputs` is below 1.
    """

    option_names: ClassVar[tuple[str, ...]] = ()
    """Arguments that a method has besides, each kept under its name."""

    def __init__(self, n_outputs: int, *, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if n_outputs < 1:
            raise ValueError(f"n_outputs must be 1 or more, got {n_outputs}")
        self.n_outputs, self.seed = n_outputs, seed
        self._n_dense = 0

    def call(self, bags: Any, mask: Any = None) -> dict[str, Any]:
        """Run as the class says."""
        if mask is None:
            mask = ops.ones_like(bags[..., 0], dtype="bool")
        return self.aggregate(bags, mask)

    def aggregate(self, bags: Any, mask: Any) -> dict[str, Any]:
        """Do what `call` does; every method has its own."""
        raise NotImplementedError

    def find_loss(
        self, labels: Any, outputs: dict[str, Any], mask: Any, bag_loss: BagLoss
    ) -> Any:
        """Give each bag's loss, `(batch,)`; by default that of its logits.

        Labels are `(batch, outputs)`, 0 and 1, perhaps smoothed, and `outputs` what
        `call` gave; `bag_loss` is the cross entropy of logits.
        """
        del mask
        return bag_loss(labels, outputs["logits"])

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """No output is to be masked further on."""

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make another."""
        names = ("n_outputs", "seed", *self.option_names)
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _make_scores(
        self,
        units: int,
        kind: type[AttentionScores] = GatedAttentionScores,
        **options: Any,
    ) -> Any:
        """Make the layer that scores instances by attention."""
        return kind(
            units, seed=self.seed, dtype=self.dtype_policy, name="scores", **options
        )

    def _make_dense(self, units: int, name: str, **options: Any) -> Any:
        """Make a dense layer with a seed of its own."""
        self._n_dense += 1
        options = {"dtype": self.dtype_policy, **options}
        # Attention's own layers take the seed's first places.
        seeded = seed_dense(self.seed, 8 + self._n_dense)
        return Dense(units, name=name, **seeded, **options)

    def _make_head(self, units: int, name: str = "head", **options: Any) -> Any:
        """Make a dense layer that gives logits, which are float32 always."""
        return self._make_dense(units, name, dtype="float32", **options)


class InstanceAggregator(Aggregator):
    """Score instances by a linear layer, then pool their logits; a base.

    Arguments and results are those of `Aggregator`.
    """

    starting_logit = 0.0
    """What every instance's logit starts with."""

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        start = keras.initializers.Constant(self.starting_logit)
        self.head = self._make_head(self.n_outputs, bias_initializer=start)
        self.head.build(input_shape)
        super().build(input_shape)

    def aggregate(self, bags: Any, mask: Any) -> dict[str, Any]:
        """Aggregate as the class says."""
        instance_logits = self.head(bags)
        logits, shares = self.pool(instance_logits, mask[..., None])
        return {
            "logits": logits,
            "attention": pick_best(shares, logits),
            "instance_logits": instance_logits,
        }

    def pool(self, instance_logits: Any, mask: Any) -> tuple[Any, Any]:
        """Pool logits `(batch, instances, outputs)`; every method has its own.

        The mask is `(batch, instances, 1)`. Gives logits `(batch, outputs)`, and the
        part that each instance has in them, which sums to 1 over the real instances.
        """
        raise NotImplementedError


def count_instances(mask: Any) -> Any:
    """Count a mask's real instances, `(batch, 1)`, at least 1."""
    return ops.maximum(ops.sum(ops.cast(mask, "float32"), axis=1), 1.0)


def pick_best(weights: Any, logits: Any) -> Any:
    """Take the weights `(batch, instances, outputs)` of each bag's highest logit."""
    if logits.shape[-1] == 1:
        return weights[..., 0]
    best = ops.one_hot(ops.argmax(logits, axis=-1), logits.shape[-1])
    return ops.einsum("bio,bo->bi", weights, best)


def find_highest(scores: Any, k: int) -> tuple[Any, Any]:
    """Find the `k` highest scores along the last axis, falling, and their places.

    Where there are fewer than `k`, the rest are hidden scores, in places behind
    the last one.
    """
    widths = [[0, 0]] * (len(scores.shape) - 1) + [[0, k]]
    padded = ops.pad(scores, widths, constant_values=HIDDEN_SCORE)
    highest, places = ops.top_k(padded, k)
    return highest, places
