"""What a number of patients can show: how wide an AUC is, what it can be told from.

The standard error of an area under the ROC curve is that of Hanley and McNeil (1982,
Radiology 143:29-36, equation 1), which assumes exponential scores and errs on the safe
side; of the difference of two areas on the same patients, that of their second paper
(1983, Radiology 148:839-843).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from eosin.core import ConfigError

# Two models on the same patients err alike; a cautious value of the usual 0.5 to 0.8.
_CORRELATION = 0.5


@dataclass(frozen=True)
class AUCPlan:
    """What a study of so many patients can show.

    Attributes:
        n_positive: Patients with the finding.
        n_negative: Patients without it.
        auc: The area that is expected.
        standard_error: Of that area.
        low: Lower end of its interval, not below 0.
        high: Upper end, not above 1.
        least_auc: The smallest area that is told from 0.5 (chance) with the power
            asked for; None where no area is.
        least_better: The smallest area that is told from a rival of area `auc` on
            the same patients; None where no area is.
    """

    n_positive: int
    n_negative: int
    auc: float
    standard_error: float
    low: float
    high: float
    least_auc: float | None
    least_better: float | None


def find_standard_error(auc: float, n_positive: int, n_negative: int) -> float:
    """Return the standard error of an area under the ROC curve."""
    both_above = auc / (2 - auc)
    both_below = 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc)
        + (n_positive - 1) * (both_above - auc**2)
        + (n_negative - 1) * (both_below - auc**2)
    ) / (n_positive * n_negative)
    return math.sqrt(max(0.0, variance))


def plan_auc(
    n_patients: int,
    prevalence: float,
    *,
    auc: float = 0.8,
    confidence: float = 0.95,
    power: float = 0.8,
) -> AUCPlan:
    """Say what a study can show before it is done.

    Args:
        n_patients: Patients that are scored; with cross-validation all of them.
        prevalence: Share with the finding, above 0 and below 1.
        auc: The area that is expected, 0.5 to below 1.
        confidence: Of the interval and of the tests (two-sided).
        power: Chance of seeing a difference that is there.

    Raises:
        ConfigError: A value is out of range, or fewer than two patients have, or
            lack, the finding.
    """
    from scipy.stats import norm

    for name, value, least in (
        ("prevalence", prevalence, 0.0),
        ("auc", auc, 0.5),
        ("confidence", confidence, 0.5),
        ("power", power, 0.5),
    ):
        if not least <= value < 1 or value == 0:
            first = f"{least:g} to" if least else "above 0 and"
            share = f"; is {value / 100:g} meant?" if 1 < value < 100 else ""
            raise ConfigError(f"{name} must be {first} below 1, got {value:g}{share}")
    n_positive = round(n_patients * prevalence)
    n_negative = n_patients - n_positive
    if min(n_positive, n_negative) < 2:
        raise ConfigError(
            f"two patients with and two without the finding are needed; {n_patients} "
            f"patients at a prevalence of {prevalence:g} give {n_positive} and "
            f"{n_negative}"
        )
    error = find_standard_error(auc, n_positive, n_negative)
    half = float(norm.ppf((1 + confidence) / 2)) * error

    def shortfall(better: float, rival: float, correlation: float) -> float:
        own = find_standard_error(better, n_positive, n_negative)
        other = find_standard_error(rival, n_positive, n_negative)
        # Under the null both have the rival's area; chance itself does not vary
        # with the patients, so that a test against it has one error only.
        null = other * (math.sqrt(2 * (1 - correlation)) if correlation else 1.0)
        spread = (
            math.sqrt(own**2 + other**2 - 2 * correlation * own * other)
            if correlation
            else own
        )
        needed = norm.ppf((1 + confidence) / 2) * null + norm.ppf(power) * spread
        return float(better - rival - needed)

    return AUCPlan(
        n_positive=n_positive,
        n_negative=n_negative,
        auc=auc,
        standard_error=error,
        low=max(0.0, auc - half),
        high=min(1.0, auc + half),
        least_auc=_solve(lambda value: shortfall(value, 0.5, 0.0), 0.5),
        least_better=_solve(lambda value: shortfall(value, auc, _CORRELATION), auc),
    )


def _solve(shortfall: Callable[[float], float], low: float) -> float | None:
    """Find where a shortfall becomes none; None where it stays up to an area of 1."""
    from scipy.optimize import brentq

    high = 1 - 1e-9
    if shortfall(high) < 0:
        return None
    return float(brentq(shortfall, low, high))
