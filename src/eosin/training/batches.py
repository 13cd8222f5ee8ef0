"""What the loop over epochs asks of tiles and of bags alike."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.evaluation import compute_roc_auc
from eosin.settings import Balance, FitSettings
from eosin.training.optimisation import (
    Floats,
    encode_labels,
    find_class_weights,
)
from eosin.training.sources import iter_ahead
from eosin.training.training_data import Rows, TrainingBags, TrainingTiles

# Where epochs differ by a step or two, the schedule counts in parts of an epoch.
_TICKS = 1000


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step trains on.

    `inputs` are as the model takes them, `targets` `(batch, outputs)` as the loss does,
    and `weights` `(batch,)` each one's factor in the loss.
    """

    inputs: Any
    targets: Floats
    weights: Floats


@dataclass(frozen=True)
class Validation:
    """Metrics of one epoch.

    The `loss` is the mean cross entropy, without class weights and label smoothing;
    `roc_auc` that of two classes, or the mean over one against the rest, and None where
    a class is absent from validation.
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

    def describe(self) -> dict[str, Any]:
        """Give what a checkpoint belongs to beside labels, splits and settings."""
        return {}

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


def find_shares(
    labels: NDArray[Any],
    slide_ids: NDArray[Any],
    *,
    balance: Balance,
    max_repeats: float = np.inf,
) -> NDArray[np.float64]:
    """Say how often each row is drawn in an epoch, on average: `(rows,)`, above 0.

    With `class_and_slide` the classes are drawn equally often, and within a class the
    slides. Above `max_repeats` no share goes, and what is cut off is not given to
    others; without cuts the shares sum to the number of rows.
    """
    n = len(labels)
    shares = np.ones(n)
    _, slides = np.unique(slide_ids, return_inverse=True)
    if balance == "class":
        shares = _share_equally(labels, n)
    elif balance == "slide":
        shares = _share_equally(slides, n)
    elif balance == "class_and_slide":
        classes = np.unique(labels)
        for label in classes:
            rows = labels == label
            shares[rows] = _share_equally(slides[rows], n / len(classes))
    return np.minimum(shares, max_repeats)


def draw_epoch(
    rows: Rows, shares: NDArray[np.float64], *, seed: int, epoch: int
) -> Rows:
    """Draw an epoch's rows, in the order in which they are shown.

    Each row is drawn as often as its share says, rounded up or down by chance
    (systematic sampling), so that no tile is missed by bad luck as in independent
    draws. The result depends on nothing but the arguments.
    """
    rng = np.random.default_rng((seed, epoch))
    # Shuffled first, or neighbours in the table would share their luck.
    order = rng.permutation(len(rows))
    n_drawn = count_epoch(shares)
    ends = np.cumsum(shares[order])
    marks = np.floor(ends * (n_drawn / ends[-1]) + rng.random())
    marks[-1] = n_drawn
    counts = np.diff(marks, prepend=0.0).astype(np.int64)
    drawn = np.repeat(rows[order], counts)
    return rng.permutation(drawn)


def count_epoch(shares: NDArray[np.float64]) -> int:
    """Count the rows of an epoch."""
    return max(1, round(float(shares.sum())))


def _share_equally(groups: NDArray[Any], total: float) -> NDArray[np.float64]:
    """Give every group the same part of a total, and its members the same of it."""
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(total / len(sizes) / sizes[members])
