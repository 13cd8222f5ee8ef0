"""From H&E slides to a tumour detector that can be trusted."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eosin.annotations import read_annotations, write_geojson
    from eosin.cohorts import read_cohort
    from eosin.slides import make_phantom, open_slide
    from eosin.workflows.evaluate import evaluate_run
    from eosin.workflows.find_lr import FindLRConfig, find_learning_rates
    from eosin.workflows.interpret import InterpretConfig, interpret_run
    from eosin.workflows.mil_limit import LimitConfig, study_limit
    from eosin.workflows.predict import PredictConfig, predict_slides
    from eosin.workflows.predict_patches import PatchPredictConfig, predict_patches
    from eosin.workflows.tile import TileConfig, tile_cohort
    from eosin.workflows.train_tiles import TrainConfig, train_classifier
    from eosin.workflows.validate import validate_slides

__version__ = "0.1.0"

# Where each public name lives. They are imported when they are first used, so that
# `import eosin` is quick and needs neither Keras nor pandas.
_HOMES = {
    "FindLRConfig": "eosin.workflows.find_lr",
    "InterpretConfig": "eosin.workflows.interpret",
    "LimitConfig": "eosin.workflows.mil_limit",
    "PatchPredictConfig": "eosin.workflows.predict_patches",
    "PredictConfig": "eosin.workflows.predict",
    "TileConfig": "eosin.workflows.tile",
    "TrainConfig": "eosin.workflows.train_tiles",
    "evaluate_run": "eosin.workflows.evaluate",
    "find_learning_rates": "eosin.workflows.find_lr",
    "interpret_run": "eosin.workflows.interpret",
    "make_phantom": "eosin.slides",
    "open_slide": "eosin.slides",
    "predict_patches": "eosin.workflows.predict_patches",
    "predict_slides": "eosin.workflows.predict",
    "read_annotations": "eosin.annotations",
    "read_cohort": "eosin.cohorts",
    "study_limit": "eosin.workflows.mil_limit",
    "tile_cohort": "eosin.workflows.tile",
    "train_classifier": "eosin.workflows.train_tiles",
    "validate_slides": "eosin.workflows.validate",
    "write_geojson": "eosin.annotations",
}

__all__ = [
    "FindLRConfig",
    "InterpretConfig",
    "LimitConfig",
    "PatchPredictConfig",
    "PredictConfig",
    "TileConfig",
    "TrainConfig",
    "evaluate_run",
    "find_learning_rates",
    "interpret_run",
    "make_phantom",
    "open_slide",
    "predict_patches",
    "predict_slides",
    "read_annotations",
    "read_cohort",
    "study_limit",
    "tile_cohort",
    "train_classifier",
    "validate_slides",
    "write_geojson",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'eosin' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
