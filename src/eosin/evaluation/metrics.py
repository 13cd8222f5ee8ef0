"""How well probabilities agree with labels, by scikit-learn's definitions.

Two classes are scored on the probability of class 1, the positive class, and
its calls at a threshold. With more classes every row is called for its most
probable class, and each metric but accuracy and the two of calibration is the
plain mean over classes of the class against the rest. With more than two
classes sensitivity is therefore the same number as balanced accuracy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from eosin.evaluation.calibration import expected_calibration_error

# One for all rows, or one for each; None with more than two classes.
Threshold = float | npt.NDArray[np.float64] | None

METRIC_NAMES = (
    "roc_auc",
    "average_precision",
    "balanced_accuracy",
    "accuracy",
    "f1",
    "sensitivity",
    "specificity",
    "brier",
    "ece",
)

_NEEDING_ALL = ("roc_auc", "average_precision", "balanced_accuracy", "sensitivity")
_NEEDING_CLASS = {0: ("roc_auc", "balanced_accuracy", "specificity"), 1: _NEEDING_ALL}


@dataclass(frozen=True)
class Metric:
    """One metric's value.

    Attributes:
        value: The value; None where it is undefined, never NaN.
        reason: Why the value is undefined; None where it is defined.
    """

    value: float | None
    reason: str | None = None


def check_scores(
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    threshold: Threshold,
) -> None:
    """Hold labels, probabilities and threshold to what every metric needs.

    Raises:
        ValueError: There are no rows, a shape or a label does not fit, or two
            classes come without a threshold.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(
            "probabilities must be (rows, classes) with two or more classes, got "
            f"shape {probabilities.shape}"
        )
    n_rows, n_classes = probabilities.shape
    if labels.shape != (n_rows,) or n_rows == 0:
        raise ValueError(
            f"labels must be one for each row and at least one, got shape "
            f"{labels.shape} for probabilities of shape {probabilities.shape}"
        )
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"labels must be 0 to {n_classes - 1}, got {labels.min()} to "
            f"{labels.max()}; leave rows without a label out"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities must be finite numbers, got NaN or infinity")
    if n_classes == 2 and threshold is None:
        raise ValueError("two classes need a threshold, got None")


def call_classes(
    probabilities: npt.NDArray[np.float64], threshold: Threshold
) -> npt.NDArray[np.int64]:
    """Turn probabilities into called classes, `(rows,)`.

    Args:
        probabilities: `(rows, classes)`.
        threshold: With two classes, class 1 is called where its probability
            reaches the threshold. Not used with more classes.
    """
    if probabilities.shape[1] == 2:
        if threshold is None:
            raise ValueError("two classes need a threshold, got None")
        is_positive = probabilities[:, 1] >= threshold
        return np.asarray(is_positive, dtype=np.int64)
    return np.asarray(np.argmax(probabilities, axis=1), dtype=np.int64)


def describe_call(
    class_names: Sequence[str],
    threshold: float | None,
    *,
    noun: str = "slide",
    quantity: str = "probability",
) -> str:
    """Say when a slide is called what, as `call_classes` does it, in a sentence.

    Args:
        class_names: In the order of the labels.
        threshold: Of class 1; not used with more than two classes.
        noun: What is called.
        quantity: What the threshold is on.
    """
    if len(class_names) > 2 or threshold is None:
        return f"A {noun} is called what it is most probably."
    return f"A {noun} is called {class_names[1]} from a {quantity} of {threshold:.3f}."


def compute_metrics(
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    *,
    threshold: Threshold,
    class_names: Sequence[str] | None = None,
) -> dict[str, Metric]:
    """Compute every metric of `METRIC_NAMES`.

    Args:
        labels: `(rows,)`, 0 to classes - 1.
        probabilities: `(rows, classes)`.
        threshold: On the probability of class 1; None with more than two classes.
        class_names: Names for the reasons; None says "class 0", "class 1", ...

    Raises:
        ValueError: The arrays do not fit together.
    """
    check_scores(labels, probabilities, threshold)
    n_classes = probabilities.shape[1]
    names = list(class_names or [f"class {i}" for i in range(n_classes)])
    called = call_classes(probabilities, threshold)
    reasons = find_undefined(labels, called, names)
    compute = _compute_binary if n_classes == 2 else _compute_multiclass
    values = compute(labels, called, probabilities, reasons)
    return {
        name: Metric(None, reasons[name])
        if name in reasons
        else Metric(float(values[name]))
        for name in METRIC_NAMES
    }


def compute_roc_auc(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> float:
    """Compute the area under the ROC curve; every class must have a label.

    Args:
        labels: `(rows,)`.
        probabilities: `(rows, classes)`. With two classes the second is scored,
            with more each against the rest, and the areas are averaged.
    """
    return _average_over_classes(sk.roc_auc_score, labels, probabilities)


def count_confusion(
    labels: npt.NDArray[np.int64], called: npt.NDArray[np.int64], n_classes: int
) -> npt.NDArray[np.int64]:
    """Count rows by label (rows of the matrix) and called class (columns)."""
    counts = np.bincount(labels * n_classes + called, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


def find_undefined(
    labels: npt.NDArray[np.int64],
    called: npt.NDArray[np.int64],
    class_names: Sequence[str],
) -> dict[str, str]:
    """Say which metrics these labels leave undefined, and why."""
    n_classes = len(class_names)
    counts = np.bincount(labels, minlength=n_classes)
    absent = [int(i) for i in np.flatnonzero(counts == 0)]
    reasons: dict[str, str] = {}
    if absent:
        names = " or ".join(class_names[i] for i in absent)
        needing = (
            _NEEDING_CLASS if n_classes == 2 else dict.fromkeys(absent, _NEEDING_ALL)
        )
        for i in absent:
            reasons |= dict.fromkeys(needing[i], f"no row has the label {names}")
    if np.count_nonzero(counts) == 1 and n_classes > 2:
        only = class_names[int(np.argmax(counts))]
        reasons["specificity"] = f"every row has the label {only}"
    scored = range(1, 2) if n_classes == 2 else range(n_classes)
    is_seen = np.bincount(called, minlength=n_classes) + counts > 0
    if unseen := [class_names[i] for i in scored if not is_seen[i]]:
        reasons["f1"] = f"no row has or is called {' or '.join(unseen)}"
    return reasons


def _compute_binary(
    labels: npt.NDArray[np.int64],
    called: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    undefined: Mapping[str, str],
) -> dict[str, float]:
    positive = probabilities[:, 1]
    values = {
        "accuracy": sk.accuracy_score(labels, called),
        "brier": sk.brier_score_loss(labels, positive, pos_label=1),
        "ece": expected_calibration_error(labels, probabilities),
        "f1": sk.f1_score(labels, called, zero_division=0),
        "sensitivity": sk.recall_score(labels, called, zero_division=0),
        "specificity": sk.recall_score(labels, called, pos_label=0, zero_division=0),
    }
    if "average_precision" not in undefined:
        values["average_precision"] = sk.average_precision_score(labels, positive)
    if "roc_auc" not in undefined:
        values["roc_auc"] = compute_roc_auc(labels, probabilities)
        values["balanced_accuracy"] = sk.balanced_accuracy_score(labels, called)
    return values


def _compute_multiclass(
    labels: npt.NDArray[np.int64],
    called: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    undefined: Mapping[str, str],
) -> dict[str, float]:
    n_classes = probabilities.shape[1]
    is_class = np.eye(n_classes)[labels]
    confusion = count_confusion(labels, called, n_classes)
    n_called_wrongly = confusion.sum(axis=0) - np.diag(confusion)
    n_others = len(labels) - confusion.sum(axis=1)
    values = {
        "accuracy": sk.accuracy_score(labels, called),
        "brier": float(np.mean(((probabilities - is_class) ** 2).sum(axis=1))),
        "ece": expected_calibration_error(labels, probabilities),
        "f1": sk.f1_score(
            labels,
            called,
            labels=list(range(n_classes)),
            average="macro",
            zero_division=0,
        ),
    }
    if "specificity" not in undefined:
        values["specificity"] = float(np.mean(1 - n_called_wrongly / n_others))
    if "roc_auc" not in undefined:
        values |= {
            "roc_auc": compute_roc_auc(labels, probabilities),
            "average_precision": _average_over_classes(
                sk.average_precision_score, labels, probabilities
            ),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
            "sensitivity": sk.recall_score(labels, called, average="macro"),
        }
    return values


def _average_over_classes(
    score: Callable[..., float],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
) -> float:
    """Score class 1 where there are two, else every class against the rest."""
    n_classes = probabilities.shape[1]
    scored = [1] if n_classes == 2 else range(n_classes)
    return float(np.mean([score(labels == i, probabilities[:, i]) for i in scored]))
