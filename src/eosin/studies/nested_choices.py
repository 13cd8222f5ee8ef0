"""Choosing a method and its settings inside each fold (nested validation).

What is chosen by a fold's test patients makes their score too good. Here the patients
that are not in a fold's test are divided into inner folds; every setting is trained and
scored on them, and the best one is then trained as the fold's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eosin.core import CohortError, Progress, read_json, write_json
from eosin.evaluation import compute_probabilities, compute_roc_auc, labels_of
from eosin.runs.run import find_logits
from eosin.settings import BagTraining
from eosin.studies.folds import Fitted, fit_once
from eosin.studies.splits import Sides, divide_patients
from eosin.studies.study import BagStudy

_RESULT = "choice.json"
# Keeps inner folds from repeating the outer ones.
_SEED_STEP = 10_007

Score = Callable[[Sides, BagTraining, Path], Fitted]
"""Trains settings on an inner fold and scores what that holds out."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What one fold chose.

    Attributes:
        chosen: The study's settings, with what was chosen.
        settings: What was chosen, by field.
        table: One row per setting: its fields, `log_loss`, `roc_auc`, `n` (bags that
            it was scored on) and `is_chosen`.
    """

    chosen: BagTraining
    settings: Mapping[str, Any]
    table: pd.DataFrame


def choose_settings(
    study: BagStudy,
    settings: BagTraining,
    fold: int,
    score: Score,
    *,
    state: Path,
    progress: Progress,
) -> Choice:
    """Choose among settings by the patients that are not in a fold's test.

    The settings with the lowest log loss over the bags that their inner folds held out
    win; of equal ones the first. What is finished is kept in `state`, so that a killed
    study goes on.
    """
    candidates = settings.list_choices()
    if not (state / _RESULT).exists():
        inner = divide_inner(study, settings, fold)
        rows = []
        for number, candidate in enumerate(candidates):
            places = [state / f"{number}" / f"{k}" for k in range(len(inner))]
            fits = [
                fit_once(place, partial(score, side, candidate, place))
                for place, side in zip(places, inner, strict=True)
            ]
            rows.append(_measure([fitted.held_out for fitted in fits]))
        write_json(state / _RESULT, rows)
    scores = pd.DataFrame(read_json(state / _RESULT, list))
    best = int(scores["log_loss"].to_numpy().argmin())
    names = list(settings.choices)
    described = [_describe(candidate, names) for candidate in candidates]
    table = pd.DataFrame(described).join(scores)
    table["is_chosen"] = np.arange(len(table)) == best
    words = ", ".join(f"{name} {value}" for name, value in described[best].items())
    progress.say(f"fold {fold}: chose {words}")
    return Choice(candidates[best], described[best], table)


def divide_inner(study: BagStudy, settings: BagTraining, fold: int) -> list[Sides]:
    """Divide the patients outside a fold's test into inner folds.

    For each the split of every bag, with empty texts for those of the fold's test.
    """
    inside = set(study.patients[study.sides[fold] != "test"])
    table = study.table[study.table["patient_id"].astype(str).isin(inside)]
    try:
        return divide_patients(
            table,
            study.patients,
            n_folds=settings.inner_folds,
            val_fraction=settings.val_fraction,
            negative=study.class_names[0],
            seed=settings.seed + _SEED_STEP * (fold + 1),
        )
    except CohortError as error:
        raise CohortError(
            f"to choose in fold {fold} its training patients are divided once more "
            f"(--set inner_folds={settings.inner_folds}): {error}"
        ) from error


def _describe(settings: BagTraining, names: Sequence[str]) -> dict[str, Any]:
    """Give the fields that were to be chosen, as a table can hold them."""
    values = {name: getattr(settings, name) for name in names}
    return {
        name: "+".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in values.items()
    }


def _measure(parts: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Measure one setting on what all its inner folds held out."""
    held = pd.concat(parts, ignore_index=True)
    truth = labels_of(held)
    probabilities = compute_probabilities(find_logits(held))
    likelihoods = np.clip(probabilities[np.arange(len(truth)), truth], 1e-7, 1.0)
    return {
        "log_loss": float(-np.log(likelihoods).mean()),
        "roc_auc": float(compute_roc_auc(truth, probabilities)),
        "n": len(truth),
    }
