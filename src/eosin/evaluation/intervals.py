"""95 % intervals by bootstrap over patients.

Tiles of one slide, and slides of one patient, resemble each other, so that the
number of patients, not of tiles, says how much was seen. Patients are drawn with
replacement with all their rows, and an interval lies between two percentiles of
the resampled metric. Resamples in which a metric is undefined, such as an AUC
without a tumour, are left out and counted.

The 2.5th and the 97.5th percentile are right for many patients and too narrow for
few, as a normal interval is where Student's is needed. The percentiles are
therefore moved outwards by the ratio of the two: Hesterberg, What teachers should
know about the bootstrap, The American Statistician 69 (2015), 371-386, "expanded
percentile". With 10 patients they are the 0.9th and 99.1st, with 40 the 2.0th and
98.0th. Below about 20 patients even these hold the truth in fewer than 95 % of
studies, because all resamples share the patients that were not met.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from eosin.evaluation.calibration import expected_calibration_error
from eosin.evaluation.metrics import METRIC_NAMES, Threshold, check_scores
from eosin.evaluation.resampling import Floats, iter_resamples, resample_study

CONFIDENCE = 0.95
CURVE_GRID: Floats = np.linspace(0, 1, 101)
# Of fewer resamples the outer 2.5 % say little.
_LEAST_DEFINED_SHARE = 0.5


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of one metric.

    Attributes:
        low: Lower end; None where there is no interval.
        high: Upper end; None where there is no interval.
        n_defined: Resamples in which the metric was defined.
        reason: Why there is no interval; None where there is one.
    """

    low: float | None
    high: float | None
    n_defined: int
    reason: str | None = None


@dataclass(frozen=True)
class Band:
    """Pointwise 95 % limits of a curve, at `CURVE_GRID` on its x axis.

    Attributes:
        low: Lower limits, `(grid,)`.
        high: Upper limits, `(grid,)`.
    """

    low: Floats
    high: Floats


@dataclass(frozen=True)
class Bootstrap:
    """What resampling the patients says about one level.

    Attributes:
        intervals: By metric name.
        roc_bands: Limits of the ROC curve by class (one with two classes, that of
            class 1); None where a class's curve has no interval.
        precision_bands: Limits of the precision-recall curve, likewise.
        n_patients: Patients that were drawn from.
        n_resamples: Resamples drawn.
    """

    intervals: dict[str, Interval]
    roc_bands: tuple[Band | None, ...]
    precision_bands: tuple[Band | None, ...]
    n_patients: int
    n_resamples: int


def bootstrap_metrics(
    labels: npt.NDArray[np.int64],
    probabilities: Floats,
    patients: Sequence[str] | npt.NDArray[np.object_],
    *,
    threshold: Threshold,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Compute the interval of every metric by resampling patients.

    Args:
        labels: `(rows,)`, 0 to classes - 1.
        probabilities: `(rows, classes)`.
        patients: Patient of each row, `(rows,)`.
        threshold: On the probability of class 1; None with more than two classes.
        n_bootstrap: Number of resamples; 0 gives no intervals.
        seed: Decides which resamples are drawn.

    Raises:
        ValueError: The arrays do not fit together, or `n_bootstrap` is negative.
    """
    check_scores(labels, probabilities, threshold)
    if len(patients) != len(labels):
        raise ValueError(
            f"each row needs its patient, got {len(patients)} for {len(labels)} rows"
        )
    if n_bootstrap < 0:
        raise ValueError(f"n_bootstrap must be 0 or more, got {n_bootstrap}")
    names, codes = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if len(names) < 2 or n_bootstrap == 0:
        reason = (
            "no resamples were asked for"
            if n_bootstrap == 0
            else "one patient cannot show how patients differ"
        )
        n_classes = probabilities.shape[1]
        nothing = (None,) * (1 if n_classes == 2 else n_classes)
        intervals = dict.fromkeys(METRIC_NAMES, Interval(None, None, 0, reason))
        return Bootstrap(intervals, nothing, nothing, len(names), n_bootstrap)
    values, rankings = resample_study(
        labels,
        probabilities,
        codes,
        iter_resamples(len(names), n_bootstrap, seed),
        threshold=threshold,
        grid=CURVE_GRID,
    )
    values["ece"] = _centre(
        values["ece"], expected_calibration_error(labels, probabilities)
    )
    return Bootstrap(
        intervals={
            name: find_interval(values[name], n_patients=len(names))
            for name in METRIC_NAMES
        },
        roc_bands=tuple(_find_band(r.sensitivity, len(names)) for r in rankings),
        precision_bands=tuple(_find_band(r.precision, len(names)) for r in rankings),
        n_patients=len(names),
        n_resamples=n_bootstrap,
    )


def find_interval(values: Floats, *, n_patients: int) -> Interval:
    """Take the 95 % expanded percentile interval of a metric's resampled values.

    Args:
        values: `(resamples,)`, NaN where the metric was undefined.
        n_patients: Patients that were drawn from, at least 2.

    Returns:
        The interval; without ends where fewer than half the values are defined.
    """
    defined = values[np.isfinite(values)]
    if len(defined) < _LEAST_DEFINED_SHARE * len(values):
        reason = f"defined in only {len(defined)} of {len(values)} resamples"
        return Interval(None, None, len(defined), reason)
    low, high = np.quantile(defined, find_tails(n_patients))
    return Interval(float(low), float(high), len(defined))


def find_tails(n_patients: int) -> tuple[float, float]:
    """Return the two quantiles, 0 to 1, that span 95 % for so many patients."""
    student = stats.t.ppf((1 + CONFIDENCE) / 2, n_patients - 1)
    tail = float(stats.norm.cdf(-np.sqrt(n_patients / (n_patients - 1)) * student))
    return tail, 1 - tail


def _find_band(values: Floats, n_patients: int) -> Band | None:
    defined = values[np.isfinite(values).all(axis=1)]
    if len(defined) < _LEAST_DEFINED_SHARE * len(values):
        return None
    low, high = np.quantile(defined, find_tails(n_patients), axis=0)
    return Band(low, high)


def _centre(values: Floats, value: float) -> Floats:
    """Bring resampled values to the mean of the value itself, none below 0.

    A calibration error sums up absolute gaps, and resampling widens every gap:
    uncentred, the interval could lie wholly above the value.
    """
    return np.asarray(np.maximum(values - (values.mean() - value), 0))
