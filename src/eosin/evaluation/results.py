"""What an evaluation found, unit by unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.evaluation.calibration import Reliability
from eosin.evaluation.predictions import Unit
from eosin.evaluation.ranking import Curve
from eosin.evaluation.targets import Classes


def format_ends(low: float | None, high: float | None) -> tuple[str, str] | None:
    """Write the ends of an interval, with two decimals or as many as part them.

    None where there is no interval, or none with a width: nothing varied that could be
    measured.
    """
    if low is None or high is None or low == high:
        return None
    for digits in (2, 3, 4):
        ends = f"{low:.{digits}f}", f"{high:.{digits}f}"
        if ends[0] != ends[1]:
            return ends
    return None


@dataclass(frozen=True)
class MetricResult:
    """One metric with its 95 % interval over patients.

    Attributes:
        value: None where it is undefined, never NaN.
        low: Lower end; None without one.
        high: Upper end; None without one.
        n: Labelled rows that it rests on.
        n_defined: Bootstrap resamples in which the metric was defined.
        reason: Why value or interval is missing; None where both are there.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    n_defined: int
    reason: str | None = None

    def to_json(self) -> dict[str, float | int | str | None]:
        """Return the metric as `metrics.json` holds it."""
        content: dict[str, float | int | str | None] = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "resamples": self.n_defined,
        }
        if self.reason is not None:
            content["reason"] = self.reason
        return content


@dataclass(frozen=True)
class LevelResult:
    """What was found of one unit.

    Attributes:
        level: The unit.
        n: Labelled rows; only these are scored.
        n_unlabelled: Rows without a label.
        n_patients: Patients of the labelled rows; 0 of bags that name none.
        n_by_class: Labelled rows of each class, in the order of the labels.
        threshold: On the probability of class 1; None with more than two classes.
        metrics: By metric name.
        confusion: Rows by label (rows) and called class (columns).
        roc_curves: One for two classes, else one for each class; a class whose
            curve is undefined is left out.
        precision_curves: Likewise.
        reliability: Rows binned by probability.
        scores_by_class: For each label, the probability of class 1, with more than
            two classes that of the called class.
        threshold_range: Lowest and highest threshold that calls were made at, where
            folds had their own; None where `threshold` served for all.
    """

    level: Unit
    n: int
    n_unlabelled: int
    n_patients: int
    n_by_class: tuple[int, ...]
    threshold: float | None
    metrics: Mapping[str, MetricResult]
    confusion: npt.NDArray[np.int64]
    roc_curves: tuple[Curve, ...]
    precision_curves: tuple[Curve, ...]
    reliability: Reliability
    scores_by_class: tuple[npt.NDArray[np.float64], ...]
    threshold_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        target: The classes.
        split: The split that was scored.
        n_bootstrap: Resamples drawn for the intervals.
        seed: Seed of the resamples.
        levels: Results by unit; a unit without a labelled row is not there.
        listed: The unit of `calls`: `slide`, or where there is none `bag` or `patient`.
        calls: Every row of this unit in the split, those called wrongly first and the
            clearest mistakes at the top: `id`, `patient_id`, `label`,
            `probability_<class>` of each class, `called`, `is_right`, and
            `wrong_margin`, how far the probability lies on the wrong side of the
            threshold (of the most probable other class with more than two classes).
        cautions: What a reader must know before believing the numbers.
    """

    target: Classes
    split: str
    n_bootstrap: int
    seed: int
    levels: Mapping[Unit, LevelResult]
    listed: Unit
    calls: pd.DataFrame
    cautions: tuple[str, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""
        return self.target.class_names

    @property
    def thresholds(self) -> dict[str, tuple[float, float]]:
        """Return unit -> lowest and highest threshold of its calls, of two classes."""
        return {
            level: result.threshold_range or (result.threshold, result.threshold)
            for level, result in self.levels.items()
            if result.threshold is not None
        }

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return unit -> metric -> value, low, high, n, as `metrics.json` holds it."""
        return {
            level: {name: m.to_json() for name, m in result.metrics.items()}
            for level, result in self.levels.items()
        }
