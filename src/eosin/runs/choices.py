"""What is chosen on validation patients: per fold, and by all folds together."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from eosin.evaluation import (
    Classes,
    Unit,
    ValidationChoices,
    build_predictions,
    choose_on_validation,
    choose_threshold,
    compute_roc_auc,
    fit_temperature,
    labels_of,
)
from eosin.runs.card import FoldCard
from eosin.runs.run import find_logits

SlideLabels = Mapping[str, int | None]


def choose(
    held: pd.DataFrame,
    *,
    unit: Unit,
    target: Classes,
    rule: str,
    slide_labels: SlideLabels | None = None,
) -> FoldCard:
    """Choose temperature, thresholds and, of tiles, the slide score.

    `held` are rows of `Run.held_out` whose split is `val`, of one fold or of several;
    of a unit that is in several the mean is taken. A fold's test patients validate in
    other folds, so that what several folds choose together has seen them: they are
    called by their own fold's choices.
    """
    labelled = held[held["label"].notna()]
    fit = fit_temperature(find_logits(labelled), labels_of(labelled))
    cautions = [f"Temperature: {fit.caution}."] if fit.caution else []
    if unit == "tile":
        chosen = explain_choices(
            held, fit.temperature, target=target, rule=rule, slide_labels=slide_labels
        )
        return FoldCard(
            temperature=fit.temperature,
            threshold=chosen.thresholds.slide,
            tile_threshold=chosen.thresholds.tile,
            share=chosen.aggregation.aggregation.share,
            cautions=(*cautions, *chosen.cautions),
        )
    rows = pool(held, unit=unit, target=target, temperature=fit.temperature)
    threshold = choose_threshold(
        labels_of(rows), target.take(rows), target=target, rule=rule
    )
    if threshold.caution:
        cautions.append(f"Threshold: {threshold.caution}.")
    return FoldCard(
        temperature=fit.temperature,
        threshold=threshold.threshold,
        cautions=tuple(cautions),
    )


def pool(
    held: pd.DataFrame,
    *,
    unit: Unit,
    target: Classes,
    temperature: float,
) -> pd.DataFrame:
    """Average what several folds say of a unit, as a prediction table."""
    values = pd.DataFrame(target.activate(find_logits(held), temperature))
    mean = values.groupby(held["id"].to_numpy()).mean()
    rows = held.drop_duplicates("id").sort_values("id", ignore_index=True)
    if unit == "tile":
        rows = rows.rename(columns={"id": "tile_id"})
    return build_predictions(rows, mean.to_numpy(), target, unit=unit)


def explain_choices(
    held_out: pd.DataFrame,
    temperature: float,
    *,
    target: Classes,
    rule: str,
    slide_labels: SlideLabels | None,
) -> ValidationChoices:
    """Choose of tiles, with what a page says of the alternatives."""
    val = held_out[held_out["split"] == "val"]
    rows = pool(val, unit="tile", target=target, temperature=temperature)
    return choose_on_validation(
        rows, target=target, slide_labels=slide_labels, rule=rule
    )


def find_validation_auc(held: pd.DataFrame, target: Classes) -> float | None:
    """Return the ROC AUC of rows of `Run.held_out`; None where a class is absent."""
    labelled = held[held["label"].notna()]
    labels = labels_of(labelled)
    if len(np.unique(labels)) < len(target.class_names):
        return None
    return float(compute_roc_auc(labels, target.activate(find_logits(labelled))))


def list_fold_cautions(folds: Sequence[FoldCard]) -> list[str]:
    """Say why folds' choices deserve doubt, one sentence for each reason."""
    owners: dict[str, list[str]] = {}
    for fold, card in enumerate(folds):
        for text in card.cautions:
            owners.setdefault(text[0].lower() + text[1:], []).append(str(fold))
    return [
        f"Fold{'s' * (len(own) > 1)} {', '.join(own)}, {text}"
        for text, own in owners.items()
    ]
