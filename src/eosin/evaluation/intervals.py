"""95 % intervals by bootstrap over patients.

Tiles of one slide, and slides of one patient, resemble each other, so that the
number of patients, not of tiles, says how much was seen. Patients are drawn with
replacement with all their rows, and an interval lies between two percentiles of
the resampled metric. Resamples in which a metric is undefined, such as an AUC
without a tumour, are left out and counted. Drawn bags, which are of many patients,
are drawn by themselves.

The 2.5th and the 97.5th percentile are right for many patients and too narrow for
few, as a normal interval is where Student's is needed. The percentiles are
therefore moved outwards by the ratio of the two: Hesterberg, What teachers should
know about the bootstrap, The American Statistician 69 (2015), 371-386, "expanded
percentile". With 10 patients they are the 0.9th and 99.1st, with 40 the 2.0th and
98.0th. Below about 20 patients even these hold the truth in fewer than 95 % of
studies, because all resamples share the patients that were not met.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eosin.evaluation.metrics import Metric, Sample, measure
from eosin.evaluation.ranking import Band, Floats
from eosin.evaluation.results import MetricResult

CONFIDENCE = 0.95
# Of fewer resamples the outer 2.5 % say little.
_LEAST_DEFINED_SHARE = 0.5
# Counts held at a time: 32 MiB.
_BLOCK_COUNTS = 1 << 22


@dataclass(frozen=True)
class Bootstrap:
    """What resampling says about one sample: metrics by name, and limits of curves.

    There is a band for each ranked class; None where a curve has no interval.
    """

    metrics: dict[str, MetricResult]
    roc_bands: tuple[Band | None, ...]
    precision_bands: tuple[Band | None, ...]


def bootstrap(
    sample: Sample,
    metrics: Sequence[Metric],
    groups: npt.NDArray[np.str_] | Sequence[str],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Compute every metric, and its interval by resampling groups of rows.

    `groups` says of each row its patient, or whatever else is drawn as a whole; 0
    resamples give no intervals.

    Raises:
        ValueError: `n_bootstrap` is negative.
    """
    n_rows = len(sample.labels)
    if n_bootstrap < 0:
        raise ValueError(f"n_bootstrap must be 0 or more, got {n_bootstrap}")
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    n_groups = len(names)
    found = {metric.name: measure(metric, sample) for metric in metrics}
    if n_groups < 2 or n_bootstrap == 0:
        why = (
            "no resamples were asked for"
            if n_bootstrap == 0
            else "one patient cannot show how patients differ"
        )
        nothing = (None,) * len(sample.ranked)
        bare = {
            name: MetricResult(value, None, None, n_rows, 0, lack or why)
            for name, (value, lack) in found.items()
        }
        return Bootstrap(bare, nothing, nothing)
    drawn: dict[str, list[Floats]] = {name: [] for name in found}
    rankings = []
    for counts in iter_resamples(n_groups, n_bootstrap, seed):
        part = replace(sample, groups=codes, counts=counts)
        rankings.append(part.rankings)
        with np.errstate(invalid="ignore", divide="ignore"):
            for metric in metrics:
                drawn[metric.name].append(metric.resampled(part))
    results = {}
    for metric in metrics:
        value, lack = found[metric.name]
        values = np.concatenate(drawn[metric.name])
        if metric.is_centred and value is not None:
            values = np.maximum(values - (values.mean() - value), 0)
        low, high, n_defined, reason = find_interval(values, n_groups)
        results[metric.name] = (
            MetricResult(value, low, high, n_rows, n_defined, reason)
            if lack is None
            else MetricResult(None, None, None, n_rows, n_defined, lack)
        )
    by_class = list(zip(*rankings, strict=True))
    return Bootstrap(
        results,
        tuple(_find_band([r.sensitivity for r in own], n_groups) for own in by_class),
        tuple(_find_band([r.precision for r in own], n_groups) for own in by_class),
    )


def iter_resamples(n_groups: int, n_resamples: int, seed: int) -> Iterator[Floats]:
    """Draw how often each group is in each resample, `(resamples, groups)`.

    Some of the resamples come at a time, so that 200,000 tiles without a patient id do
    not fill the memory.
    """
    rng = np.random.default_rng(seed)
    size = max(1, _BLOCK_COUNTS // n_groups)
    for start in range(0, n_resamples, size):
        n = min(size, n_resamples - start)
        drawn = rng.integers(n_groups, size=(n, n_groups))
        drawn += n_groups * np.arange(n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * n_groups)
        yield counts.reshape(n, n_groups).astype(np.float64)


def find_tails(n_groups: int) -> tuple[float, float]:
    """Return the two quantiles, 0 to 1, that span 95 % for so many patients."""
    from scipy import stats

    student = stats.t.ppf((1 + CONFIDENCE) / 2, n_groups - 1)
    tail = float(stats.norm.cdf(-np.sqrt(n_groups / (n_groups - 1)) * student))
    return tail, 1 - tail


def find_interval(
    values: Floats, n_groups: int
) -> tuple[float | None, float | None, int, str | None]:
    """Take the 95 % expanded percentile interval of a metric's resampled values.

    Returns:
        Its ends, None where fewer than half the values are defined (are not NaN); how
        many are; and why there is no interval.
    """
    defined = values[np.isfinite(values)]
    if len(defined) < _LEAST_DEFINED_SHARE * len(values):
        reason = f"defined in only {len(defined)} of {len(values)} resamples"
        return None, None, len(defined), reason
    low, high = np.quantile(defined, find_tails(n_groups))
    return float(low), float(high), len(defined), None


def _find_band(parts: Sequence[Floats], n_groups: int) -> Band | None:
    values = np.concatenate(parts)
    defined = values[np.isfinite(values).all(axis=1)]
    if len(defined) < _LEAST_DEFINED_SHARE * len(values):
        return None
    low, high = np.quantile(defined, find_tails(n_groups), axis=0)
    return Band(low, high)
