"""What training tells of itself: one row per epoch, and its result."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from eosin.settings import Monitor

HISTORY_COLUMNS = (
    "stage",
    "epoch",
    "learning_rate",
    "loss",
    "val_loss",
    "val_roc_auc",
    "seconds",
)


@dataclass(frozen=True)
class EpochMetrics:
    """One row of the history.

    Attributes:
        stage: `head`, `fine_tune` or `mil`.
        epoch: From 1.
        learning_rate: At the epoch's last step.
        loss: Mean training loss, with its weights and smoothing.
        val_loss: Mean cross entropy on validation, without either. NaN where nothing
            validated.
        val_roc_auc: None where a class is absent from validation.
        seconds: Wall time, validation included.
    """

    stage: str
    epoch: int
    learning_rate: float
    loss: float
    val_loss: float
    val_roc_auc: float | None
    seconds: float

    def is_better_than(self, other: "EpochMetrics", monitor: Monitor | None) -> bool:
        """Say whether this epoch beats another; a tie in the AUC asks the loss.

        Without a monitor, where nothing validated, a later one is better.
        """
        if monitor is None:
            return self.epoch > other.epoch
        if monitor == "val_roc_auc":
            mine, theirs = self.val_roc_auc or 0.0, other.val_roc_auc or 0.0
            if mine != theirs:
                return mine > theirs
        return self.val_loss < other.val_loss


@dataclass(frozen=True)
class FitResult:
    """What came of one stage.

    Attributes:
        epochs: Every epoch that ran, in order.
        best: The best of them; the last where nothing validated.
        monitor: What picked it. None where nothing validated.
        stopped_early: Whether patience ran out before the last epoch.
        warnings: What the user should know, as sentences.
        is_best_kept: Whether the model holds the best epoch's weights. False
            where fine-tuning did no better than what it started from, which was
            put back.
    """

    epochs: tuple[EpochMetrics, ...]
    best: EpochMetrics
    monitor: Monitor | None
    stopped_early: bool
    warnings: tuple[str, ...]
    is_best_kept: bool = True

    @property
    def history(self) -> pd.DataFrame:
        """The epochs as a table with `HISTORY_COLUMNS`; no AUC is NaN."""
        table = pd.DataFrame(
            [[getattr(row, name) for name in HISTORY_COLUMNS] for row in self.epochs],
            columns=list(HISTORY_COLUMNS),
        )
        return table.astype({"val_roc_auc": "float64"})


def find_best(epochs: Sequence[EpochMetrics], monitor: Monitor | None) -> EpochMetrics:
    """Find the best epoch, of equal ones the first."""
    best = epochs[0]
    for row in epochs[1:]:
        if row.is_better_than(best, monitor):
            best = row
    return best
