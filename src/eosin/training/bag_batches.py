"""Padded batches of bags, with their labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eosin.bags import InstanceSampling, plan_batches, read_batch
from eosin.core import ModelError
from eosin.models import MILModel, predict_bags
from eosin.models.keras_backend import keras
from eosin.settings import BagFit
from eosin.training.batches import Batch, Batches, Validation, score_validation
from eosin.training.optimisation import build_loss, find_log_probabilities
from eosin.training.training_data import Rows, TrainingBags


class BagBatches(Batches):
    """Batches of bags for a MIL model that fits them, its scaling set."""

    def __init__(self, model: MILModel, bags: TrainingBags, config: BagFit) -> None:
        loss = build_loss(bags.n_classes, label_smoothing=config.label_smoothing)
        super().__init__(_LearningModel(model, loss), bags, config)
        self._model, self._bags, self._config = model, bags, config
        self._scale = model.scale
        self._n_instances = model.n_instances
        if model.takes_pixels and len(set(bags.sizes)) == 1:
            # Padding would be encoded, and be in the statistics of batches.
            self._n_instances = min(config.max_instances, int(bags.sizes[0]))

    def validate(self) -> Validation | None:
        """Score the validation bags, all of their instances; None without any.

        Raises:
            ModelError: A logit is not finite.
        """
        rows = self.data.val_rows
        if len(rows) == 0:
            return None
        predictions = predict_bags(self._model, [self._bags.bags[row] for row in rows])
        logits = np.stack([prediction.logits for prediction in predictions])
        if not np.isfinite(logits).all():
            raise ModelError("the model's logits of validation bags are not finite")
        return score_validation(self.data.labels[rows], find_log_probabilities(logits))

    def describe(self) -> dict[str, Any]:
        """Give the model's arguments, and of each bag all but its features."""
        bags = self._bags.bags
        return {
            "model": self._model.get_config(),
            "bags": [bag.bag_id for bag in bags],
            "sizes": self._bags.sizes.tolist(),
            "clinical": [self._model.encode_clinical(bag).tolist() for bag in bags],
        }

    def _plan(self, epoch: int) -> Sequence[Rows]:
        config = self._config
        rows = self._draw(epoch)
        plan = plan_batches(
            np.minimum(self._bags.sizes[rows], config.max_instances).tolist(),
            batch=config.batch,
            max_padded=config.max_padded,
            rng=np.random.default_rng((config.seed, epoch, 1)),
        )
        return [rows[places] for places in plan]

    def _read(self, epoch: int, step: int, rows: Rows) -> Batch:
        del step
        config, bags = self._config, self._bags.bags
        padded = read_batch(
            bags,
            rows,
            sampling=InstanceSampling(config.max_instances, config.seed, epoch),
            n_instances=self._n_instances,
            scale=self._scale,
        )
        return self._make(self._model.pack(padded, bags), rows)


class _LearningModel(keras.Model):
    """The body of a MIL model under the loss of its method."""

    def __init__(self, model: MILModel, bag_loss: Any) -> None:
        super().__init__(inputs=model.body.input, outputs=model.body.output)
        self.aggregator = model.aggregator
        # Of every bag by itself, before any mean.
        self.bag_loss = bag_loss.call

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,  # noqa: FBT001, FBT002 - Keras' signature
    ) -> Any:
        """Average the bags' losses by their weights."""
        del training
        # Some backends pass on the arrays as they came.
        labels, mask, weights = (
            keras.ops.convert_to_tensor(array)
            for array in (y, x["mask"], sample_weight)
        )
        losses = self.aggregator.find_loss(labels, y_pred, mask, self.bag_loss)
        return keras.ops.mean(losses * weights)
