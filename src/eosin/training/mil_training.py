"""Training of MIL models on bags."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from eosin.bags import InstanceSampling, PaddedBatch, plan_batches, read_batch
from eosin.core import ConfigError, ModelError, Progress, Task, hash_object
from eosin.models import MILModel
from eosin.models.keras_backend import keras
from eosin.models.tile_encoding import find_early_layers
from eosin.training.bag_data import TrainingBags, find_statistics
from eosin.training.bag_validation import validate_bags
from eosin.training.checkpoints import (
    Arrays,
    Checkpoint,
    put_arrays,
    read_checkpoint,
    reset_dropout,
    take_arrays,
    write_checkpoint,
)
from eosin.training.clinical_start import start_clinical
from eosin.training.config import (
    Balance,
    ClassWeights,
    Monitor,
    Optimiser,
    TrainingConfig,
)
from eosin.training.freezing import find_batch_norms, frozen
from eosin.training.history import EpochMetrics, find_best, tabulate
from eosin.training.loop import OnEpoch
from eosin.training.losses import (
    build_loss,
    encode_labels,
    find_class_weights,
)
from eosin.training.sampling import draw_epoch, find_shares
from eosin.training.schedules import build_optimiser, find_learning_rate
from eosin.training.sources import iter_ahead

_STAGE = "mil"
# The schedule counts in parts of an epoch, as epochs differ by a step or two.
_TICKS = 1000


@dataclass(frozen=True, kw_only=True)
class MILConfig(TrainingConfig):
    """How a MIL model is trained; what `TrainingConfig` says of tiles is of bags.

    Attributes:
        batch: Bags per step at most, 1 or more.
        balance: As in `TrainingConfig`, with patients for slides.
        max_instances: Instances of a bag that one step sees at most, 1 or more,
            drawn anew in every epoch. Validation sees all of them.
        max_padded: Instances per step at most, padding included; bounds its memory.
        batch_norm: Of a model that takes pixels: `frozen` keeps the statistics of its
            encoder's batch normalisation as a pretrained one has them.
        depth: Of a model that takes pixels: whether all of its encoder is trained, or
            its last block, which takes a fraction of the memory.
        clip: How many deviations from the training bags' mean a feature may lie,
            above 0; what lies further out is moved there, so that a few outliers
            do not decide. None has no limit.
    """

    epochs: int = 50
    batch: int = 16
    learning_rate: float = 5e-4
    optimiser: Optimiser = "adamw"
    weight_decay: float = 1e-2
    class_weights: ClassWeights = "balanced"
    balance: Balance = "none"
    patience: int | None = 10
    max_instances: int = 4096
    max_padded: int = 1 << 16
    batch_norm: Literal["frozen", "trained"] = "trained"
    depth: Literal["last", "all"] = "all"
    clip: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.max_instances, self.max_padded) < 1:
            raise ConfigError(
                "max_instances and max_padded must be 1 or more, got "
                f"{self.max_instances} and {self.max_padded}"
            )
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"clip must be above 0, or none, got {self.clip}")


@dataclass(frozen=True)
class MILFitResult:
    """What came of a training.

    Attributes:
        epochs: Every epoch that ran, in order; their validation loss is NaN
            where nothing validated.
        best: The epoch whose weights were kept.
        monitor: What picked it. None where nothing validated and the last epoch
            was kept.
        stopped_early: Whether patience ran out before the last epoch.
        warnings: What the user should know, as sentences.
    """

    epochs: tuple[EpochMetrics, ...]
    best: EpochMetrics
    monitor: Monitor | None
    stopped_early: bool
    warnings: tuple[str, ...]

    @property
    def history(self) -> pd.DataFrame:
        """The epochs as a table with `HISTORY_COLUMNS`."""
        return tabulate(self.epochs)


def train_mil(
    model: MILModel,
    bags: TrainingBags,
    config: MILConfig,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
) -> MILFitResult:
    """Train a MIL model in place and leave the best epoch's weights in it.

    The model's scaling is set from the training bags. What an epoch does depends
    only on the weights, the optimiser's state, the seed and the epoch's number,
    so that a training that goes on from its checkpoint gives, on a CPU, exactly
    the weights of one that was never interrupted.

    Args:
        model: From `build_mil_model` or `build_pixel_mil_model`.
        bags: The bags and their splits.
        config: The settings.
        checkpoint: File of each epoch's state, from which an interrupted training
            goes on.
        progress: Hears of every epoch.
        on_epoch: Called after each epoch, once its checkpoint is written.

    Raises:
        ConfigError: The bags and the settings do not fit the model.
        ManifestError: A bag is too large for the model, or not finite.
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    _check_fit(model, bags)
    monitor, warnings = _choose_monitor(bags, config)
    if model.scaling is not None:
        mean, deviation = find_statistics(bags.bags, bags.train_rows)
        model.scaling.set_statistics(mean, deviation, clip=config.clip)
    start_clinical(model, bags)
    # Frozen before it is compiled: the optimiser takes what can be trained then.
    with frozen(_find_resting(model, config)):
        training = _MILTraining(model, bags, config)
        epochs, best = training.resume(checkpoint)
        with (progress or Progress()).task("mil epochs", config.epochs) as task:
            task.advance(len(epochs))
            while len(epochs) < config.epochs and not _is_over(epochs, monitor, config):
                epochs = (*epochs, training.run_epoch(len(epochs)))
                if _find_kept(epochs, monitor) is epochs[-1]:
                    best = take_arrays(model.weights)
                training.save(checkpoint, epochs, best)
                _tell(task, epochs[-1])
                if on_epoch is not None:
                    on_epoch(epochs[-1])
        put_arrays(model.weights, best)
    return MILFitResult(
        epochs,
        _find_kept(epochs, monitor),
        monitor,
        stopped_early=len(epochs) < config.epochs,
        warnings=warnings,
    )


class _LearningModel(keras.Model):
    """The body of a MIL model under the loss of its method.

    A second model over the same layers: compiling the caller's would put this
    optimiser into whatever it is saved as.
    """

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


class _MILTraining:
    """A model with its optimiser, and what an epoch needs."""

    def __init__(self, model: MILModel, bags: TrainingBags, config: MILConfig) -> None:
        self._caller, self._bags, self._config = model, bags, config
        self._scale = model.scale
        loss = build_loss(bags.n_classes, label_smoothing=config.label_smoothing)
        self._model = _LearningModel(model, loss)
        self._optimiser = build_optimiser(config)
        self._model.compile(self._optimiser)
        self._optimiser.build(self._model.trainable_variables)
        labels = bags.labels[bags.train_rows]
        self._class_weights = find_class_weights(
            config.class_weights, labels, bags.n_classes
        )
        self._shares = find_shares(
            labels,
            bags.groups[bags.train_rows],
            balance=config.balance,
            max_repeats=config.max_repeats,
        )
        self._n_instances = model.n_instances
        if model.takes_pixels and len(set(bags.sizes)) == 1:
            # Padding would be encoded, and be in the statistics of batches.
            self._n_instances = min(config.max_instances, int(bags.sizes[0]))
        self._fingerprint = _fingerprint(model, bags, config)

    def resume(self, path: Path | None) -> tuple[tuple[EpochMetrics, ...], Arrays]:
        """Take up an interrupted training; return its epochs and best weights."""
        checkpoint = None if path is None else read_checkpoint(path, self._fingerprint)
        if checkpoint is None:
            return (), []
        put_arrays(self._model.weights, checkpoint.weights)
        put_arrays(self._optimiser.variables, checkpoint.optimiser)
        return checkpoint.epochs, checkpoint.best

    def save(
        self, path: Path | None, epochs: tuple[EpochMetrics, ...], best: Arrays
    ) -> None:
        if path is None:
            return
        weights = take_arrays(self._model.weights)
        optimiser = take_arrays(self._optimiser.variables)
        write_checkpoint(
            path, Checkpoint(self._fingerprint, epochs, weights, optimiser, best)
        )

    def run_epoch(self, epoch: int) -> EpochMetrics:
        """Train one epoch and validate it."""
        started = time.perf_counter()
        reset_dropout(self._model, seed=self._config.seed, epoch=epoch)
        total, n_seen = 0.0, 0
        for share, batch in self._iter_batches(epoch):
            learning_rate = find_learning_rate(
                int((epoch + share) * _TICKS),
                self._config.epochs * _TICKS,
                peak=self._config.learning_rate,
                schedule=self._config.schedule,
            )
            self._optimiser.learning_rate = learning_rate
            loss = self._train_on(batch)
            if not np.isfinite(loss):
                raise ModelError(
                    f"the training loss is not finite in epoch {epoch + 1}, at a "
                    f"learning rate of {learning_rate:.2g}; lower --set learning_rate "
                    f"(now {self._config.learning_rate:g})"
                )
            total, n_seen = total + loss * len(batch.rows), n_seen + len(batch.rows)
        scores = validate_bags(self._caller, self._bags)
        return EpochMetrics(
            _STAGE,
            epoch + 1,
            learning_rate,
            total / n_seen,
            math.nan if scores is None else scores.loss,
            None if scores is None else scores.roc_auc,
            time.perf_counter() - started,
        )

    def _iter_batches(self, epoch: int) -> Iterator[tuple[float, PaddedBatch]]:
        """Read an epoch's batches, one ahead, with the share of it that went by."""
        config, bags = self._config, self._bags
        rows = draw_epoch(bags.train_rows, self._shares, seed=config.seed, epoch=epoch)
        plan = plan_batches(
            np.minimum(bags.sizes[rows], config.max_instances).tolist(),
            batch=config.batch,
            max_padded=config.max_padded,
            rng=np.random.default_rng((config.seed, epoch, 1)),
        )
        sampling = InstanceSampling(config.max_instances, config.seed, epoch)

        def read(item: tuple[int, Any]) -> tuple[float, PaddedBatch]:
            step, places = item
            batch = read_batch(
                bags.bags,
                rows[places],
                sampling=sampling,
                n_instances=self._n_instances,
                scale=self._scale,
            )
            return step / len(plan), batch

        return iter_ahead(read, enumerate(plan))

    def _train_on(self, batch: PaddedBatch) -> float:
        labels = self._bags.labels[batch.rows]
        return float(
            self._model.train_on_batch(
                self._caller.pack(batch, self._bags.bags),
                encode_labels(labels, self._bags.n_classes),
                sample_weight=self._class_weights[labels],
            )
        )


def _find_resting(model: MILModel, config: MILConfig) -> list[Any]:
    """List the layers of a model's encoder that are not trained."""
    if model.encoder is None:
        return []
    resting = find_batch_norms(model.encoder) if config.batch_norm == "frozen" else []
    return resting + (
        find_early_layers(model.encoder) if config.depth == "last" else []
    )


def _check_fit(model: MILModel, bags: TrainingBags) -> None:
    if (model.n_classes, model.dimension) != (bags.n_classes, bags.n_features):
        raise ConfigError(
            f"the model takes {model.dimension} features and gives {model.n_classes} "
            f"classes, the bags have {bags.n_features} and {bags.n_classes}; build it "
            "for these bags"
        )


def _choose_monitor(
    bags: TrainingBags, config: MILConfig
) -> tuple[Monitor | None, tuple[str, ...]]:
    """Fall to the loss, and say so, where the AUC has no meaning."""
    if len(bags.val_rows) == 0:
        return None, ()
    names = ", ".join(f"'{name}'" for name in bags.find_missing(bags.val_rows))
    if not names or config.monitor == "val_loss":
        return config.monitor, ()
    return "val_loss", (
        f"validation holds no bag of {names}, so that its AUC has no meaning; the "
        "best epoch was chosen by the validation loss instead",
    )


def _find_kept(
    epochs: tuple[EpochMetrics, ...], monitor: Monitor | None
) -> EpochMetrics:
    """Find the epoch to keep: the best, or the last where nothing validated."""
    return epochs[-1] if monitor is None else find_best(epochs, monitor)


def _is_over(
    epochs: tuple[EpochMetrics, ...], monitor: Monitor | None, config: MILConfig
) -> bool:
    """Say whether patience has run out."""
    if config.patience is None or monitor is None or not epochs:
        return False
    return len(epochs) - find_best(epochs, monitor).epoch >= config.patience


def _tell(task: Task, metrics: EpochMetrics) -> None:
    has_val = not math.isnan(metrics.val_loss)
    val = f" val {metrics.val_loss:.4f}" if has_val else ""
    task.advance(note=f"loss {metrics.loss:.4f}{val}")


def _fingerprint(model: MILModel, bags: TrainingBags, config: MILConfig) -> str:
    """Hash all that decides what training does, but for the features' content."""
    return hash_object(
        {
            "stage": _STAGE,
            # Before 2 the weights of clinical columns stood for others.
            "format": 2,
            "config": asdict(config),
            "model": model.get_config(),
            "bags": [bag.bag_id for bag in bags.bags],
            "sizes": bags.sizes.tolist(),
            "clinical": [model.encode_clinical(b).tolist() for b in bags.bags],
            "labels": bags.labels.tolist(),
            "groups": bags.groups.tolist(),
            "rows": [bags.train_rows.tolist(), bags.val_rows.tolist()],
        }
    )
