"""One class ranked against the rest: areas and curves, for rows or for resamples.

Rows are sorted by their score once; a resample only weights them anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CURVE_GRID: Floats = np.linspace(0, 1, 101)
# Weights of this many rows at a time stay in a processor's cache.
_BLOCK_VALUES = 1 << 18
# A curve drawn a hand wide shows no more; a million tiles would make a huge file.
_MOST_POINTS = 500


@dataclass(frozen=True)
class Ranking:
    """The ranking of one class against the rest, in each resample.

    Attributes:
        roc_auc: `(resamples,)`, NaN where a side has no row.
        average_precision: `(resamples,)`, NaN where there is no positive row.
        sensitivity: On the ROC curve at each point of `CURVE_GRID` taken as
            1 - specificity, `(resamples, grid)`.
        precision: On the precision-recall curve, with the grid taken as recall.
    """

    roc_auc: Floats
    average_precision: Floats
    sensitivity: Floats
    precision: Floats


@dataclass(frozen=True)
class Band:
    """Pointwise 95 % limits of a curve at `CURVE_GRID` on its x axis, `(grid,)`."""

    low: Floats
    high: Floats


@dataclass(frozen=True)
class Curve:
    """One class against the rest, at every threshold.

    Attributes:
        class_name: The class that counts as positive.
        x: 1 - specificity of a ROC curve, recall of a precision-recall curve;
            rising, `(points,)`.
        y: Sensitivity, or precision, `(points,)`.
        band: 95 % limits on `CURVE_GRID`; None where there are none.
        area: ROC AUC, or average precision.
        chance: What guessing reaches: None for a ROC curve, whose diagonal it is,
            or the share of positive rows.
    """

    class_name: str
    x: Floats
    y: Floats
    band: Band | None
    area: float
    chance: float | None = None


def list_ranked(n_classes: int) -> tuple[int, ...]:
    """List the classes scored against the rest: of two the second, else all."""
    return (1,) if n_classes == 2 else tuple(range(n_classes))


def rank_rows(
    is_positive: npt.NDArray[np.bool_], scores: Floats, groups: Ints, counts: Floats
) -> Ranking:
    """Rank one class against the rest in each resample.

    `groups` `(rows,)` numbers each row's group, and `counts` `(resamples, groups)` says
    how often each counts.
    """
    blocks = list(_iter_blocks(is_positive, scores, groups, counts))
    return Ranking(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def compute_roc_auc(labels: Ints, values: Floats) -> float:
    """Compute the area under the ROC curve; every class must have a label.

    With two classes the second is scored, with more each against the rest, and the
    areas are averaged.
    """
    nobody, once = np.zeros(len(labels), np.int64), np.ones((1, 1))
    areas = [
        rank_rows(labels == i, values[:, i], nobody, once).roc_auc[0]
        for i in list_ranked(values.shape[1])
    ]
    return float(np.mean(areas))


def find_curves(
    is_positive: npt.NDArray[np.bool_],
    scores: Floats,
    class_name: str,
    bands: Sequence[Band | None] = (None, None),
) -> tuple[Curve | None, Curve | None]:
    """Find the ROC and the precision-recall curve of one class.

    The ROC curve is None unless both sides have a row; the precision-recall curve
    without a positive row.
    """
    order, ends = _sort(scores)
    hits, taken = _accumulate(is_positive[order], np.ones((1, len(scores))), ends)
    areas = _measure(hits, taken)
    hits, taken = hits[0], taken[0]
    roc = precision = None
    n_negative = taken[-1] - hits[-1]
    if hits[-1] and n_negative:
        # Points on a straight line between their neighbours show nothing.
        turns = np.diff(hits, 2).astype(bool) | np.diff(taken, 2).astype(bool)
        kept = np.flatnonzero(np.concatenate([[True], turns, [True]]))
        kept = kept[_thin(len(kept))]
        x, y = (taken - hits)[kept] / n_negative, hits[kept] / hits[-1]
        roc = Curve(class_name, x, y, bands[0], float(areas[0][0]))
    if hits[-1]:
        kept = _thin(len(hits))
        precision = Curve(
            class_name,
            (hits / hits[-1])[kept],
            _find_precision(hits, taken)[kept],
            bands[1],
            float(areas[1][0]),
            chance=float(is_positive.mean()),
        )
    return roc, precision


def _sort(scores: Floats) -> tuple[Ints, Ints]:
    """Order rows by falling score, and find where in this order a score ends."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    # Rows of one score enter together: a curve's points are where the score changes.
    return order, np.flatnonzero(np.append(falling[1:] != falling[:-1], True))


def _accumulate(
    is_positive: npt.NDArray[np.bool_], weights: Floats, ends: Ints
) -> tuple[Floats, Floats]:
    """Count positive rows and all rows from the highest score on, from none to all."""
    start = np.zeros((len(weights), 1))
    hits = np.cumsum(weights * is_positive, axis=1)[:, ends]
    taken = np.cumsum(weights, axis=1)[:, ends]
    return (
        np.concatenate([start, hits], axis=1),
        np.concatenate([start, taken], axis=1),
    )


def _iter_blocks(
    is_positive: npt.NDArray[np.bool_], scores: Floats, groups: Ints, counts: Floats
) -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
    order, ends = _sort(scores)
    groups, is_positive = groups[order], is_positive[order]
    size = max(1, _BLOCK_VALUES // len(scores))
    for start in range(0, len(counts), size):
        weights = counts[start : start + size][:, groups]
        hits, taken = _accumulate(is_positive, weights, ends)
        areas = _measure(hits, taken)
        yield *areas, *_interpolate(hits, taken, np.isfinite(areas[0]))


def _measure(hits: Floats, taken: Floats) -> tuple[Floats, Floats]:
    """Take ROC AUC and average precision from running counts."""
    false = taken - hits
    n_positive, n_negative = hits[:, -1], false[:, -1]
    steps = np.diff(hits, axis=1)
    below = n_negative[:, None] - false
    # Of each negative row's pairs, those with an equal score count half.
    pairs = (steps * (below[:, 1:] + below[:, :-1])).sum(axis=1) / 2
    precision = _find_precision(hits, taken)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            pairs / (n_positive * n_negative),
            (steps * precision[:, 1:]).sum(axis=1) / n_positive,
        )


def _find_precision(hits: Floats, taken: Floats) -> Floats:
    """Divide running counts; where no row was taken it is 1 by convention."""
    return np.divide(hits, taken, out=np.ones_like(hits), where=taken > 0)


def _interpolate(
    hits: Floats, taken: Floats, is_defined: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Take both curves at the grid, NaN where a side has no row."""
    sensitivity = np.full((len(hits), len(CURVE_GRID)), np.nan)
    precision = sensitivity.copy()
    for i in np.flatnonzero(is_defined):
        recall = hits[i] / hits[i, -1]
        false = taken[i] - hits[i]
        sensitivity[i] = np.interp(CURVE_GRID, false / false[-1], recall)
        first = np.maximum(np.searchsorted(recall, CURVE_GRID - 1e-12), 1)
        precision[i] = _find_precision(hits[i, first], taken[i, first])
    return sensitivity, precision


def _thin(n_points: int) -> Ints:
    """Choose at most 500 points, evenly along the list, both ends among them."""
    n_kept = min(n_points, _MOST_POINTS)
    return np.unique(np.linspace(0, n_points - 1, n_kept).round().astype(np.int64))
