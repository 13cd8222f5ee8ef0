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
        margins: Probability of the suggested class less that of the label; below 0
            where thresholds lie low.
        thresholds: Probability from which a tile counts as confidently of a class,
            `(classes,)`; NaN where no tile bears the label.
        counts: Tiles by label and confident class, `(classes, classes)`.
        joint: Estimated share of all tiles by label and true class; adds up to 1.
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

    Where the probabilities come from a model that was trained on the same tiles,
    there is nothing to be found: it has learnt the wrong labels too.

    Args:
        labels: 0 to classes - 1, `(tiles,)`, of one tile or more.
        probabilities: `(tiles, classes)`, each row adding up to 1.
    """
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
    # Each label's row of the joint is brought to the share of tiles that bear it. A
    # label of which no tile is confidently anything is taken at its word.
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, counts, np.eye(n_classes)) / np.maximum(totals, 1)
    n_by_label = np.bincount(labels, minlength=n_classes)
    return LabelErrors(
        rows[order],
        confident[rows][order],
        margins[order],
        thresholds,
        counts,
        shares * n_by_label[:, None] / n,
    )


def find_confident_classes(
    probabilities: Probabilities, thresholds: npt.NDArray[np.float64]
) -> Labels:
    """Find the most probable class whose threshold each tile reaches; -1 for none.

    No tile is of a class with the threshold NaN.
    """
    reaches = probabilities >= np.nan_to_num(thresholds, nan=np.inf) - _TOLERANCE
    best = np.where(reaches, probabilities, -1.0).argmax(axis=1)
    return np.where(reaches.any(axis=1), best, -1).astype(np.int64)
