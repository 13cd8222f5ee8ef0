"""Training of MIL models on bags."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.bags import Bag, InstanceSampling, plan_batches, read_batch
from eosin.core import ConfigError, ModelError
from eosin.models import MILModel, predict_bags
from eosin.models.dense import Dense
from eosin.models.keras_backend import keras
from eosin.models.mil_layers import SeededDropout
from eosin.models.mil_models import add_clinical
from eosin.settings import BagFit
from eosin.training.batches import Batch, Batches, Validation, score_validation
from eosin.training.freezing import calling_directly, find_resting, frozen
from eosin.training.history import FitResult
from eosin.training.loop import Listeners, run_epochs
from eosin.training.optimisation import build_loss, find_log_probabilities
from eosin.training.training_data import Rows, TrainingBags

ops = keras.ops

Numbers = NDArray[np.float64]


def train_mil(
    model: MILModel,
    bags: TrainingBags,
    config: BagFit,
    listeners: Listeners | None = None,
) -> FitResult:
    """Train a MIL model in place and leave the best epoch's weights in it.

    The model's scaling is set from the training bags, and clinical columns begin with
    what a regression of them says.

    Args:
        model: From `build_mil_model` or `build_pixel_mil_model`.
        bags: The bags and their splits.
        config: The settings.
        listeners: Who hears of it, and where it keeps its state.

    Raises:
        ConfigError: The bags and the settings do not fit the model.
        ManifestError: A bag is too large for the model, or not finite.
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    if (model.n_classes, model.dimension) != (bags.n_classes, bags.n_features):
        raise ConfigError(
            f"the model takes {model.dimension} features and gives {model.n_classes} "
            f"classes, the bags have {bags.n_features} and {bags.n_classes}; build it "
            "for these bags"
        )
    if model.scaling is not None:
        mean, deviation = find_statistics(bags.bags, bags.train_rows)
        model.scaling.set_statistics(mean, deviation, clip=config.clip)
    start_clinical(model, bags)
    resting: Iterable[Any] = ()
    if model.encoder is not None:
        resting = find_resting(
            model.encoder, depth=config.depth, batch_norm=config.batch_norm
        )
    # Frozen before it is compiled: the optimiser takes what can be trained then.
    with frozen(resting), calling_directly(model):
        return run_epochs(BagBatches(model, bags, config), "mil", listeners)


def find_statistics(bags: Sequence[Bag], rows: Rows) -> tuple[Numbers, Numbers]:
    """Find each feature's mean and deviation over all instances of some bags.

    Computed block by block, so that memory is bounded whatever the bags' sizes.
    """
    n_seen = 0
    mean: Numbers = np.zeros(bags[rows[0]].n_features)
    squares = np.zeros_like(mean)
    for row in rows:
        bag = bags[row]
        for block in bag.list_blocks():
            # Merged as Chan et al., 1983, which loses no digits to a large mean.
            features = bag.read(block).astype(np.float64)
            n_new = len(features)
            step = features.mean(axis=0) - mean
            n_seen += n_new
            mean += step * (n_new / n_seen)
            squares += n_new * features.var(axis=0)
            squares += step**2 * (n_new * (n_seen - n_new) / n_seen)
    return mean, np.sqrt(squares / n_seen)


def start_clinical(model: MILModel, bags: TrainingBags) -> None:
    """Begin with what a logistic regression of the training bags' columns says.

    From 0 they would learn next to nothing: features of a few dozen bags soon tell all
    of these apart, and what is told apart gives no gradient. So the columns come
    first, and the features learn what those leave over. The regression weighs classes
    alike and is held back by a normal prior of unit spread on each coefficient, which
    leaves a column without meaning, or a level that no training patient had, near 0.
    """
    from sklearn.linear_model import LogisticRegression

    if model.clinical is None:
        return
    columns = np.stack([model.encode_clinical(bags.bags[i]) for i in bags.train_rows])
    labels = bags.labels[bags.train_rows]
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(columns, labels)
    model.clinical_head.set_weights([regression.coef_.T.astype(np.float32)])


class BagBatches(Batches):
    """Batches of bags for a MIL model that fits them, its scaling set."""

    def __init__(self, model: MILModel, bags: TrainingBags, config: BagFit) -> None:
        loss = build_loss(bags.n_classes, label_smoothing=config.label_smoothing)
        super().__init__(_LEARNING_MODEL(model, loss), bags, config)
        self._model, self._bags, self._config = model, bags, config
        self._scale = model.scale
        self._n_instances = model.n_instances
        if model.takes_pixels and len(set(bags.sizes)) == 1:
            # Padding would be encoded, and be in the statistics of batches.
            self._n_instances = min(config.max_instances, int(bags.sizes[0]))

    def validate(self) -> Validation | None:
        """Score the validation bags, all of their instances; None without any."""
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


class LearningModel(keras.Model):
    """The body of a MIL model under the loss of its method."""

    def __init__(self, model: MILModel, bag_loss: Any) -> None:
        super().__init__(inputs=model.body.input, outputs=model.body.output)
        self.aggregator = model.aggregator
        self.instance_layers = model.projection.layers[1:]
        self.clinical_head = model.clinical_head if model.clinical else None
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
            ops.convert_to_tensor(array) for array in (y, x["mask"], sample_weight)
        )
        losses = self.aggregator.find_loss(labels, y_pred, mask, self.bag_loss)
        return ops.mean(losses * weights)


class TorchLearningModel(LearningModel):
    """The same on PyTorch, by its own steps.

    Keras spends 3 ms a step on what it does around every layer and every step; here
    what is left of them is what computes. Gives the losses that Keras would.
    """

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Train one step; return the loss from before it."""
        inputs = {name: ops.convert_to_tensor(array) for name, array in x.items()}
        loss = self.compute_loss(inputs, y, self._run(inputs), sample_weight)
        variables = self.trainable_variables
        for variable in variables:
            variable.value.grad = None
        loss.backward()
        gradients = [variable.value.grad for variable in variables]
        self.optimizer.apply(gradients, variables)
        return float(loss.item())

    def _run(self, inputs: Any) -> Any:
        """Run the body's layers, without their frame where they are eosin's own."""
        features = inputs["features"]
        for layer in self.instance_layers:
            # On PyTorch these compute in their own precision whoever calls them.
            is_own = isinstance(layer, Dense | SeededDropout)
            features = (layer.call if is_own else layer)(features, training=True)
        outputs = self.aggregator(features, mask=inputs["mask"], training=True)
        if self.clinical_head is None:
            return outputs
        return add_clinical(outputs, self.clinical_head(inputs["clinical"]))


_LEARNING_MODEL = (
    TorchLearningModel if keras.backend.backend() == "torch" else LearningModel
)
