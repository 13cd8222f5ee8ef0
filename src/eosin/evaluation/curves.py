"""The points of ROC and precision-recall curves."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from eosin.evaluation.intervals import Band

# A curve drawn a hand wide shows no more; a million tiles would make a huge file.
_MOST_POINTS = 500


@dataclass(frozen=True)
class Curve:
    """One class against the rest, at every threshold.

    Attributes:
        class_name: The class that counts as positive.
        x: 1 - specificity of a ROC curve, recall of a precision-recall curve;
            rising, `(points,)`.
        y: Sensitivity, or precision, `(points,)`.
        band: 95 % limits on `intervals.CURVE_GRID`; None where there are none.
        area: ROC AUC, or average precision.
        chance: What guessing reaches: None for a ROC curve, whose diagonal it is,
            or the share of positive rows.
    """

    class_name: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    band: Band | None
    area: float
    chance: float | None = None


def find_roc_curve(
    is_positive: npt.NDArray[np.bool_],
    scores: npt.NDArray[np.float64],
    *,
    class_name: str,
    band: Band | None = None,
) -> Curve | None:
    """Find the ROC curve of one class; None unless both sides have a row.

    Args:
        is_positive: `(rows,)`.
        scores: Probability of the class, `(rows,)`.
        class_name: The class's name.
        band: Limits to keep with the curve.
    """
    if is_positive.all() or not is_positive.any():
        return None
    x, y, _ = sk.roc_curve(is_positive, scores)
    kept = _thin(len(x))
    area = float(sk.roc_auc_score(is_positive, scores))
    return Curve(class_name, x[kept], y[kept], band, area)


def find_precision_curve(
    is_positive: npt.NDArray[np.bool_],
    scores: npt.NDArray[np.float64],
    *,
    class_name: str,
    band: Band | None = None,
) -> Curve | None:
    """Find the precision-recall curve of one class; None without a positive row.

    Args:
        is_positive: `(rows,)`.
        scores: Probability of the class, `(rows,)`.
        class_name: The class's name.
        band: Limits to keep with the curve.
    """
    if not is_positive.any():
        return None
    precision, recall, _ = sk.precision_recall_curve(is_positive, scores)
    # Rising recall. The first point has no rows and a precision of 1 by convention.
    x, y = recall[::-1], precision[::-1]
    kept = _thin(len(x))
    return Curve(
        class_name,
        x[kept],
        y[kept],
        band,
        float(sk.average_precision_score(is_positive, scores)),
        chance=float(is_positive.mean()),
    )


def _thin(n_points: int) -> npt.NDArray[np.int64]:
    """Choose at most 500 points, evenly along the list, both ends among them."""
    n_kept = min(n_points, _MOST_POINTS)
    return np.unique(np.linspace(0, n_points - 1, n_kept).round().astype(np.int64))
