"""Choosing a method and its settings inside each fold (nested validation).

What is chosen by a fold's test patients makes their score too good. Here the patients
that are not in a fold's test are divided into inner folds; every setting is trained and
scored on them, and the best one is then trained as the fold's own.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import fold_patients
from eosin.core import (
    CohortError,
    ConfigError,
    Progress,
    load_config,
    read_json,
    write_json,
)
from eosin.evaluation import compute_probabilities, compute_roc_auc
from eosin.workflows.mil_cohort import MILCohort
from eosin.workflows.mil_fitting import (
    fit_model,
    keep_fitted,
    predict_rows,
    read_fitted,
)

if TYPE_CHECKING:
    from eosin.workflows.train_mil import MILStudyConfig

CHOOSABLE = (
    "aggregator",
    "widths",
    "dropout",
    "epochs",
    "learning_rate",
    "batch",
    "patience",
    "max_instances",
    "class_weights",
)
_SHORT = {"lr": "learning_rate"}
_RESULT = "choice.json"
# Keeps inner folds from repeating the outer ones.
_SEED_STEP = 10_007


@dataclass(frozen=True, eq=False)
class Choice:
    """What one fold chose.

    Attributes:
        config: The study's, with what was chosen.
        settings: What was chosen, by field; empty where nothing was to be chosen.
        table: One row per setting: its fields, `log_loss`, `roc_auc`, `n` (bags that
            it was scored on) and `is_chosen`.
    """

    config: "MILStudyConfig"
    settings: Mapping[str, Any]
    table: pd.DataFrame


def list_settings(config: "MILStudyConfig") -> list["MILStudyConfig"]:
    """List every combination of what is to be chosen, in the order it was given.

    Raises:
        ConfigError: A field cannot be chosen, is named twice, or a value does not fit.
    """
    fields: dict[str, list[str]] = {}
    for text in config.choose:
        name, equals, values = text.partition("=")
        name = _SHORT.get(name.strip(), name.strip())
        if not equals or name not in CHOOSABLE:
            raise ConfigError(
                "--choose takes field=value,value with one of "
                f"{', '.join(CHOOSABLE)} (lr for learning_rate), got '{text}'"
            )
        if name in fields:
            raise ConfigError(f"--choose names {name} twice; give its values in one")
        given = [value.strip() for value in values.split(",") if value.strip()]
        fields[name] = list(dict.fromkeys(given))
        if len(fields[name]) < 2:
            raise ConfigError(f"--choose needs two values or more, got '{text}'")
    base = dataclasses.asdict(config) | {"choose": ()}
    return [
        # Several widths, or weights of classes, are joined by a plus.
        load_config(
            type(config),
            given=base,
            overrides=[
                f"{name}={value.replace('+', ',') if name in _TUPLES else value}"
                for name, value in zip(fields, values, strict=True)
            ],
        )
        for values in itertools.product(*fields.values())
    ]


_TUPLES = ("widths", "class_weights")


def choose_settings(
    cohort: MILCohort,
    config: "MILStudyConfig",
    split: npt.NDArray[np.str_],
    *,
    fold: int,
    state: Path,
    progress: Progress,
) -> Choice:
    """Choose among settings by the patients that are not in a fold's test.

    The settings with the lowest log loss over the bags that their inner folds held out
    win; of equal ones the first.

    Args:
        cohort: All bags.
        config: The study's, with `choose`.
        split: Of every bag in this fold; those of `test` are not looked at.
        fold: Its number.
        state: Folder for what is finished, so that a killed study goes on.
        progress: Told how far it is.

    Raises:
        CohortError: A class has too few patients for the inner folds.
    """
    if not config.choose:
        return Choice(config, {}, pd.DataFrame())
    settings = list_settings(config)
    if not (state / _RESULT).exists():
        splits = divide_inner(cohort, config, split, fold)
        rows = [
            _score(cohort, own, splits, state / str(number), progress)
            for number, own in enumerate(settings)
        ]
        write_json(state / _RESULT, rows)
    scores = pd.DataFrame(read_json(state / _RESULT))
    best = int(scores["log_loss"].to_numpy().argmin())
    names = _list_fields(config)
    table = pd.DataFrame([_describe(own, names) for own in settings]).join(scores)
    table["is_chosen"] = np.arange(len(table)) == best
    chosen = _describe(settings[best], names)
    told = ", ".join(f"{name} {value}" for name, value in chosen.items())
    progress.say(f"fold {fold}: chose {told}")
    return Choice(settings[best], chosen, table)


def divide_inner(
    cohort: MILCohort,
    config: "MILStudyConfig",
    split: npt.NDArray[np.str_],
    fold: int,
) -> list[npt.NDArray[np.str_]]:
    """Divide the patients outside a fold's test into inner folds.

    Returns:
        For each inner fold the split of every bag; empty texts for those of `test`.

    Raises:
        CohortError: A class has too few patients.
    """
    inside = set(cohort.patients[split != "test"])
    table = cohort.table[cohort.table["patient_id"].astype(str).isin(inside)]
    try:
        folds = fold_patients(
            table,
            n_folds=config.inner_folds,
            val_fraction=config.val_fraction,
            negative=config.classes[0],
            seed=config.seed + _SEED_STEP * (fold + 1),
        )
    except CohortError as error:
        raise CohortError(
            f"to choose in fold {fold} its training patients are divided once more "
            f"(--set inner_folds={config.inner_folds}): {error}"
        ) from error
    return [cohort.spread(own) for own in folds]


def _list_fields(config: "MILStudyConfig") -> list[str]:
    names = [text.partition("=")[0].strip() for text in config.choose]
    return [_SHORT.get(name, name) for name in names]


def _describe(config: "MILStudyConfig", names: Sequence[str]) -> dict[str, Any]:
    """Give the fields that were to be chosen, as a table can hold them."""
    values = {name: getattr(config, name) for name in names}
    return {
        name: "+".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in values.items()
    }


def _score(
    cohort: MILCohort,
    config: "MILStudyConfig",
    splits: Sequence[npt.NDArray[np.str_]],
    state: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Train one setting in every inner fold, and score what these held out."""
    labels, found = [], []
    for number, split in enumerate(splits):
        rows = np.flatnonzero(split == "test")
        own = state / str(number)
        if read_fitted(own) is None:
            model, fit = fit_model(
                cohort, config, split, seed=0, state=own, progress=progress
            )
            keep_fitted(own, predict_rows(model, cohort, rows), fit.history)
        fitted = read_fitted(own)
        found.append(fitted.logits if fitted else np.empty(0))
        labels.append(cohort.labels[rows])
    truth = np.concatenate(labels)
    probabilities = compute_probabilities(np.concatenate(found))
    told = np.clip(probabilities[np.arange(len(truth)), truth], 1e-7, 1.0)
    return {
        "log_loss": float(-np.log(told).mean()),
        "roc_auc": float(compute_roc_auc(truth, probabilities)),
        "n": len(truth),
    }
