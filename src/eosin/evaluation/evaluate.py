"""Scoring a prediction table, unit by unit."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from eosin.core import ManifestError
from eosin.evaluation.calibration import compute_reliability
from eosin.evaluation.cautions import find_cautions
from eosin.evaluation.intervals import bootstrap
from eosin.evaluation.predictions import (
    PREDICTION_SCHEMA,
    UNITS,
    Unit,
    groups_of,
    labels_of,
    select_level,
)
from eosin.evaluation.ranking import find_curves
from eosin.evaluation.results import EvaluationResult, LevelResult
from eosin.evaluation.targets import Classes, Threshold
from eosin.evaluation.thresholds import Thresholds

# Of what a reader looks at one by one, the first that a table has.
_LISTED: tuple[Unit, ...] = ("slide", "bag", "patient")


def evaluate_predictions(
    predictions: pd.DataFrame,
    *,
    target: Classes,
    thresholds: Thresholds,
    by_group: Mapping[str, Thresholds] | None = None,
    split: str = "test",
    n_bootstrap: int = 1000,
    seed: int = 0,
    words: Mapping[str, str] | None = None,
) -> EvaluationResult:
    """Score one split of a prediction table for every unit that it holds.

    Nothing is chosen here: thresholds come from validation, see `choose_on_validation`.

    Args:
        predictions: A prediction table.
        target: The classes.
        thresholds: From which probability on units are called, and what figures show.
        by_group: Of a cross-validation, the thresholds of each patient (each bag, where
            bags name no patient) by the fold that held them out, which go before
            `thresholds` in calls.
        split: The split to score.
        n_bootstrap: Resamples of patients for the intervals; 0 for none.
        seed: Decides which resamples are drawn.
        words: What cautions call each unit; None calls a tile a tile.

    Raises:
        ManifestError: The table breaks the schema, or the split has no labelled row.
        ValueError: Two classes come without a threshold.
    """
    table = PREDICTION_SCHEMA.check(predictions, target)
    by_unit = {unit: select_level(table, unit, split=split) for unit in UNITS}
    levels = {
        unit: _evaluate(
            rows,
            unit,
            target=target,
            thresholds=thresholds,
            by_group=by_group,
            n_bootstrap=n_bootstrap,
            seed=seed,
        )
        for unit, rows in by_unit.items()
        if rows["label"].notna().any()
    }
    if not levels:
        counts = table["split"].value_counts()
        held = ", ".join(f"{n} of {name}" for name, n in counts.items()) or "no row"
        raise ManifestError(
            f"predictions: split {split} must have a row with a label to be scored; "
            f"the table holds {held}"
        )
    listed: Unit = next((unit for unit in _LISTED if len(by_unit[unit])), "slide")
    rows = by_unit[listed]
    return EvaluationResult(
        target=target,
        split=split,
        n_bootstrap=n_bootstrap,
        seed=seed,
        levels=levels,
        listed=listed,
        calls=_rank_calls(
            rows, target, _find_thresholds(rows, listed, target, thresholds, by_group)
        ),
        cautions=find_cautions(
            levels, target.class_names, words or {unit: unit for unit in UNITS}
        ),
    )


def _evaluate(
    rows: pd.DataFrame,
    unit: Unit,
    *,
    target: Classes,
    thresholds: Thresholds,
    by_group: Mapping[str, Thresholds] | None,
    n_bootstrap: int,
    seed: int,
) -> LevelResult:
    labelled = rows[rows["label"].notna()]
    labels = labels_of(labelled)
    applied = _find_thresholds(labelled, unit, target, thresholds, by_group)
    sample = target.sample(labels, target.take(labelled), applied)
    found = bootstrap(
        sample,
        target.metrics,
        groups_of(labelled),
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    curves = [
        find_curves(labels == i, sample.predicted[:, i], target.class_names[i], bands)
        for i, *bands in zip(
            sample.ranked, found.roc_bands, found.precision_bands, strict=True
        )
    ]
    n_classes = len(target.class_names)
    return LevelResult(
        level=unit,
        n=len(labels),
        n_unlabelled=len(rows) - len(labels),
        n_patients=labelled["patient_id"].nunique(),
        n_by_class=tuple(np.bincount(labels, minlength=n_classes).tolist()),
        threshold=thresholds.of(unit) if target.is_binary else None,
        metrics=found.metrics,
        confusion=sample.confusion[0].astype(np.int64),
        roc_curves=tuple(roc for roc, _ in curves if roc is not None),
        precision_curves=tuple(other for _, other in curves if other is not None),
        reliability=compute_reliability(sample.shown, sample.is_true),
        scores_by_class=tuple(sample.shown[labels == i] for i in range(n_classes)),
        threshold_range=_find_range(applied),
    )


def _find_thresholds(
    rows: pd.DataFrame,
    unit: Unit,
    target: Classes,
    thresholds: Thresholds,
    by_group: Mapping[str, Thresholds] | None,
) -> Threshold:
    """Give every row the threshold of its patient's fold, or all rows one."""
    if not target.is_binary:
        return None
    if by_group is None:
        return thresholds.of(unit)
    return np.array([by_group[group].of(unit) for group in groups_of(rows)], np.float64)


def _find_range(applied: Threshold) -> tuple[float, float] | None:
    """Find how far the folds' thresholds lie apart; None where all have one."""
    if not isinstance(applied, np.ndarray) or not applied.size:
        return None
    low, high = float(applied.min()), float(applied.max())
    return (low, high) if low < high else None


def _rank_calls(
    rows: pd.DataFrame, target: Classes, threshold: Threshold
) -> pd.DataFrame:
    """List rows, those called wrongly first, the clearest mistakes at the top."""
    values, labels = target.take(rows), labels_of(rows)
    called = target.call(values, threshold) if len(rows) else labels
    is_labelled = labels >= 0
    margins = target.find_margins(labels, values, threshold)
    kept = ["id", "patient_id", "label", *target.columns]
    table = rows[kept].assign(
        called=called,
        is_right=pd.array(called == labels, dtype="boolean"),
        wrong_margin=np.where(is_labelled, margins, np.nan),
    )
    table.loc[~is_labelled, "is_right"] = pd.NA
    order = ["is_right", "wrong_margin", "id"]
    return table.sort_values(order, ascending=[True, False, True], ignore_index=True)
