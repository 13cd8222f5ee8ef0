"""Whether a probability of 0.8 comes true 8 times in 10, and making it so."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

N_BINS = 10
# Temperatures beyond these come from too little data, not from the model.
LOWEST_TEMPERATURE = 0.2
HIGHEST_TEMPERATURE = 20.0
# Spread of temperatures that are thought likely before any row is seen, as logarithm:
# 19 of 20 lie between 0.37 and 2.7.
_PRIOR_SPREAD = 0.5


@dataclass(frozen=True)
class TemperatureFit:
    """What logits are divided by, and why it deserves doubt; None where nothing does.

    A temperature above 1 softens, one below 1 sharpens.
    """

    temperature: float
    caution: str | None = None


@dataclass(frozen=True)
class Reliability:
    """Rows binned by probability, in equal bins from 0 to 1; each field is `(bins,)`.

    With two classes the probability is that of class 1 and the outcome whether the
    label is 1. With more it is the probability of the called class and the outcome
    whether the call was right. An empty bin has a mean and a share of NaN.
    """

    n: npt.NDArray[np.int64]
    mean_probability: npt.NDArray[np.float64]
    observed_share: npt.NDArray[np.float64]


def compute_probabilities(
    logits: npt.NDArray[np.floating], temperature: float = 1.0
) -> npt.NDArray[np.float64]:
    """Turn logits into probabilities, `(rows, classes)`.

    With two classes logits are of class 1, `(rows, 1)` or `(rows,)`, else `(rows,
    classes)`.

    Raises:
        ValueError: The temperature is not above 0.
    """
    from scipy.special import expit, softmax

    if not temperature > 0:
        raise ValueError(f"a temperature must be above 0, got {temperature}")
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if scaled.ndim == 1:
        scaled = scaled[:, None]
    if scaled.shape[1] == 1:
        positive = expit(scaled[:, 0])
        # 1 - p from the other tail, so that neither loses its digits.
        return np.stack([expit(-scaled[:, 0]), positive], axis=1)
    return np.asarray(softmax(scaled, axis=1))


def fit_temperature(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> TemperatureFit:
    """Find the temperature at which validation labels are likeliest.

    Guo et al., 2017, with a normal prior around 0 on the temperature's logarithm. Rows
    that are all called right would be likeliest at a temperature of 0, and a handful of
    validation patients often is; the prior keeps few rows near 1 and is as nothing
    beside thousands. The search stays within 0.2 and 20. A temperature changes no
    ranking, and no call at a threshold of 0.5.

    Args:
        logits: As for `compute_probabilities`.
        labels: `(rows,)`, 0 to classes - 1.

    Returns:
        The fit. With fewer than two classes among the labels nothing can be
        fitted: the temperature is 1, and the caution says so.

    Raises:
        ValueError: There are no rows, or a logit is not finite.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim == 1 or logits.shape[1] == 1:
        # Two columns whose softmax is the sigmoid, so that there is one way below.
        flat = logits.reshape(len(logits))
        logits = np.stack([np.zeros_like(flat), flat], axis=1)
    labels = np.asarray(labels, dtype=np.int64)
    if not len(labels) or not np.isfinite(logits).all():
        raise ValueError(
            f"a temperature needs labelled rows and finite logits, got {len(labels)} "
            f"rows and {np.isfinite(logits).all(axis=1).sum()} of them finite"
        )
    rows = np.arange(len(labels))

    def nll(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(-log_softmax(scaled, axis=1)[rows, labels].mean())

    if len(np.unique(labels)) < 2:
        caution = "the labels hold one class only; the temperature was left at 1"
        return TemperatureFit(1.0, caution)
    bounds = (np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE))
    found = minimize_scalar(
        lambda x: nll(x) + (x / _PRIOR_SPREAD) ** 2 / (2 * len(labels)),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-6},
    )
    is_at_bound = min(found.x - bounds[0], bounds[1] - found.x) < 1e-3
    caution = "the best temperature lies at the end of the range searched"
    return TemperatureFit(float(np.exp(found.x)), caution if is_at_bound else None)


def assign_bins(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Number each probability's bin; bins hold their lower end, the last also 1."""
    return np.minimum((probability * N_BINS).astype(np.int64), N_BINS - 1)


def compute_reliability(
    shown: npt.NDArray[np.float64], is_true: npt.NDArray[np.bool_]
) -> Reliability:
    """Bin rows by the probability `shown` of each, and see how often it came true."""
    bins = assign_bins(shown)
    n = np.bincount(bins, minlength=N_BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bins, weights=shown, minlength=N_BINS) / n
        share = np.bincount(bins, weights=is_true, minlength=N_BINS) / n
    return Reliability(n, mean, share)
