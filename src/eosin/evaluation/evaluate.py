"""Scoring a prediction table at every level."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ManifestError
from eosin.evaluation.calibration import compute_reliability
from eosin.evaluation.cautions import find_cautions
from eosin.evaluation.curves import Curve, find_precision_curve, find_roc_curve
from eosin.evaluation.intervals import Bootstrap, bootstrap_metrics
from eosin.evaluation.metrics import (
    METRIC_NAMES,
    Threshold,
    call_classes,
    compute_metrics,
    count_confusion,
)
from eosin.evaluation.predictions import (
    LEVELS,
    Level,
    check_predictions,
    labels_of,
    probabilities_of,
    probability_columns,
    select_level,
)
from eosin.evaluation.results import EvaluationResult, LevelResult, MetricResult

# Of slides and patients, then of tiles: threshold by patient.
GroupThresholds = tuple[Mapping[str, float], Mapping[str, float]]


def evaluate_predictions(
    predictions: pd.DataFrame,
    *,
    class_names: Sequence[str],
    threshold: float | None,
    slide_threshold: float | None,
    split: str = "test",
    n_bootstrap: int = 1000,
    seed: int = 0,
    group_thresholds: GroupThresholds | None = None,
) -> EvaluationResult:
    """Score one split of a prediction table at every level that it holds.

    Nothing is chosen here: thresholds come from validation, see `choose_on_validation`.

    Args:
        predictions: A prediction table.
        class_names: Class names in the order of their labels.
        threshold: For tiles, on the probability of class 1. None with more than
            two classes, which are called by the highest probability.
        slide_threshold: The same for slides and patients.
        split: The split to score.
        n_bootstrap: Resamples of patients for the intervals; 0 for none.
        seed: Decides which resamples are drawn.
        group_thresholds: Of a cross-validation, thresholds of tiles and of slides by
            patient, each by the fold that held the patient out; they go before
            `threshold` and `slide_threshold`, which are shown in figures.

    Raises:
        ManifestError: The table breaks the schema, or the split has no labelled row.
        ValueError: Two classes come without a threshold.
    """
    names = tuple(class_names)
    table = check_predictions(predictions, names)
    levels: dict[Level, LevelResult] = {}
    for level in LEVELS:
        rows = select_level(table, level, split=split)
        if rows["label"].notna().any():
            levels[level] = _evaluate_level(
                rows,
                level,
                class_names=names,
                threshold=threshold if level == "tile" else slide_threshold,
                by_patient=group_thresholds[level == "tile"]
                if group_thresholds
                else None,
                n_bootstrap=n_bootstrap,
                seed=seed,
            )
    if not levels:
        counts = table["split"].value_counts()
        held = ", ".join(f"{n} of {name}" for name, n in counts.items()) or "no row"
        raise ManifestError(
            f"predictions: split {split} must have a row with a label to be scored; "
            f"the table holds {held}"
        )
    return EvaluationResult(
        class_names=names,
        split=split,
        n_bootstrap=n_bootstrap,
        seed=seed,
        levels=levels,
        slides=_rank_slides(
            select_level(table, "slide", split=split),
            names,
            slide_threshold,
            group_thresholds[0] if group_thresholds else None,
        ),
        cautions=find_cautions(levels, names),
    )


def _evaluate_level(
    rows: pd.DataFrame,
    level: Level,
    *,
    class_names: tuple[str, ...],
    threshold: float | None,
    by_patient: Mapping[str, float] | None,
    n_bootstrap: int,
    seed: int,
) -> LevelResult:
    labelled = rows[rows["label"].notna()]
    labels = labels_of(labelled)
    probabilities = probabilities_of(labelled, class_names)
    n_classes = len(class_names)
    if n_classes > 2:
        threshold = by_patient = None
    applied = _find_thresholds(labelled, threshold, by_patient)
    values = compute_metrics(
        labels, probabilities, threshold=applied, class_names=class_names
    )
    bootstrap = bootstrap_metrics(
        labels,
        probabilities,
        labelled["patient_id"].to_numpy(),
        threshold=applied,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    metrics = {}
    for name in METRIC_NAMES:
        value, interval = values[name], bootstrap.intervals[name]
        has_value = value.value is not None
        metrics[name] = MetricResult(
            value=value.value,
            low=interval.low if has_value else None,
            high=interval.high if has_value else None,
            n=len(labels),
            n_defined=interval.n_defined,
            reason=value.reason or interval.reason,
        )
    called = call_classes(probabilities, applied)
    roc_curves, precision_curves = _find_curves(
        labels, probabilities, class_names, bootstrap
    )
    shown = probabilities[:, 1] if n_classes == 2 else probabilities.max(axis=1)
    return LevelResult(
        level=level,
        n=len(labels),
        n_unlabelled=len(rows) - len(labels),
        n_patients=bootstrap.n_patients,
        n_by_class=tuple(int(n) for n in np.bincount(labels, minlength=n_classes)),
        threshold=threshold,
        metrics=metrics,
        confusion=count_confusion(labels, called, n_classes),
        roc_curves=roc_curves,
        precision_curves=precision_curves,
        reliability=compute_reliability(labels, probabilities),
        scores_by_class=tuple(shown[labels == i] for i in range(n_classes)),
        threshold_range=_find_range(applied),
    )


def _find_thresholds(
    rows: pd.DataFrame,
    threshold: float | None,
    by_patient: Mapping[str, float] | None,
) -> Threshold:
    """Give every row the threshold of its patient's fold, or all rows one."""
    if by_patient is None:
        return threshold
    return np.array([by_patient[str(p)] for p in rows["patient_id"]], np.float64)


def _find_range(applied: Threshold) -> tuple[float, float] | None:
    """Find how far the folds' thresholds lie apart; None where all have one."""
    if not isinstance(applied, np.ndarray) or not applied.size:
        return None
    low, high = float(applied.min()), float(applied.max())
    return (low, high) if low < high else None


def _find_curves(
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    class_names: tuple[str, ...],
    bootstrap: Bootstrap,
) -> tuple[tuple[Curve, ...], tuple[Curve, ...]]:
    scored = [1] if len(class_names) == 2 else list(range(len(class_names)))
    roc_curves, precision_curves = [], []
    for k, i in enumerate(scored):
        roc_curves.append(
            find_roc_curve(
                labels == i,
                probabilities[:, i],
                class_name=class_names[i],
                band=bootstrap.roc_bands[k],
            )
        )
        precision_curves.append(
            find_precision_curve(
                labels == i,
                probabilities[:, i],
                class_name=class_names[i],
                band=bootstrap.precision_bands[k],
            )
        )
    return (
        tuple(curve for curve in roc_curves if curve is not None),
        tuple(curve for curve in precision_curves if curve is not None),
    )


def _rank_slides(
    slides: pd.DataFrame,
    class_names: tuple[str, ...],
    threshold: float | None,
    by_patient: Mapping[str, float] | None,
) -> pd.DataFrame:
    """List slides, those called wrongly first, the clearest mistakes at the top."""
    probabilities = probabilities_of(slides, class_names)
    labels = labels_of(slides)
    applied = _find_thresholds(
        slides, threshold, by_patient if len(class_names) == 2 else None
    )
    called = np.zeros(0, dtype=np.int64)
    if len(slides):
        called = call_classes(probabilities, applied)
    is_labelled = labels >= 0
    margin = _find_wrong_margin(labels, probabilities, applied)
    table = slides[
        ["slide_id", "patient_id", "label", *probability_columns(class_names)]
    ].assign(
        called=called,
        is_right=pd.array(called == labels, dtype="boolean"),
        wrong_margin=np.where(is_labelled, margin, np.nan),
    )
    table.loc[~is_labelled, "is_right"] = pd.NA
    order = ["is_right", "wrong_margin", "slide_id"]
    return table.sort_values(order, ascending=[True, False, True], ignore_index=True)


def _find_wrong_margin(
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    threshold: Threshold,
) -> npt.NDArray[np.float64]:
    """Measure how far each probability lies beyond what a right call needs."""
    if probabilities.shape[1] == 2 and threshold is not None:
        excess = probabilities[:, 1] - threshold
        return np.where(labels == 1, -excess, excess)
    # Rows without a label take the last column here, and lose the value later.
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = 0
    return np.asarray(others.max(axis=1, initial=0) - probabilities[rows, labels])
