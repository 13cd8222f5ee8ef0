"""How well a model does on the validation tiles, epoch by epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from eosin.training.losses import find_log_probabilities
from eosin.training.sources import TileSource, iter_ahead
from eosin.training.training_tiles import Rows, TrainingTiles

# Nothing is kept for gradients, so validation can take larger batches.
_BATCH_FACTOR = 2


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


def validate(
    model: Any, source: TileSource, tiles: TrainingTiles, *, batch: int
) -> Validation:
    """Score the validation tiles; several views are averaged as probabilities.

    Args:
        model: From what `source` gives to logits.
        source: Where the tiles come from.
        tiles: Which tiles, and their labels.
        batch: Tiles per training step; validation takes twice as many.
    """
    rows = np.sort(tiles.val_rows)
    log_views = np.stack(
        [
            find_log_probabilities(
                np.concatenate(
                    list(_iter_logits(model, source, rows, view, batch * _BATCH_FACTOR))
                )
            )
            for view in range(source.n_validation_views)
        ]
    )
    log_probabilities = np.logaddexp.reduce(log_views, axis=0) - np.log(len(log_views))
    labels = tiles.labels[rows]
    loss = -log_probabilities[np.arange(len(rows)), labels].mean()
    return Validation(float(loss), _find_roc_auc(labels, log_probabilities))


def _iter_logits(
    model: Any, source: TileSource, rows: Rows, view: int, batch: int
) -> Iterator[NDArray[Any]]:
    batches = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    for inputs in iter_ahead(lambda part: source.read_validation(part, view), batches):
        yield model.predict_on_batch(inputs)


def _find_roc_auc(labels: Rows, log_probabilities: NDArray[np.float64]) -> float | None:
    """Give the AUC, or None where it has no meaning."""
    n_classes = log_probabilities.shape[1]
    if len(np.unique(labels)) < n_classes or not np.isfinite(log_probabilities).all():
        return None
    if n_classes == 2:
        # Differences of logarithms keep the order that saturated probabilities lose.
        scores = log_probabilities[:, 1] - log_probabilities[:, 0]
        return float(roc_auc_score(labels, scores))
    probabilities = np.exp(log_probabilities)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return float(roc_auc_score(labels, probabilities, multi_class="ovr"))
