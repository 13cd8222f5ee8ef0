"""From H&E slides to a tumour detector that can be trusted."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eosin.annotations import read_annotations, write_geojson
    from eosin.bags import read_bags
    from eosin.cohorts import read_cohort
    from eosin.evaluation import plan_auc
    from eosin.slides import make_phantom, open_slide
    from eosin.workflows.embed import EmbedConfig, embed_tiles
    from eosin.workflows.evaluate import evaluate_run
    from eosin.workflows.evaluate_mil import evaluate_mil_run
    from eosin.workflows.find_lr import FindLRConfig, find_learning_rates
    from eosin.workflows.import_patches import ImportConfig, import_patches
    from eosin.workflows.interpret import InterpretConfig, interpret_run
    from eosin.workflows.make_bags import MakeBagsConfig, make_bags
    from eosin.workflows.mil_limit import LimitConfig, study_limit
    from eosin.workflows.mil_prediction_config import MILPredictConfig
    from eosin.workflows.predict import PredictConfig, predict_slides
    from eosin.workflows.predict_mil import predict_mil
    from eosin.workflows.predict_patches import PatchPredictConfig, predict_patches
    from eosin.workflows.tile import TileConfig, tile_cohort
    from eosin.workflows.train_mil import MILStudyConfig, train_mil_study
    from eosin.workflows.train_mil_pixels import PixelMILConfig, train_pixel_mil
    from eosin.workflows.train_tiles import TrainConfig, train_classifier
    from eosin.workflows.validate import validate_slides

__version__ = "0.1.0"

# Where each public name lives. They are imported when they are first used, so that
# `import eosin` is quick and needs neither Keras nor pandas.
_HOMES = {
    "EmbedConfig": "eosin.workflows.embed",
    "FindLRConfig": "eosin.workflows.find_lr",
    "ImportConfig": "eosin.workflows.import_patches",
    "InterpretConfig": "eosin.workflows.interpret",
    "LimitConfig": "eosin.workflows.mil_limit",
    "MILPredictConfig": "eosin.workflows.mil_prediction_config",
    "MILStudyConfig": "eosin.workflows.train_mil",
    "MakeBagsConfig": "eosin.workflows.make_bags",
    "PatchPredictConfig": "eosin.workflows.predict_patches",
    "PixelMILConfig": "eosin.workflows.train_mil_pixels",
    "PredictConfig": "eosin.workflows.predict",
    "TileConfig": "eosin.workflows.tile",
    "TrainConfig": "eosin.workflows.train_tiles",
    "embed_tiles": "eosin.workflows.embed",
    "evaluate_mil_run": "eosin.workflows.evaluate_mil",
    "evaluate_run": "eosin.workflows.evaluate",
    "find_learning_rates": "eosin.workflows.find_lr",
    "import_patches": "eosin.workflows.import_patches",
    "interpret_run": "eosin.workflows.interpret",
    "make_bags": "eosin.workflows.make_bags",
    "make_phantom": "eosin.slides",
    "open_slide": "eosin.slides",
    "plan_auc": "eosin.evaluation",
    "predict_mil": "eosin.workflows.predict_mil",
    "predict_patches": "eosin.workflows.predict_patches",
    "predict_slides": "eosin.workflows.predict",
    "read_annotations": "eosin.annotations",
    "read_bags": "eosin.bags",
    "read_cohort": "eosin.cohorts",
    "study_limit": "eosin.workflows.mil_limit",
    "tile_cohort": "eosin.workflows.tile",
    "train_classifier": "eosin.workflows.train_tiles",
    "train_mil_study": "eosin.workflows.train_mil",
    "train_pixel_mil": "eosin.workflows.train_mil_pixels",
    "validate_slides": "eosin.workflows.validate",
    "write_geojson": "eosin.annotations",
}

__all__ = [
    "EmbedConfig",
    "FindLRConfig",
    "ImportConfig",
    "InterpretConfig",
    "LimitConfig",
    "MILPredictConfig",
    "MILStudyConfig",
    "MakeBagsConfig",
    "PatchPredictConfig",
    "PixelMILConfig",
    "PredictConfig",
    "TileConfig",
    "TrainConfig",
    "embed_tiles",
    "evaluate_mil_run",
    "evaluate_run",
    "find_learning_rates",
    "import_patches",
    "interpret_run",
    "make_bags",
    "make_phantom",
    "open_slide",
    "plan_auc",
    "predict_mil",
    "predict_patches",
    "predict_slides",
    "read_annotations",
    "read_bags",
    "read_cohort",
    "study_limit",
    "tile_cohort",
    "train_classifier",
    "train_mil_study",
    "train_pixel_mil",
    "validate_slides",
    "write_geojson",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'eosin' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
