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
    """Where the limit lies in resampled studies, from the smaller rate to the larger.

    The rate of `high` is None where the limit is not reached in so many of the
    resampled studies that the interval has no end; `share_reached` is the share with a
    limit.
    """

    low: DetectionLimit
    high: DetectionLimit
    share_reached: float


def find_sensitivity(
    negatives: Floats, positives: Floats, *, specificity: float = 0.95
) -> float:
    """Find the share of positives above what a share of the negatives stays below.

    The threshold is the lowest score of a negative which at least `specificity` of all
    negatives do not exceed; a positive counts when it exceeds it, so that equal scores
    count for nothing. There is one score or more on each side.
    """
    # A hair less, because 0.95 of 20 is 19 only on paper.
    place = math.ceil(specificity * len(negatives) - 1e-9) - 1
    threshold = np.sort(negatives)[place]
    return float(np.mean(positives > threshold))


def interpolate_limit(
    rates: Sequence[float], powers: Sequence[float], *, power: float = 0.9
) -> DetectionLimit:
    """Find the limit on a curve of power at rising witness rates, each in (0, 1]."""
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
    are, with replacement; the ends are percentiles of the draws' limits, where one that
    is not reached is larger than all that are. `powers` is `(resamples, seeds, rates)`.
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

    From `(resamples, seeds, ...)` to `(draws, ...)`.
    """
    values = np.asarray(values, np.float64)
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
    beyond it. Scores and witnesses are `(bags, instances)`; the mean is over bags that
    hold witnesses and others, and NaN where there is none.
    """
    from scipy.stats import rankdata

    n_witnesses = is_witness.sum(axis=1)
    n_others = is_witness.shape[1] - n_witnesses
    is_mixed = (n_witnesses > 0) & (n_others > 0)
    if not is_mixed.any():
        return math.nan
    shown, n_witnesses = is_witness[is_mixed], n_witnesses[is_mixed]
    ranks = rankdata(scores[is_mixed], axis=1)
    above = (ranks * shown).sum(axis=1) - n_witnesses * (n_witnesses + 1) / 2
    return float(np.mean(above / (n_witnesses * n_others[is_mixed])))
