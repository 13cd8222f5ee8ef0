"""What training tells of itself: one row per epoch, and its result."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import pandas as pd

from eosin.settings import Monitor


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

    def rank(self, monitor: Monitor | None) -> tuple[float, ...]:
        """Give what is lower for a better epoch; a tie in the AUC asks the loss.

        Without a monitor, where nothing validated, a later one is better.
        """
        if monitor is None:
            return (-self.epoch,)
        if monitor == "val_loss":
            return (self.val_loss,)
        return -(self.val_roc_auc or 0.0), self.val_loss


HISTORY_COLUMNS = tuple(field.name for field in fields(EpochMetrics))


@dataclass(frozen=True)
class FitResult:
    """What came of one stage.

    Attributes:
        epochs: Every epoch that ran, in order.
        best: The best of them; the last where nothing validated.
        monitor: What picked it. None where nothing validated.
        warnings: What the user should know, as sentences.
    """

    epochs: tuple[EpochMetrics, ...]
    best: EpochMetrics
    monitor: Monitor | None
    warnings: tuple[str, ...]

    @property
    def history(self) -> pd.DataFrame:
        """The epochs as a table with `HISTORY_COLUMNS`; no AUC is NaN."""
        return pd.DataFrame(self.epochs).astype({"val_roc_auc": "float64"})


def find_best(epochs: Sequence[EpochMetrics], monitor: Monitor | None) -> EpochMetrics:
    """Find the best epoch, of equal ones the first."""
    return min(epochs, key=lambda metrics: metrics.rank(monitor))
