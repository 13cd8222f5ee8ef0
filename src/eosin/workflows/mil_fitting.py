"""One training of a MIL study, kept so that a killed study need not repeat it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import fit_clinical
from eosin.core import Progress, read_json, write_json
from eosin.models import BagPrediction, MILModel, build_mil_model, predict_bags
from eosin.training import MILConfig, MILFitResult, TrainingBags, train_mil
from eosin.workflows.mil_cohort import MILCohort

if TYPE_CHECKING:
    from eosin.workflows.train_mil import MILStudyConfig

Floats = npt.NDArray[np.float64]

_RESULT = "result.json"
_CHECKPOINT = "training.npz"


@dataclass(frozen=True, eq=False)
class Fitted:
    """What is kept of one training.

    Attributes:
        logits: Of the bags that were asked for, `(bags, outputs)`.
        history: One row per epoch.
    """

    logits: Floats
    history: pd.DataFrame


def fit_model(
    cohort: MILCohort,
    config: "MILStudyConfig",
    split: npt.NDArray[np.str_],
    *,
    seed: int,
    state: Path,
    progress: Progress,
) -> tuple[MILModel, MILFitResult]:
    """Train one model on the bags whose split is `train`; `val` stops it.

    Scaling and the encoding of clinical columns come from `train` alone.

    Args:
        cohort: All bags.
        config: How.
        split: Of every bag; those of any other split are not looked at.
        seed: Which of the models that differ in their first weights.
        state: Folder of the checkpoint, from which a killed training goes on.
        progress: Told of every epoch.
    """
    rows = np.flatnonzero(split == "train")
    bags = TrainingBags(
        cohort.bags, rows, np.flatnonzero(split == "val"), cohort.class_names
    )
    clinical = None
    if cohort.kinds:
        clinical = fit_clinical(cohort.list_clinical(rows), cohort.kinds)
    model = build_mil_model(
        config.aggregator,
        dimension=bags.n_features,
        n_classes=bags.n_classes,
        widths=config.widths,
        dropout=config.dropout,
        precision=config.precision,
        seed=1000 * seed + config.seed,
        clinical=clinical,
    )
    return model, run_training(model, bags, config.training, state, progress)


def run_training(
    model: MILModel,
    bags: TrainingBags,
    config: MILConfig,
    state: Path,
    progress: Progress,
) -> MILFitResult:
    """Train a model with its checkpoint in a folder, from which it goes on."""
    state.mkdir(parents=True, exist_ok=True)
    return train_mil(
        model, bags, config, checkpoint=state / _CHECKPOINT, progress=progress
    )


def predict_rows(
    model: MILModel, cohort: MILCohort, rows: npt.NDArray[np.int64]
) -> list[BagPrediction]:
    """Score some of a study's bags."""
    return predict_bags(model, [cohort.bags[row] for row in rows])


def keep_fitted(
    state: Path, predictions: Sequence[BagPrediction], history: pd.DataFrame
) -> None:
    """Write what came of a training, whole or not at all."""
    history = history.astype(object).where(history.notna(), None)
    write_json(
        state / _RESULT,
        {
            "logits": [p.logits.astype(float).tolist() for p in predictions],
            "history": history.to_dict("records"),
        },
    )
    (state / _CHECKPOINT).unlink(missing_ok=True)


def read_fitted(state: Path) -> Fitted | None:
    """Read what `keep_fitted` kept; None where that training is not finished."""
    if not (state / _RESULT).exists():
        return None
    content: dict[str, Any] = read_json(state / _RESULT)
    logits = np.array(content["logits"], np.float64)
    return Fitted(logits, pd.DataFrame(content["history"]))
