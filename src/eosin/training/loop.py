"""The loop over epochs, for tiles and bags alike."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np

from eosin.core import ModelError, Progress, Task, hash_object
from eosin.models.keras_backend import keras
from eosin.settings import Monitor
from eosin.training.batches import Batch, Batches
from eosin.training.freezing import moving_less
from eosin.training.history import EpochMetrics, FitResult, find_best
from eosin.training.optimisation import build_optimiser, find_learning_rate
from eosin.training.state import (
    Arrays,
    Checkpoint,
    WeightAverage,
    put_arrays,
    read_checkpoint,
    reset_dropout,
    take_arrays,
    write_checkpoint,
)

Epochs = tuple[EpochMetrics, ...]
OnEpoch = Callable[[EpochMetrics], None]


@dataclass(frozen=True)
class Listeners:
    """Who hears of a training, and where it keeps its state.

    Attributes:
        checkpoint: File of the state after each epoch, from which an interrupted
            training goes on. None keeps none.
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
    batches: Batches, stage: str, listeners: Listeners | None = None
) -> FitResult:
    """Train what `batches` are of, and leave the best epoch's weights in it.

    What an epoch does depends only on the weights, the optimiser's state, the
    seed and the epoch's number. So a training that goes on from its checkpoint
    gives, on a CPU, exactly the weights of one that was never interrupted.

    Raises:
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    listeners = listeners or Listeners()
    n_epochs, patience = batches.config.n_epochs, batches.config.patience
    monitor, warnings = _choose_monitor(batches)
    training = _Training(batches, stage)
    epochs, best = training.resume(listeners.checkpoint)
    # A task's last word says what it counts.
    units = "steps" if batches.n_steps else "epochs"
    with (listeners.progress or Progress()).task(
        f"{stage.replace('_', '-')} {units}", n_epochs * (batches.n_steps or 1)
    ) as task:
        task.advance(len(epochs) * (batches.n_steps or 1))
        while len(epochs) < n_epochs and not _is_over(epochs, monitor, patience):
            epochs = (*epochs, training.run_epoch(len(epochs), task))
            if find_best(epochs, monitor) is epochs[-1]:
                best = training.take_best(epochs[-1], listeners.on_best)
            training.save(listeners.checkpoint, epochs, best)
            if batches.n_steps is None:
                task.advance(note=_describe(epochs[-1]))
            if listeners.on_epoch is not None:
                listeners.on_epoch(epochs[-1])
    put_arrays(batches.model.weights, best)
    return FitResult(epochs, find_best(epochs, monitor), monitor, warnings)


@contextmanager
def trying_steps(batches: Batches) -> Iterator[Callable[[float], float]]:
    """Train in a block, step by step, and put the weights back.

    Yields a function that takes a learning rate, trains one step, and gives the loss
    from before it, which may not be finite.
    """
    training = _Training(batches, "trial")
    weights = take_arrays(batches.model.weights)
    try:
        with closing(training.iter_batches()) as endless:
            yield lambda rate: training.train_on(next(endless), rate)
    finally:
        put_arrays(batches.model.weights, weights)


class _Training:
    """A model with its optimiser, and what an epoch needs."""

    def __init__(self, batches: Batches, stage: str) -> None:
        self._batches, self._stage = batches, stage
        self._model, self._config = batches.model, batches.config
        self._optimiser = build_optimiser(self._config)
        self._model.compile(self._optimiser, batches.loss)
        self._optimiser.build(self._model.trainable_variables)
        self._average = (
            WeightAverage(self._model.weights, batches.ema_decay)
            if batches.ema_decay
            else None
        )

    def resume(self, path: Path | None) -> tuple[Epochs, Arrays]:
        """Take up an interrupted training; return its epochs and best weights."""
        checkpoint = None if path is None else read_checkpoint(path, self._fingerprint)
        if checkpoint is None:
            return (), []
        arrays = checkpoint.arrays
        put_arrays(self._model.weights, arrays["weights"])
        put_arrays(self._optimiser.variables, arrays["optimiser"])
        if self._average is not None:
            self._average.put_state(arrays["average"])
        return checkpoint.epochs, arrays["best"]

    def save(self, path: Path | None, epochs: Epochs, best: Arrays) -> None:
        """Write all that the next epoch depends on."""
        if path is None:
            return
        arrays = {
            "weights": take_arrays(self._model.weights),
            "optimiser": take_arrays(self._optimiser.variables),
            "best": best,
        }
        if self._average is not None:
            arrays["average"] = self._average.take_state()
        write_checkpoint(path, Checkpoint(epochs, arrays), self._fingerprint)

    def take_best(self, metrics: EpochMetrics, on_best: OnEpoch | None) -> Arrays:
        """Copy the weights that validation saw, and let somebody look at them."""
        with self._showing_average():
            if on_best is not None:
                on_best(metrics)
            return take_arrays(self._model.weights)

    def run_epoch(self, epoch: int, task: Task) -> EpochMetrics:
        """Train one epoch and validate it."""
        started = time.perf_counter()
        config, batches = self._config, self._batches
        n_ticks = config.n_epochs * batches.n_ticks
        reset_dropout(self._model, seed=config.seed, epoch=epoch)
        total, n_seen = 0.0, 0
        for step, (tick, batch) in enumerate(batches.iter_epoch(epoch)):
            learning_rate = find_learning_rate(
                tick, n_ticks, peak=config.learning_rate, schedule=config.schedule
            )
            loss = self.train_on(batch, learning_rate)
            if not np.isfinite(loss):
                place = f"in epoch {epoch + 1}, step {step + 1}"
                raise self._describe_divergence(batch, place, learning_rate)
            n = len(batch.weights)
            total, n_seen = total + loss * n, n_seen + n
            if batches.n_steps is not None:
                task.advance(note=f"epoch {epoch + 1} loss {total / n_seen:.4f}")
        with self._showing_average():
            scores = batches.validate()
        return EpochMetrics(
            self._stage,
            epoch + 1,
            learning_rate,
            total / n_seen,
            math.nan if scores is None else scores.loss,
            None if scores is None else scores.roc_auc,
            time.perf_counter() - started,
        )

    def iter_batches(self) -> Generator[Batch, None, None]:
        """Read the batches of one epoch after the other, without end."""
        for epoch in count():
            reset_dropout(self._model, seed=self._config.seed, epoch=epoch)
            for _, batch in self._batches.iter_epoch(epoch):
                yield batch

    def train_on(self, batch: Batch, learning_rate: float) -> float:
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
        if self._batches.factors is None:
            return nullcontext()
        return moving_less(self._model.trainable_variables, self._batches.factors)

    def _showing_average(self) -> AbstractContextManager[None]:
        return nullcontext() if self._average is None else self._average.swapped_in()

    def _describe_divergence(
        self, batch: Batch, place: str, learning_rate: float
    ) -> ModelError:
        inputs = keras.tree.flatten(batch.inputs)
        if not all(np.isfinite(np.asarray(array)).all() for array in inputs):
            return ModelError(
                f"the training loss is not finite {place}, because features in this "
                "batch are not; encode the tiles anew"
            )
        return ModelError(
            f"the training loss is not finite {place}, at a learning rate of "
            f"{learning_rate:.2g}; lower --set learning_rate (now "
            f"{self._config.learning_rate:g})"
        )

    @cached_property
    def _fingerprint(self) -> str:
        """Hash all that decides what training does, but for the inputs' content."""
        data = self._batches.data
        return hash_object(
            {
                "stage": self._stage,
                "config": asdict(self._config),
                "weights": [tuple(v.shape) for v in self._model.weights],
                "trainable": len(self._model.trainable_variables),
                "labels": data.labels.tolist(),
                "groups": [str(group) for group in data.groups],
                "rows": [data.train_rows.tolist(), data.val_rows.tolist()],
                **self._batches.describe(),
            }
        )


def _describe(metrics: EpochMetrics) -> str:
    val = "" if math.isnan(metrics.val_loss) else f" val {metrics.val_loss:.4f}"
    return f"loss {metrics.loss:.4f}{val}"


def _choose_monitor(batches: Batches) -> tuple[Monitor | None, tuple[str, ...]]:
    """Fall to the loss, and say so, where the AUC has no meaning."""
    data, monitor = batches.data, batches.config.monitor
    if len(data.val_rows) == 0:
        return None, ()
    names = ", ".join(f"'{name}'" for name in data.find_missing(data.val_rows))
    if not names or monitor == "val_loss":
        return monitor, ()
    return "val_loss", (
        f"validation holds no {data.noun} of {names}, so that its AUC has no meaning; "
        "the best epoch was chosen by the validation loss instead",
    )


def _is_over(epochs: Epochs, monitor: Monitor | None, patience: int | None) -> bool:
    """Say whether patience has run out."""
    if patience is None or monitor is None or not epochs:
        return False
    return len(epochs) - find_best(epochs, monitor).epoch >= patience
