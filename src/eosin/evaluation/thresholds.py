"""The probability from which on a tile or a slide is called positive."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eosin.evaluation.predictions import Unit
from eosin.evaluation.targets import Classes
from eosin.settings import parse_threshold_rule

DEFAULT_RULE = "youden"
FALLBACK_THRESHOLD = 0.5


@dataclass(frozen=True)
class Thresholds:
    """From which probability of class 1 on a unit is called so.

    Attributes:
        tile: Of tiles; None with more than two classes.
        slide: Of slides, patients and drawn bags; None likewise.
    """

    tile: float | None = None
    slide: float | None = None

    def of(self, unit: Unit) -> float | None:
        """Return the threshold of a unit."""
        return self.tile if unit == "tile" else self.slide


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold and how it came about.

    Attributes:
        threshold: Positive is called where the probability reaches it. None with more
            than two classes, which are called for the highest probability.
        rule: The rule that chose it: `youden`, `sensitivity@x`, `specificity@x`,
            `fixed` where the labels could not decide, or `highest` without a threshold.
        sensitivity: On the rows it was chosen on; None where undefined.
        specificity: On the rows it was chosen on; None where undefined.
        n: Rows it was chosen on.
        caution: Why the threshold deserves doubt; None where nothing does.
    """

    threshold: float | None
    rule: str
    sensitivity: float | None
    specificity: float | None
    n: int
    caution: str | None = None


def choose_threshold(
    labels: npt.NDArray[np.integer],
    values: npt.NDArray[np.floating],
    *,
    target: Classes,
    rule: str = DEFAULT_RULE,
) -> ThresholdChoice:
    """Choose a threshold from labels and probabilities.

    Thresholds are tried half-way between neighbouring probabilities, so that no row
    lies on one. Among equally good ones the widest gap is taken.

    Args:
        labels: `(rows,)`, of the validation split.
        values: Probabilities, `(rows, classes)`.
        target: The classes.
        rule: `youden` for the highest sensitivity + specificity;
            `sensitivity@0.95` for the highest threshold whose sensitivity is at
            least 0.95; `specificity@0.95` for the lowest whose specificity is.

    Returns:
        The choice. Where the labels hold one class only (or there are none), the
        threshold is 0.5, the rule `fixed`, and the caution says why.

    Raises:
        ValueError: The rule is unknown.
    """
    name, least = parse_threshold_rule(rule)
    labels = np.asarray(labels, dtype=np.int64)
    if not target.is_binary:
        return ThresholdChoice(None, "highest", None, None, len(labels))
    scores = np.asarray(values, dtype=np.float64)[:, 1]
    n_positive = int((labels == 1).sum())
    n_negative = len(labels) - n_positive
    if n_positive == 0 or n_negative == 0:
        held = "no rows" if len(labels) == 0 else f"only label {labels[0]}"
        caution = f"validation holds {held}; the threshold was set to 0.5, not chosen"
        called = (scores >= FALLBACK_THRESHOLD).mean() if len(labels) else None
        return ThresholdChoice(
            threshold=FALLBACK_THRESHOLD,
            rule="fixed",
            sensitivity=None if called is None or not n_positive else float(called),
            specificity=None if called is None or not n_negative else float(1 - called),
            n=len(labels),
            caution=caution,
        )
    candidates, gaps = _find_candidates(scores)
    positive = np.sort(scores[labels == 1])
    negative = np.sort(scores[labels == 0])
    sensitivity = 1 - np.searchsorted(positive, candidates) / n_positive
    specificity = np.searchsorted(negative, candidates) / n_negative
    if name == "youden":
        index = _find_best(sensitivity + specificity, gaps)
    elif name == "sensitivity":
        index = int(np.flatnonzero(sensitivity >= least - 1e-12)[-1])
    else:
        index = int(np.flatnonzero(specificity >= least - 1e-12)[0])
    return ThresholdChoice(
        threshold=float(candidates[index]),
        rule=rule,
        sensitivity=float(sensitivity[index]),
        specificity=float(specificity[index]),
        n=len(labels),
    )


def _find_candidates(
    scores: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return thresholds in rising order and how wide a gap each lies in.

    The first calls everything positive, the last nothing.
    """
    values = np.unique(scores)
    gaps = np.diff(values)
    middles = values[:-1] + gaps / 2
    # Neighbouring floats have no middle; the upper one then separates them as well.
    middles = np.where(middles > values[:-1], middles, values[1:])
    ends = np.array([values[0], np.nextafter(values[-1], np.inf)])
    candidates = np.concatenate([ends[:1], middles, ends[1:]])
    return candidates, np.concatenate([[0.0], gaps, [0.0]])


def _find_best(merit: npt.NDArray[np.float64], gaps: npt.NDArray[np.float64]) -> int:
    """Return the index of the highest merit, in the widest gap where several tie."""
    is_best = merit >= merit.max() - 1e-12
    return int(np.argmax(np.where(is_best, gaps, -1.0)))
