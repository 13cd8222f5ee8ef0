"""What the best bag score can reach on instances that are told apart so well.

An instance score `s` has density `f1` at witnesses and `f0` at all other instances,
and `l = f1(s) / f0(s)` is its likelihood ratio. A bag of `m` instances is either all
others, or holds `w` witnesses in places of which all are equally likely. The ratio of
the two likelihoods of a bag's scores is then the mean over all sets `S` of `w` places

    L = sum over S of prod(l[i] for i in S) / C(m, w) = e_w(l[1], ..., l[m]) / C(m, w)

with `e_w` the elementary symmetric polynomial. By Neyman and Pearson no function of the
scores has more power at any false positive rate, so that the ROC curve of `L` is the
ceiling: no aggregator that sees the instances through this score gets above it. One
that learns a better instance score can.

`e_w` follows from `e_k(l[1..j]) = e_k(l[1..j-1]) + l[j] e_(k-1)(l[1..j-1])`, in
logarithms. The AUC of `L` has no closed form but for `w = m`, and is found by drawing
bags from the scores as measured.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eosin.evaluation.detection_limit import find_sensitivity
from eosin.evaluation.ranking import compute_roc_auc

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BagCeiling:
    """The best bag score's ROC AUC, and its sensitivity at the specificity wanted."""

    roc_auc: float
    sensitivity: float


def find_log_ratios(witnesses: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Estimate the log likelihood ratio of every instance from their scores.

    The ratio is taken to rise with the score: isotonic regression (which is the ROC
    curve's convex hull) pools neighbours, and each pool's ratio is that of its counts,
    with half an instance added to each, so that it is finite. On the same instances as
    it is used on it flatters a little, as a ceiling may.

    Returns:
        Log ratios of the witnesses and of the others, in their order.
    """
    from sklearn.isotonic import isotonic_regression

    scores = np.concatenate([witnesses, others]).astype(np.float64)
    values, places = np.unique(scores, return_inverse=True)
    is_witness = np.arange(len(scores)) < len(witnesses)
    n_all = np.bincount(places, minlength=len(values)).astype(np.float64)
    n_own = np.bincount(places, weights=is_witness, minlength=len(values))
    shares = isotonic_regression(n_own / n_all, sample_weight=n_all)
    pool = np.concatenate([[0], np.cumsum(np.diff(shares) > 1e-12)])
    own = np.bincount(pool, weights=n_own)
    rest = np.bincount(pool, weights=n_all) - own
    logs = np.log((own + 0.5) / (len(witnesses) + 0.5)) - np.log(
        (rest + 0.5) / (len(others) + 0.5)
    )
    found: Floats = np.maximum.accumulate(logs)[pool][places]
    return found[: len(witnesses)], found[len(witnesses) :]


def score_bags(log_ratios: Floats, n_witnesses: int) -> Floats:
    """Compute bags' log likelihood ratio of so many witnesses against none."""
    from scipy.special import gammaln

    n_bags, size = log_ratios.shape
    sums = np.full((n_bags, n_witnesses + 1), -np.inf)
    sums[:, 0] = 0.0
    for j in range(size):
        # The right side is evaluated whole before any of it is replaced.
        sums[:, 1:] = np.logaddexp(sums[:, 1:], sums[:, :-1] + log_ratios[:, j, None])
    n_sets = gammaln(size + 1) - gammaln(n_witnesses + 1)
    n_sets -= gammaln(size - n_witnesses + 1)
    found: Floats = sums[:, n_witnesses] - n_sets
    return found


def find_bag_ceiling(
    witnesses: Floats,
    others: Floats,
    *,
    size: int,
    n_witnesses: int,
    specificity: float = 0.95,
    n_bags: int = 4000,
    seed: int = 0,
) -> BagCeiling:
    """Find what the best bag score reaches on instances with given log ratios.

    Args:
        witnesses: Log likelihood ratios of witnesses, as `find_log_ratios` gives.
        others: The same of all other instances.
        size: Instances of a bag.
        n_witnesses: Witnesses of a positive bag, 1 to `size`.
        specificity: At which the sensitivity is told.
        n_bags: Bags that are drawn, half of them positive, 2 or more.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    half = n_bags // 2
    negative = rng.choice(others, (half, size))
    positive = rng.choice(others, (half, size))
    positive[:, :n_witnesses] = rng.choice(witnesses, (half, min(n_witnesses, size)))
    low, high = (score_bags(bags, n_witnesses) for bags in (negative, positive))
    scores = np.concatenate([low, high])
    return BagCeiling(
        compute_roc_auc(np.repeat([0, 1], half), np.stack([-scores, scores], axis=1)),
        find_sensitivity(low, high, specificity=specificity),
    )
