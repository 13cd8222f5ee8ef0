"""The loop over epochs that both stages run."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.core import ConfigError, ModelError, Progress, Task, hash_object
from eosin.models.keras_backend import keras
from eosin.training.checkpoints import (
    Arrays,
    Checkpoint,
    put_arrays,
    read_checkpoint,
    reset_dropout,
    take_arrays,
    write_checkpoint,
)
from eosin.training.config import Monitor, TileTrainingConfig, TrainingConfig
from eosin.training.freezing import moving_less
from eosin.training.history import EpochMetrics, FitResult, find_best
from eosin.training.losses import build_loss, encode_labels, find_class_weights
from eosin.training.mixup import mix_batch
from eosin.training.sampling import count_epoch, draw_epoch, find_shares
from eosin.training.schedules import build_optimiser, find_learning_rate
from eosin.training.sources import TileSource, iter_ahead
from eosin.training.training_tiles import Rows, TrainingTiles
from eosin.training.validation import validate
from eosin.training.weight_averaging import WeightAverage

OnEpoch = Callable[[EpochMetrics], None]


@dataclass(frozen=True)
class Listeners:
    """Who hears of a training, and where it keeps its state.

    Attributes:
        checkpoint: File of the state after each epoch. None keeps none.
        progress: Hears of every step.
        on_epoch: Called after each epoch, once its checkpoint is written.
        on_best: Called after each epoch that is the best so far, before its
            checkpoint is written, while the model holds what validation saw.
    """

    checkpoint: Path | None = None
    progress: Progress | None = None
    on_epoch: OnEpoch | None = None
    on_best: OnEpoch | None = None


def run_epochs(
    model: Any,
    source: TileSource,
    tiles: TrainingTiles,
    config: TileTrainingConfig,
    *,
    stage: str,
    listeners: Listeners,
    learning_rate_factors: Sequence[float] | None = None,
) -> FitResult:
    """Train a model in place and leave the best epoch's weights in it.

    What an epoch does depends only on the weights, the optimiser's state, the
    seed and the epoch's number. So a training that goes on from its checkpoint
    gives, on a CPU, exactly the weights of one that was never interrupted.

    Args:
        model: From what `source` gives to logits.
        source: Where the tiles come from.
        tiles: Which tiles, and their labels.
        config: The settings.
        stage: Name of the stage in the history.
        listeners: Checkpoint file and callbacks.
        learning_rate_factors: One for each of the model's trainable variables. None
            trains all of them alike.

    Raises:
        ConfigError: The source does not hold the tiles, or the settings do not
            fit them.
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    monitor, warnings = _choose_monitor(tiles, config)
    training = _Training(model, source, tiles, config, stage, learning_rate_factors)
    epochs, best = training.resume(listeners.checkpoint)
    with (listeners.progress or Progress()).task(
        f"{stage.replace('_', '-')} steps", config.epochs * training.n_steps
    ) as task:
        task.advance(len(epochs) * training.n_steps)
        while len(epochs) < config.epochs and not _is_over(epochs, monitor, config):
            epochs = (*epochs, training.run_epoch(len(epochs), task))
            if find_best(epochs, monitor) is epochs[-1]:
                best = training.take_weights(epochs[-1], listeners.on_best)
            training.save(listeners.checkpoint, epochs, best)
            if listeners.on_epoch is not None:
                listeners.on_epoch(epochs[-1])
    put_arrays(model.weights, best)
    return FitResult(
        epochs,
        find_best(epochs, monitor),
        monitor,
        stopped_early=len(epochs) < config.epochs,
        warnings=warnings,
    )


@contextmanager
def trying_steps(
    model: Any,
    source: TileSource,
    tiles: TrainingTiles,
    config: TileTrainingConfig,
    *,
    learning_rate_factors: Sequence[float] | None = None,
) -> Iterator[Callable[[float], float]]:
    """Train a model in a block, step by step, and put its weights back.

    Args:
        model: From what `source` gives to logits.
        source: Where the tiles come from.
        tiles: Which tiles, and their labels.
        config: The settings, but for the learning rate and its schedule.
        learning_rate_factors: As of `run_epochs`.

    Yields:
        A function that takes a learning rate, trains one step, and gives the loss
        from before it, which may not be finite.

    Raises:
        ConfigError: The source does not hold the tiles, or the settings do not
            fit them.
    """
    training = _Training(model, source, tiles, config, "trial", learning_rate_factors)
    weights = take_arrays(model.weights)
    try:
        with closing(training.iter_batches()) as batches:
            yield lambda rate: training.train_on(next(batches), rate)
    finally:
        put_arrays(model.weights, weights)


@dataclass(frozen=True, eq=False)
class _Batch:
    """What one step trains on: inputs, and their targets and weights."""

    inputs: NDArray[Any]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]


class _Training:
    """A model with its optimiser, and what an epoch needs."""

    def __init__(
        self,
        model: Any,
        source: TileSource,
        tiles: TrainingTiles,
        config: TileTrainingConfig,
        stage: str,
        learning_rate_factors: Sequence[float] | None = None,
    ) -> None:
        if source.n_tiles != len(tiles.labels):
            raise ConfigError(
                f"the cached or readable tiles ({source.n_tiles}) must be as many as "
                f"the labels ({len(tiles.labels)})"
            )
        self._source, self._tiles, self._config = source, tiles, config
        self._stage = stage
        # A second model over the same layers: compiling the caller's would put
        # this optimiser into whatever it is saved as.
        self._model = keras.Model(model.input, model.output)
        self._optimiser = build_optimiser(config)
        self._model.compile(
            self._optimiser,
            build_loss(tiles.n_classes, label_smoothing=config.label_smoothing),
        )
        self._optimiser.build(self._model.trainable_variables)
        self._factors = learning_rate_factors
        self._average = (
            WeightAverage(self._model.weights, config.ema_decay)
            if config.ema_decay
            else None
        )
        train_labels = tiles.labels[tiles.train_rows]
        self._class_weights = find_class_weights(
            config.class_weights, train_labels, tiles.n_classes
        )
        self._shares = find_shares(
            train_labels,
            tiles.slide_ids[tiles.train_rows],
            balance=config.balance,
            max_repeats=config.max_repeats,
        )
        self.fingerprint = _fingerprint(self._model, source, tiles, config, stage)
        # Equal batches: a last one of a few tiles would weigh as much as a full.
        steps = max(1, round(count_epoch(self._shares) / config.batch))
        self._n_passes = max(1, math.ceil(config.min_steps / (config.epochs * steps)))
        self.n_steps = self._n_passes * steps

    def resume(self, path: Path | None) -> tuple[tuple[EpochMetrics, ...], Arrays]:
        """Take up an interrupted training; return its epochs and best weights."""
        checkpoint = None if path is None else read_checkpoint(path, self.fingerprint)
        if checkpoint is None:
            return (), []
        put_arrays(self._model.weights, checkpoint.weights)
        n_variables = len(self._optimiser.variables)
        put_arrays(self._optimiser.variables, checkpoint.optimiser[:n_variables])
        if self._average is not None:
            self._average.put_state(checkpoint.optimiser[n_variables:])
        return checkpoint.epochs, checkpoint.best

    def save(
        self, path: Path | None, epochs: tuple[EpochMetrics, ...], best: Arrays
    ) -> None:
        if path is None:
            return
        # The average belongs to the steps taken, as the optimiser's own do.
        averages = [] if self._average is None else self._average.take_state()
        write_checkpoint(
            path,
            Checkpoint(
                self.fingerprint,
                epochs,
                take_arrays(self._model.weights),
                take_arrays(self._optimiser.variables) + averages,
                best,
            ),
        )

    def take_weights(self, metrics: EpochMetrics, on_best: OnEpoch | None) -> Arrays:
        """Copy the weights that validation saw, and let somebody look at them."""
        with self._showing_average():
            if on_best is not None:
                on_best(metrics)
            return take_arrays(self._model.weights)

    def run_epoch(self, epoch: int, task: Task) -> EpochMetrics:
        """Train one epoch and validate it."""
        config = self._config
        started = time.perf_counter()
        reset_dropout(self._model, seed=config.seed, epoch=epoch)
        total, n_seen = 0.0, 0
        for step, batch in enumerate(self._iter_epoch(epoch)):
            learning_rate = find_learning_rate(
                epoch * self.n_steps + step,
                config.epochs * self.n_steps,
                peak=config.learning_rate,
                schedule=config.schedule,
            )
            loss = self.train_on(batch, learning_rate)
            if not np.isfinite(loss):
                raise self._describe_divergence(
                    batch.inputs, epoch, step, learning_rate
                )
            n = len(batch.inputs)
            total, n_seen = total + loss * n, n_seen + n
            task.advance(note=f"epoch {epoch + 1} loss {total / n_seen:.4f}")
        with self._showing_average():
            scores = validate(
                self._model, self._source, self._tiles, batch=config.batch
            )
        return EpochMetrics(
            self._stage,
            epoch + 1,
            learning_rate,
            total / n_seen,
            scores.loss,
            scores.roc_auc,
            time.perf_counter() - started,
        )

    def iter_batches(self) -> Generator[_Batch, None, None]:
        """Read the batches of one epoch after the other, without end."""
        for epoch in count():
            reset_dropout(self._model, seed=self._config.seed, epoch=epoch)
            yield from self._iter_epoch(epoch)

    def _iter_epoch(self, epoch: int) -> Iterator[_Batch]:
        """Read an epoch's batches, one ahead."""
        own, seed = self._tiles.train_rows, self._config.seed
        first = epoch * self._n_passes
        passes = range(first, first + self._n_passes)
        rows = np.concatenate(
            [draw_epoch(own, self._shares, seed=seed, epoch=i) for i in passes]
        )

        def read(item: tuple[int, Rows]) -> _Batch:
            step, part = item
            rng = np.random.default_rng((self._config.seed, epoch, step))
            inputs = self._source.read_training(part, rng)
            labels = self._tiles.labels[part]
            targets = encode_labels(labels, self._tiles.n_classes)
            weights = self._class_weights[labels]
            if self._config.mixup == 0:
                return _Batch(inputs, targets, weights)
            alpha = self._config.mixup
            return _Batch(*mix_batch(inputs, targets, weights, alpha=alpha, rng=rng))

        return iter_ahead(read, enumerate(np.array_split(rows, self.n_steps)))

    def train_on(self, batch: _Batch, learning_rate: float) -> float:
        """Train one step; return the loss from before it."""
        self._optimiser.learning_rate = learning_rate
        with self._slowing():
            loss = self._model.train_on_batch(
                batch.inputs, batch.targets, sample_weight=batch.weights
            )
        if self._average is not None:
            self._average.follow()
        return float(loss)

    def _slowing(self) -> AbstractContextManager[None]:
        if self._factors is None:
            return nullcontext()
        return moving_less(self._model.trainable_variables, self._factors)

    def _showing_average(self) -> AbstractContextManager[None]:
        if self._average is None:
            return nullcontext()
        return self._average.swapped_in()

    def _describe_divergence(
        self, inputs: NDArray[Any], epoch: int, step: int, learning_rate: float
    ) -> ModelError:
        place = f"in epoch {epoch + 1}, step {step + 1} of {self.n_steps}"
        if not np.isfinite(inputs).all():
            return ModelError(
                f"the training loss is not finite {place}, because features in this "
                "batch are not; encode the tiles anew"
            )
        return ModelError(
            f"the training loss is not finite {place}, at a learning rate of "
            f"{learning_rate:.2g}; lower --set learning_rate (now "
            f"{self._config.learning_rate:g})"
        )


def _fingerprint(
    model: Any,
    source: TileSource,
    tiles: TrainingTiles,
    config: TrainingConfig,
    stage: str,
) -> str:
    """Hash all that decides what training does, but for the tiles' content."""
    return hash_object(
        {
            "stage": stage,
            "config": asdict(config),
            "weights": [tuple(v.shape) for v in model.weights],
            "trainable": len(model.trainable_variables),
            "labels": tiles.labels.tolist(),
            "slides": [str(name) for name in tiles.slide_ids],
            "rows": [tiles.train_rows.tolist(), tiles.val_rows.tolist()],
            "views": source.n_validation_views,
        }
    )


def _choose_monitor(
    tiles: TrainingTiles, config: TrainingConfig
) -> tuple[Monitor, tuple[str, ...]]:
    """Fall to the loss, and say so, where the AUC has no meaning."""
    missing = tiles.find_missing(tiles.val_rows)
    if not missing or config.monitor == "val_loss":
        return config.monitor, ()
    names = ", ".join(f"'{name}'" for name in missing)
    return "val_loss", (
        f"validation holds no tile of {names}, so that its AUC has no meaning; the "
        "best epoch was chosen by the validation loss instead",
    )


def _is_over(
    epochs: tuple[EpochMetrics, ...], monitor: Monitor, config: TrainingConfig
) -> bool:
    """Say whether patience has run out."""
    if config.patience is None or not epochs:
        return False
    return len(epochs) - find_best(epochs, monitor).epoch >= config.patience
