"""Fitting the folds of a study, each kept when it is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from eosin.core import Progress, atomic_path, read_json, write_json
from eosin.evaluation import Classes
from eosin.runs.card import FoldCard
from eosin.runs.choices import SlideLabels, choose
from eosin.runs.run import HELD_OUT_FILE, SPLITS_FILE, find_logits
from eosin.studies.study import Study

_RESULT, _HELD = "result.json", "held_out.parquet"


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
        """Write `splits.csv`, `held_out.parquet` and `history.csv`."""
        tables = {SPLITS_FILE: study.splits, "history.csv": self.history}
        for name, table in tables.items():
            with atomic_path(out / name) as temporary:
                table.to_csv(temporary, index=False)
        with atomic_path(out / HELD_OUT_FILE) as temporary:
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

    Args:
        study: Units and splits.
        learner: Trains the models.
        rule: How thresholds are chosen.
        state: Where checkpoints and the numbers of finished fits are kept.
        progress: Told how far it is.
        slide_labels: Of tiles the labels of their slides, where slides have any.

    Raises:
        ConfigError: A class has no unit to train on, or settings contradict.
        ModelError: Training diverged, or an exported model differs.
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
        seeds = [
            _fit(learner, fold, seed, state / f"fold_{fold}_{seed}")
            for seed in range(learner.n_seeds)
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


def _fit(learner: Learner, fold: int, seed: int, state: Path) -> Fitted:
    """Fit one model, or read what it gave."""
    if (fitted := read_fitted(state)) is None:
        keep_fitted(state, learner.fit(fold, seed, state))
        fitted = read_fitted(state)
    if fitted is None:
        raise AssertionError(state)
    return fitted


def keep_fitted(state: Path, fitted: Fitted) -> None:
    """Keep what came of a fit, its numbers last, so that it is whole or not there."""
    state.mkdir(parents=True, exist_ok=True)
    with atomic_path(state / _HELD) as temporary:
        fitted.held_out.to_parquet(temporary, index=False)
    history = fitted.history.astype(object).where(fitted.history.notna(), None)
    write_json(
        state / _RESULT,
        {
            "history": history.to_dict("records"),
            "facts": dict(fitted.facts),
            "warnings": list(fitted.warnings),
        },
    )


def read_fitted(state: Path) -> Fitted | None:
    """Read what `keep_fitted` kept; None where that fit is not finished."""
    if not (state / _RESULT).exists():
        return None
    content = read_json(state / _RESULT)
    return Fitted(
        held_out=pd.read_parquet(state / _HELD),
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
