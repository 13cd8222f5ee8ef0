"""The smallest share of witnesses that a bag score still finds.

Power at a witness rate is the share of positive bags that score above the threshold
which a given share of negative bags stays below (95 % specificity). The limit of
detection is the smallest rate that is found with a given power (90 %), at it and at
every larger one. Between two rates of the study power is taken as linear in the
logarithm of the rate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DetectionLimit:
    """The smallest witness rate that is found.

    Attributes:
        rate: Share of a bag's instances, (0, 1]. None where even the largest rate
            of the study is not found with the power.
        is_at_most: Whether it is the smallest rate of the study, so that the limit
            may lie below it.
    """

    rate: float | None
    is_at_most: bool = False


@dataclass(frozen=True)
class LimitInterval:
    """Where the limit lies in resampled studies.

    Attributes:
        low: End of the interval with the smaller rate.
        high: The other end; its rate is None where the limit is not reached in so
            many of the resampled studies that the interval has no end.
        share_reached: Share of the resampled studies with a limit.
    """

    low: DetectionLimit
    high: DetectionLimit
    share_reached: float


def find_sensitivity(
    negatives: Floats, positives: Floats, *, specificity: float = 0.95
) -> float:
    """Find the share of positives above what a share of the negatives stays below.

    The threshold is the lowest score of a negative which at least `specificity` of
    all negatives do not exceed; a positive counts when it exceeds it, so that equal
    scores count for nothing.

    Args:
        negatives: Scores of negative bags, one or more.
        positives: Scores of positive bags, one or more.
        specificity: In (0, 1].

    Raises:
        ValueError: There is no score on a side, or `specificity` is out of range.
    """
    if min(len(negatives), len(positives)) == 0:
        raise ValueError(
            "scores of both negatives and positives are needed, got "
            f"{len(negatives)} and {len(positives)}"
        )
    if not 0 < specificity <= 1:
        raise ValueError(f"specificity must be in (0, 1], got {specificity:g}")
    # A hair less, because 0.95 of 20 is 19 only on paper.
    place = math.ceil(specificity * len(negatives) - 1e-9) - 1
    threshold = np.sort(negatives)[place]
    return float(np.mean(positives > threshold))


def interpolate_limit(
    rates: Sequence[float], powers: Sequence[float], *, power: float = 0.9
) -> DetectionLimit:
    """Find the limit on a curve of power.

    Args:
        rates: Witness rates, rising, each in (0, 1].
        powers: Power at each of them.
        power: The power that is asked for, (0, 1].

    Raises:
        ValueError: The rates do not rise, or numbers are missing or out of range.
    """
    if len(rates) != len(powers) or not len(rates):
        raise ValueError(
            f"as many rates as powers are needed, got {len(rates)} and {len(powers)}"
        )
    if rates[0] <= 0 or rates[-1] > 1 or np.any(np.diff(rates) <= 0):
        raise ValueError(f"rates must rise within (0, 1], got {list(rates)}")
    is_found = np.asarray(powers) >= power - 1e-12
    if not is_found[-1]:
        return DetectionLimit(None)
    if is_found.all():
        return DetectionLimit(float(rates[0]), is_at_most=True)
    # The last rate that is missed; all above it are found.
    i = int(np.flatnonzero(~is_found)[-1])
    share = (power - powers[i]) / (powers[i + 1] - powers[i])
    step = math.log(rates[i + 1] / rates[i])
    return DetectionLimit(float(rates[i] * math.exp(share * step)))


def bootstrap_limit(
    rates: Sequence[float],
    powers: Floats,
    *,
    power: float = 0.9,
    confidence: float = 0.95,
    n_draws: int = 2000,
    seed: int = 0,
) -> LimitInterval:
    """Find the limit's interval over resampled patients and seeds.

    Each draw takes one of the resampled sets of patients and as many seeds as there
    are, with replacement; the ends are percentiles of the draws' limits, where one
    that is not reached is larger than all that are.

    Args:
        rates: Witness rates, rising.
        powers: `(resamples, seeds, rates)`, power on each resampled set of patients.
        power: The power that is asked for.
        confidence: Of the interval, (0, 1).
        n_draws: Draws, 1 or more.
        seed: Of the draws.
    """
    means = draw_means(powers, n_draws=n_draws, seed=seed)
    found = [interpolate_limit(rates, row, power=power) for row in means]
    values = np.array([math.inf if f.rate is None else f.rate for f in found])
    order = np.argsort(values, kind="stable")
    tail = (1 - confidence) / 2
    ends = [
        order[min(len(order) - 1, max(0, math.ceil(q * len(order)) - 1))]
        for q in (tail, 1 - tail)
    ]
    return LimitInterval(
        found[ends[0]], found[ends[1]], float(np.isfinite(values).mean())
    )


def draw_means(values: Floats, *, n_draws: int = 2000, seed: int = 0) -> Floats:
    """Draw a resampled set of patients, and seeds with replacement, and average.

    Args:
        values: `(resamples, seeds, ...)`.
        n_draws: Draws.
        seed: Of the draws.

    Returns:
        `(draws, ...)`, means over the drawn seeds.

    Raises:
        ValueError: There is no resample or no seed.
    """
    values = np.asarray(values, np.float64)
    if values.ndim < 2 or 0 in values.shape[:2]:
        raise ValueError(
            f"values must be (resamples, seeds, ...), one or more each, got the shape "
            f"{values.shape}"
        )
    n_resamples, n_seeds = values.shape[:2]
    rng = np.random.default_rng(seed)
    which = rng.integers(n_resamples, size=(n_draws, 1))
    seeds = rng.integers(n_seeds, size=(n_draws, n_seeds))
    means: Floats = values[which, seeds].mean(axis=1)
    return means


def compute_instance_auc(
    scores: npt.NDArray[np.floating], is_witness: npt.NDArray[np.bool_]
) -> float:
    """Compute the ROC AUC of instance scores within each bag, averaged over bags.

    Within bags, because attention sums to 1 over a bag and its numbers mean nothing
    beyond it.

    Args:
        scores: `(bags, instances)`.
        is_witness: `(bags, instances)`.

    Returns:
        The mean over bags with witnesses and others; NaN where there is none.
    """
    n_witnesses = is_witness.sum(axis=1)
    n_others = is_witness.shape[1] - n_witnesses
    is_mixed = (n_witnesses > 0) & (n_others > 0)
    if not is_mixed.any():
        return math.nan
    shown, n_witnesses = is_witness[is_mixed], n_witnesses[is_mixed]
    ranks = rankdata(scores[is_mixed], axis=1)
    above = (ranks * shown).sum(axis=1) - n_witnesses * (n_witnesses + 1) / 2
    return float(np.mean(above / (n_witnesses * n_others[is_mixed])))
