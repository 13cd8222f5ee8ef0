"""A network for exactly 40 instances in a fixed order, for comparison only."""

from typing import Any

from eosin.models.aggregators.aggregator import Aggregator
from eosin.models.attention import masked_softmax
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class Concat40(Aggregator):
    """Concatenate 40 attention-weighted instances and classify all of it.

    This is how a well-known Keras example does it: weights of gated attention
    scale the instances, but these are then laid side by side, not summed, so
    that the classifier has weights of its own for every place. It depends on the
    order of the instances and takes exactly 40, or fewer with padding. It is
    here to show what that costs; use another.

    Args:
        units: Width of the attention's layers, at least 1.
        **kwargs: As of `Aggregator`, whose call arguments and results hold.
    """

    n_instances = 40
    option_names = ("units",)

    def __init__(self, n_outputs: int, *, units: int = 128, **kwargs: Any) -> None:
        super().__init__(n_outputs, **kwargs)
        self.units = units
        self.scores = self._make_scores(units)
        self.head = self._make_head(n_outputs)

    def build(self, input_shape: Any) -> None:
        """Build the layers within."""
        if input_shape[1] != self.n_instances:
            raise ValueError(
                f"concat40 takes bags of exactly {self.n_instances} instances, got "
                f"{input_shape[1]}; choose a method that takes any size"
            )
        self.scores.build(input_shape)
        self.head.build((input_shape[0], self.n_instances * input_shape[-1]))
        super().build(input_shape)

    def aggregate(self, bags: Any, mask: Any) -> dict[str, Any]:
        """Aggregate as the class says."""
        attention = masked_softmax(self.scores(bags)[..., 0], mask, axis=1)
        scaled = attention[..., None] * ops.cast(bags, "float32")
        width = self.n_instances * bags.shape[-1]
        return {
            "logits": self.head(ops.reshape(scaled, (-1, width))),
            "attention": attention,
        }
