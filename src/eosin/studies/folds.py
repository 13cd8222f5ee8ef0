"""Fitting the folds of a study, each kept when it is done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from eosin.core import (
    Progress,
    RunError,
    atomic_path,
    raising,
    read_json,
    read_parquet,
    write_csv,
    write_json,
)
from eosin.evaluation import Classes
from eosin.runs.card import FoldCard
from eosin.runs.choices import SlideLabels, choose
from eosin.runs.run import PREDICTIONS_FILE, SPLITS_FILE, find_logits
from eosin.studies.study import Study


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted:
    """What came of one fit.

    Attributes:
        held_out: What the model says of the units that it did not train on:
            `id, slide_id, patient_id, label, split` and `logit_<i>`.
        history: One row per epoch.
        facts: Further fields of `FoldCard`, as JSON holds them.
        warnings: What the user should know, as sentences.
    """

    held_out: pd.DataFrame
    history: pd.DataFrame
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Learner(Protocol):
    """What differs between the kinds of model."""

    @property
    def n_seeds(self) -> int:
        """Models of each fold, whose logits are averaged."""
        ...

    def find_model(self, fold: int, seed: int) -> str:
        """Name a model's file or stem in the run folder, as its card does."""
        ...

    def fit(self, fold: int, seed: int, state: Path) -> Fitted:
        """Train one model and write its files, going on where it was interrupted."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Folds:
    """All folds of a study.

    Attributes:
        cards: Models and choices of each.
        together: What all choose together.
        held_out: As in `Run.held_out`.
        history: One row per epoch, seed and fold.
        warnings: What the user should know, as sentences.
    """

    cards: tuple[FoldCard, ...]
    together: FoldCard
    held_out: pd.DataFrame
    history: pd.DataFrame
    warnings: tuple[str, ...]

    def write(self, study: Study, out: Path) -> None:
        """Write `splits.csv`, `predictions.parquet` and `history.csv`."""
        write_csv(out / SPLITS_FILE, study.splits)
        write_csv(out / "history.csv", self.history)
        with atomic_path(out / PREDICTIONS_FILE) as temporary:
            self.held_out.to_parquet(temporary, index=False)


def fit_folds(
    study: Study,
    learner: Learner,
    *,
    rule: str,
    state: Path,
    progress: Progress,
    slide_labels: SlideLabels | None = None,
) -> Folds:
    """Fit every fold, and choose on the patients that validate.

    Checkpoints and the numbers of finished fits are kept in `state`. `slide_labels` are
    of tiles the labels of their slides, where slides have any.
    """
    held_parts, histories, cards, warnings = [], [], [], []
    how: dict[str, Any] = {
        "unit": study.unit,
        "target": Classes(study.class_names),
        "rule": rule,
        "slide_labels": slide_labels,
    }
    for fold in range(study.n_folds):
        if study.n_folds > 1:
            progress.say(f"Fold {fold + 1} of {study.n_folds}")
        places = [state / f"fold_{fold}_{seed}" for seed in range(learner.n_seeds)]
        seeds = [
            fit_once(place, partial(learner.fit, fold, seed, place))
            for seed, place in enumerate(places)
        ]
        held = _average(seeds)
        held_parts.append(held.assign(fold=fold))
        histories += [
            fitted.history.assign(seed=seed, fold=fold)
            for seed, fitted in enumerate(seeds)
        ]
        warnings += [text for fitted in seeds for text in fitted.warnings]
        chosen = choose(held[held["split"] == "val"], **how)
        models = tuple(
            learner.find_model(fold, seed) for seed in range(learner.n_seeds)
        )
        cards.append(replace(chosen, models=models, **seeds[0].facts))
    held_out = pd.concat(held_parts, ignore_index=True)
    held_out.insert(0, "fold", held_out.pop("fold"))
    return Folds(
        cards=tuple(cards),
        together=choose(held_out[held_out["split"] == "val"], **how),
        held_out=held_out,
        history=pd.concat(histories, ignore_index=True),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def fit_once(state: Path, fit: Callable[[], Fitted]) -> Fitted:
    """Fit and keep what comes of it in a folder, or read what is kept there."""
    result, held_out = state / "result.json", state / "held_out.parquet"
    if not result.exists():
        fitted = fit()
        state.mkdir(parents=True, exist_ok=True)
        with atomic_path(held_out) as temporary:
            fitted.held_out.to_parquet(temporary, index=False)
        history = fitted.history.astype(object).where(fitted.history.notna(), None)
        # Last of all, so that a fit is whole or not there.
        write_json(
            result,
            {
                "history": history.to_dict("records"),
                "facts": dict(fitted.facts),
                "warnings": list(fitted.warnings),
            },
        )
    remedy = "delete this folder, and the same command fits it again"
    with raising(
        RunError, f"{state}: what was kept of a fit is damaged", remedy=remedy
    ):
        content = read_json(result)
        return Fitted(
            held_out=read_parquet(held_out).to_pandas(),
            history=pd.DataFrame(content["history"]),
            facts=content["facts"],
            warnings=tuple(content["warnings"]),
        )


def _average(seeds: Sequence[Fitted]) -> pd.DataFrame:
    """Average the logits of models that differ in their seed."""
    first = seeds[0].held_out
    if len(seeds) == 1:
        return first
    mean = np.mean([find_logits(fitted.held_out) for fitted in seeds], axis=0)
    return first.assign(**{f"logit_{i}": column for i, column in enumerate(mean.T)})
