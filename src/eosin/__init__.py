"""From H&E slides to a tumour detector that can be trusted."""

import importlib
from typing import Any

# Where each public name lives. They are imported when they are first used, so that
# `import eosin` is quick and needs neither Keras nor pandas.
_HOMES = {
    "BagTraining": "eosin.settings",
    "PixelTraining": "eosin.settings",
    "PredictionSettings": "eosin.settings",
    "TileTraining": "eosin.settings",
    "TilingSettings": "eosin.settings",
    "__version__": "eosin.core.version",
    "clean_tiles": "eosin.workflows.clean",
    "embed_tiles": "eosin.workflows.embed",
    "evaluate": "eosin.workflows.evaluate",
    "explore_tiles": "eosin.workflows.explore",
    "find_learning_rates": "eosin.workflows.find_lr",
    "import_patches": "eosin.workflows.import_patches",
    "interpret": "eosin.workflows.interpret",
    "make_bags": "eosin.workflows.bags",
    "make_phantom": "eosin.slides",
    "open_slide": "eosin.slides",
    "plan_auc": "eosin.evaluation",
    "predict": "eosin.workflows.predict",
    "read_annotations": "eosin.annotations",
    "read_cohort": "eosin.cohorts",
    "study_limit": "eosin.workflows.limit",
    "tile_cohort": "eosin.workflows.tile",
    "train": "eosin.workflows.train",
    "validate_slides": "eosin.workflows.validate",
    "write_geojson": "eosin.annotations",
}

__all__ = [
    "BagTraining",
    "PixelTraining",
    "PredictionSettings",
    "TileTraining",
    "TilingSettings",
    "clean_tiles",
    "embed_tiles",
    "evaluate",
    "explore_tiles",
    "find_learning_rates",
    "import_patches",
    "interpret",
    "make_bags",
    "make_phantom",
    "open_slide",
    "plan_auc",
    "predict",
    "read_annotations",
    "read_cohort",
    "study_limit",
    "tile_cohort",
    "train",
    "validate_slides",
    "write_geojson",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'eosin' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
