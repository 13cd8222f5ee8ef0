"""Every metric of many resamples of patients at once.

A resample draws patients with replacement, so it is a count for each patient.
Most metrics follow from sums over a patient's rows, and a resample's sums are
then the product of its counts with the patients' sums. The ranking metrics need
the rows in order of their score, but are sorted once and only weighted anew.
`metrics.compute_metrics` on rows repeated by these counts gives the same values.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from eosin.evaluation.calibration import N_BINS, assign_bins, split_outcome
from eosin.evaluation.metrics import Threshold, call_classes

Floats = npt.NDArray[np.float64]

# Weights of this many rows at a time stay in a processor's cache.
_BLOCK_VALUES = 1 << 18
# Counts held at a time: 32 MiB.
_BLOCK_COUNTS = 1 << 22


@dataclass(frozen=True)
class ResampledRanking:
    """The ranking of one class against the rest, in each resample.

    Attributes:
        roc_auc: `(resamples,)`, NaN where a side has no row.
        average_precision: `(resamples,)`, NaN where there is no positive row.
        sensitivity: On the ROC curve at each point of the grid taken as
            1 - specificity, `(resamples, grid)`.
        precision: On the precision-recall curve at each point of the grid taken
            as recall, `(resamples, grid)`.
    """

    roc_auc: Floats
    average_precision: Floats
    sensitivity: Floats
    precision: Floats


def iter_resamples(n_patients: int, n_resamples: int, seed: int) -> Iterator[Floats]:
    """Draw how often each patient is in each resample, `(resamples, patients)`.

    Yields:
        Some of the resamples at a time, so that 200,000 tiles without a patient id
        do not fill the memory.
    """
    rng = np.random.default_rng(seed)
    size = max(1, _BLOCK_COUNTS // n_patients)
    for start in range(0, n_resamples, size):
        n = min(size, n_resamples - start)
        drawn = rng.integers(n_patients, size=(n, n_patients))
        drawn += n_patients * np.arange(n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * n_patients)
        yield counts.reshape(n, n_patients).astype(np.float64)


def resample_study(
    labels: npt.NDArray[np.int64],
    probabilities: Floats,
    patients: npt.NDArray[np.int64],
    resamples: Iterable[Floats],
    *,
    threshold: Threshold,
    grid: Floats,
) -> tuple[dict[str, Floats], list[ResampledRanking]]:
    """Compute every metric, and the ranking of every class, in each resample.

    Args:
        labels: `(rows,)`.
        probabilities: `(rows, classes)`.
        patients: Number of each row's patient, `(rows,)`.
        resamples: Counts of patients, from `iter_resamples`.
        threshold: On the probability of class 1; None with more than two classes.
        grid: As for `resample_ranking`.

    Returns:
        The metrics by name, `(resamples,)` each, and a ranking for class 1 of two,
        or for each of more.
    """
    n_classes = probabilities.shape[1]
    scored = [1] if n_classes == 2 else range(n_classes)
    metrics: list[dict[str, Floats]] = []
    rankings: list[list[ResampledRanking]] = [[] for _ in scored]
    for counts in resamples:
        metrics.append(
            resample_metrics(
                labels, probabilities, patients, counts, threshold=threshold
            )
        )
        for parts, i in zip(rankings, scored, strict=True):
            scores = probabilities[:, i]
            parts.append(resample_ranking(labels == i, scores, patients, counts, grid))
    joined = [
        ResampledRanking(*_join([astuple(part) for part in parts]))
        for parts in rankings
    ]
    values = {
        name: np.concatenate([part[name] for part in metrics]) for name in metrics[0]
    }
    values["roc_auc"] = np.mean([r.roc_auc for r in joined], axis=0)
    values["average_precision"] = np.mean([r.average_precision for r in joined], axis=0)
    return values, joined


def resample_metrics(
    labels: npt.NDArray[np.int64],
    probabilities: Floats,
    patients: npt.NDArray[np.int64],
    counts: Floats,
    *,
    threshold: Threshold,
) -> dict[str, Floats]:
    """Compute the metrics that need no ranking, in each resample.

    Args:
        labels: `(rows,)`.
        probabilities: `(rows, classes)`.
        patients: Number of each row's patient, `(rows,)`.
        counts: `(resamples, patients)`.
        threshold: On the probability of class 1; None with more than two classes.

    Returns:
        By metric name, `(resamples,)`; NaN where a resample leaves it undefined.
    """
    n_classes = probabilities.shape[1]
    called = call_classes(probabilities, threshold)
    cells = _sum_by_patient(patients, counts, labels * n_classes + called, n_classes**2)
    confusion = (counts @ cells).reshape(-1, n_classes, n_classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            **_rate_calls(confusion),
            "brier": _resample_brier(labels, probabilities, patients, counts),
            "ece": _resample_ece(labels, probabilities, patients, counts),
        }


def resample_ranking(
    is_positive: npt.NDArray[np.bool_],
    scores: Floats,
    patients: npt.NDArray[np.int64],
    counts: Floats,
    grid: Floats,
) -> ResampledRanking:
    """Rank one class against the rest in each resample.

    Args:
        is_positive: `(rows,)`.
        scores: Probability of the class, `(rows,)`.
        patients: Number of each row's patient, `(rows,)`.
        counts: `(resamples, patients)`.
        grid: Rising points from 0 to 1 at which the curves are taken.
    """
    blocks = _rank_blocks(is_positive, scores, patients, counts, grid)
    return ResampledRanking(*_join(list(blocks)))


def _join(parts: Sequence[tuple[Floats, ...]]) -> list[Floats]:
    """Put arrays of the same place after each other."""
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _rank_blocks(
    is_positive: npt.NDArray[np.bool_],
    scores: Floats,
    patients: npt.NDArray[np.int64],
    counts: Floats,
    grid: Floats,
) -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order]
    # Rows of one score enter together: a curve's points are where the score changes.
    ends = np.flatnonzero(np.append(sorted_scores[1:] != sorted_scores[:-1], True))
    patients, is_positive = patients[order], is_positive[order].astype(np.float64)
    size = max(1, _BLOCK_VALUES // len(scores))
    for start in range(0, len(counts), size):
        weights = counts[start : start + size][:, patients]
        hits = np.cumsum(weights * is_positive, axis=1)[:, ends]
        taken = np.cumsum(weights, axis=1)[:, ends]
        with np.errstate(invalid="ignore", divide="ignore"):
            yield _rank(hits, taken, grid)


def _rank(
    hits: Floats, taken: Floats, grid: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Take the areas and the curves from running counts, `(resamples, points)`."""
    zero = np.zeros((len(hits), 1))
    hits = np.concatenate([zero, hits], axis=1)
    taken = np.concatenate([zero, taken], axis=1)
    false = taken - hits
    n_positive, n_negative = hits[:, -1:], false[:, -1:]
    steps = np.diff(hits, axis=1)
    below = n_negative - false
    # Of each negative row's pairs, those with an equal score count half.
    pairs = (steps * (below[:, 1:] + below[:, :-1])).sum(axis=1) / 2
    auc = pairs / (n_positive * n_negative)[:, 0]
    precision = np.divide(hits, taken, out=np.ones_like(hits), where=taken > 0)
    average_precision = (steps * precision[:, 1:]).sum(axis=1) / n_positive[:, 0]
    recall = hits / n_positive
    false_rate = false / n_negative
    sensitivity_at = np.full((len(hits), len(grid)), np.nan)
    precision_at = sensitivity_at.copy()
    for i in range(len(hits)):
        if np.isfinite(auc[i]):
            sensitivity_at[i] = np.interp(grid, false_rate[i], recall[i])
            first = np.searchsorted(recall[i], grid - 1e-12)
            precision_at[i] = precision[i, np.maximum(first, 1)]
    return auc, average_precision, sensitivity_at, precision_at


def _rate_calls(confusion: Floats) -> dict[str, Floats]:
    """Compute the metrics of called classes from `(resamples, label, called)`."""
    total = confusion.sum(axis=(1, 2))
    right = np.diagonal(confusion, axis1=1, axis2=2)
    n_label, n_called = confusion.sum(axis=2), confusion.sum(axis=1)
    recall = right / n_label
    f1 = 2 * right / (n_label + n_called)
    n_other = total[:, None] - n_label
    specificity = 1 - (n_called - right) / n_other
    is_binary = confusion.shape[1] == 2
    return {
        "accuracy": right.sum(axis=1) / total,
        "balanced_accuracy": recall.mean(axis=1),
        "f1": f1[:, 1] if is_binary else f1.mean(axis=1),
        "sensitivity": recall[:, 1] if is_binary else recall.mean(axis=1),
        "specificity": specificity[:, 1] if is_binary else specificity.mean(axis=1),
    }


def _resample_brier(
    labels: npt.NDArray[np.int64],
    probabilities: Floats,
    patients: npt.NDArray[np.int64],
    counts: Floats,
) -> Floats:
    if probabilities.shape[1] == 2:
        errors = (probabilities[:, 1] - labels) ** 2
    else:
        is_class = np.eye(probabilities.shape[1])[labels]
        errors = ((probabilities - is_class) ** 2).sum(axis=1)
    n_patients = counts.shape[1]
    by_patient = np.bincount(patients, weights=errors, minlength=n_patients)
    rows = np.bincount(patients, minlength=n_patients)
    return np.asarray((counts @ by_patient) / (counts @ rows))


def _resample_ece(
    labels: npt.NDArray[np.int64],
    probabilities: Floats,
    patients: npt.NDArray[np.int64],
    counts: Floats,
) -> Floats:
    probability, outcome = split_outcome(labels, probabilities)
    bins = assign_bins(probability)
    # Within a bin, rows times |mean probability - observed share| is |sum of gaps|.
    gaps = _sum_by_patient(patients, counts, bins, N_BINS, probability - outcome)
    rows = np.bincount(patients, minlength=counts.shape[1])
    return np.asarray(np.abs(counts @ gaps).sum(axis=1) / (counts @ rows))


def _sum_by_patient(
    patients: npt.NDArray[np.int64],
    counts: Floats,
    cells: npt.NDArray[np.int64],
    n_cells: int,
    weights: Floats | None = None,
) -> Floats:
    """Sum rows by patient and cell, `(patients, cells)`."""
    n_patients = counts.shape[1]
    index = patients * n_cells + cells
    sums = np.bincount(index, weights=weights, minlength=n_patients * n_cells)
    return sums.reshape(n_patients, n_cells).astype(np.float64)
