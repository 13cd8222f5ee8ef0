"""Labels that a model's held-out probabilities speak against: confident learning.

Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset
labels" (JAIR 70, 2021): a tile counts as confidently of a class where its probability
reaches the mean probability of the class among the tiles that bear its label. Counted
by label and confident class, the tiles off the diagonal are suspects.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]

# A mean of equal numbers may lie above them by the last digit.
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Suspected label errors, the surest first.

    Attributes:
        rows: The suspects' rows, `(suspects,)`.
        suggested: The class that the model is confident of for each, `(suspects,)`.
        margins: Probability of the suggested class less that of the label, for each;
            the order is by this. May be below 0 where thresholds lie low.
        thresholds: Probability from which a tile counts as confidently of a class,
            `(classes,)`; NaN where no tile bears the label.
        counts: Confident joint: tiles by label (rows) and confident class (columns),
            `(classes, classes)`. Tiles that are confidently of no class are not in it.
        joint: Estimate of the share of all tiles by label (rows) and true class
            (columns); adds up to 1.
    """

    rows: Labels
    suggested: Labels
    margins: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]
    counts: Labels
    joint: npt.NDArray[np.float64]

    @property
    def error_share(self) -> float:
        """Estimated share of labels that are wrong, 0 to 1."""
        return float(max(0.0, 1 - np.trace(self.joint)))


def find_label_errors(labels: Labels, probabilities: Probabilities) -> LabelErrors:
    """Find labels that held-out probabilities speak against.

    A suspect is a tile off the diagonal of the confident joint. Where the
    probabilities come from a model that was trained on the same tiles, there is
    nothing to be found: it has learnt the wrong labels too.

    Args:
        labels: Of each tile, 0 to classes - 1, `(tiles,)`; tiles without a label are
            left out before.
        probabilities: Held-out, `(tiles, classes)`, each row adding up to 1.

    Raises:
        ValueError: The shapes do not fit, or a label is no class.
    """
    _check(labels, probabilities)
    n, n_classes = probabilities.shape
    thresholds = np.array(
        [
            probabilities[labels == k, k].mean() if (labels == k).any() else np.nan
            for k in range(n_classes)
        ]
    )
    confident = find_confident_classes(probabilities, thresholds)
    counts = np.zeros((n_classes, n_classes), np.int64)
    is_known = confident >= 0
    np.add.at(counts, (labels[is_known], confident[is_known]), 1)
    rows = np.flatnonzero(is_known & (confident != labels))
    margins = probabilities[rows, confident[rows]] - probabilities[rows, labels[rows]]
    order = np.lexsort((rows, -margins))
    return LabelErrors(
        rows[order],
        confident[rows][order],
        margins[order],
        thresholds,
        counts,
        _calibrate(counts, np.bincount(labels, minlength=n_classes), n),
    )


def find_confident_classes(
    probabilities: Probabilities, thresholds: npt.NDArray[np.float64]
) -> Labels:
    """Find the class that each tile is confidently of, `(tiles,)`.

    Args:
        probabilities: `(tiles, classes)`.
        thresholds: Of each class, `(classes,)`; no tile is of a class with NaN.

    Returns:
        The most probable of the classes whose threshold is reached; -1 where none is.
    """
    reaches = probabilities >= np.nan_to_num(thresholds, nan=np.inf) - _TOLERANCE
    best = np.where(reaches, probabilities, -1.0).argmax(axis=1)
    return np.where(reaches.any(axis=1), best, -1).astype(np.int64)


def _calibrate(counts: Labels, n_by_label: Labels, n: int) -> npt.NDArray[np.float64]:
    """Bring each label's row of the joint to the share of tiles that bear it."""
    totals = counts.sum(axis=1, keepdims=True)
    # A label of which no tile is confidently anything is taken at its word.
    known = np.where(totals > 0, counts, np.eye(len(counts), dtype=np.int64))
    shares = known / np.maximum(totals, 1)
    return np.asarray(shares * n_by_label[:, None] / n, np.float64)


def _check(labels: Labels, probabilities: Probabilities) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            "probabilities must be (tiles, classes) with a label for each tile, got "
            f"{probabilities.shape} and labels of {labels.shape}"
        )
    n_classes = probabilities.shape[1]
    if not len(labels) or labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"labels must be 0 to {n_classes - 1}, of one tile or more; leave tiles "
            "without a label out"
        )
