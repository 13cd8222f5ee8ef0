"""What the loop over epochs asks of tiles and of bags alike."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.evaluation import compute_roc_auc
from eosin.settings import FitSettings
from eosin.training.optimisation import (
    Floats,
    encode_labels,
    find_class_weights,
)
from eosin.training.sampling import draw_epoch, find_shares
from eosin.training.sources import iter_ahead
from eosin.training.training_data import Rows, TrainingBags, TrainingTiles

# Where epochs differ by a step or two, the schedule counts in parts of an epoch.
_TICKS = 1000


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step trains on.

    Attributes:
        inputs: As the model takes them.
        targets: As the loss takes them, `(batch, outputs)`.
        weights: Each one's factor in the loss, `(batch,)`.
    """

    inputs: Any
    targets: Floats
    weights: Floats


@dataclass(frozen=True)
class Validation:
    """Metrics of one epoch.

    Attributes:
        loss: Mean cross entropy, without class weights and label smoothing.
        roc_auc: Of two classes, or the mean over one against the rest. None
            where a class is absent from validation.
    """

    loss: float
    roc_auc: float | None


class Batches(ABC):
    """What is trained, on which batches, and how well it does.

    A batch depends on nothing but the settings, the data, its epoch and its step.

    Attributes:
        model: What the loop compiles and trains: a model over the layers of the
            caller's, which is not itself compiled, as it would be saved with this
            optimiser.
        data: Labels and splits.
        config: The settings.
        loss: What the model is compiled with. None where it has one of its own.
        n_steps: Steps of every epoch. None where epochs differ by a step or two.
        ema_decay: How slowly the average of the weights follows them. 0 keeps none.
        factors: Of the learning rate, one for each of the model's trainable variables.
            None trains all of them alike.
    """

    loss: Any = None
    n_steps: int | None = None
    ema_decay: float = 0.0
    factors: Sequence[float] | None = None

    def __init__(
        self, model: Any, data: TrainingTiles | TrainingBags, config: FitSettings
    ) -> None:
        self.model, self.data, self.config = model, data, config
        labels = data.labels[data.train_rows]
        self._class_weights = find_class_weights(
            config.class_weights, labels, data.n_classes
        )
        self._shares = find_shares(
            labels,
            data.groups[data.train_rows],
            balance=config.balance,
            max_repeats=config.max_repeats,
        )

    @property
    def n_ticks(self) -> int:
        """Parts into which the schedule of the learning rate divides an epoch."""
        return self.n_steps or _TICKS

    def iter_epoch(self, epoch: int) -> Iterator[tuple[int, Batch]]:
        """Read an epoch's batches, one ahead, with the schedule's tick of each."""
        plan = self._plan(epoch)
        batches = iter_ahead(
            lambda item: self._read(epoch, *item), list(enumerate(plan))
        )
        for step, batch in enumerate(batches):
            # An epoch of as many steps as ticks has whole ones, exactly.
            if self.n_steps:
                yield epoch * self.n_steps + step, batch
            else:
                yield int((epoch + step / len(plan)) * _TICKS), batch

    @abstractmethod
    def validate(self) -> Validation | None:
        """Score the validation rows; None without any."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Give what a checkpoint belongs to beside labels, splits and settings."""

    @abstractmethod
    def _plan(self, epoch: int) -> Sequence[Rows]:
        """List the rows of every batch of an epoch."""

    @abstractmethod
    def _read(self, epoch: int, step: int, rows: Rows) -> Batch:
        """Read a batch, in another thread."""

    def _draw(self, epoch: int) -> Rows:
        """Draw a pass over the training rows."""
        rows, seed = self.data.train_rows, self.config.seed
        return draw_epoch(rows, self._shares, seed=seed, epoch=epoch)

    def _make(self, inputs: Any, rows: Rows) -> Batch:
        labels = self.data.labels[rows]
        targets = encode_labels(labels, self.data.n_classes)
        return Batch(inputs, targets, self._class_weights[labels])


def score_validation(
    labels: Rows, log_probabilities: NDArray[np.float64]
) -> Validation:
    """Compare logarithms of probabilities, `(rows, classes)`, with labels."""
    loss = -log_probabilities[np.arange(len(labels)), labels].mean()
    n_classes = log_probabilities.shape[1]
    if len(np.unique(labels)) < n_classes or not np.isfinite(log_probabilities).all():
        return Validation(float(loss), None)
    if n_classes == 2:
        # Differences of logarithms keep the order that saturated probabilities lose.
        scores = log_probabilities - log_probabilities[:, ::-1]
    else:
        scores = np.exp(log_probabilities)
    return Validation(float(loss), compute_roc_auc(labels, scores))
