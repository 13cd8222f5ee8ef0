"""CLAM with an attention branch for every class, as Lu et al., 2021."""

from typing import Any

from eosin.models.aggregators.aggregator import pick_best
from eosin.models.aggregators.clam_sb import CLAMSB
from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class CLAMMB(CLAMSB):
    """As `CLAMSB`, with an attention branch and a classifier for every class.

    With one output there are two branches; the logit is the positive branch's
    minus the negative one's. Attention is that of the positive branch, or, with
    several outputs, of the highest.
    """

    def _count_branches(self) -> int:
        return self.n_classes

    def _make_heads(self) -> None:
        self.heads = [
            self._make_head(1, f"head_{label}") for label in range(self.n_classes)
        ]

    def _build_heads(self, pooled_shape: Any) -> None:
        for head in self.heads:
            head.build(pooled_shape)

    def _classify(self, pooled: Any) -> Any:
        logits = [head(pooled[:, label]) for label, head in enumerate(self.heads)]
        if self.n_outputs == 1:
            return logits[1] - logits[0]
        return ops.concatenate(logits, axis=-1)

    def _choose(self, attention: Any, logits: Any) -> Any:
        return pick_best(attention[..., -self.n_outputs :], logits)
