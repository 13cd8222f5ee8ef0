"""From H&E slides to a tumour detector that can be trusted."""

import importlib
from typing import Any

# Where each public name lives. They are imported when they are first used, so that
# `import eosin` is quick and needs neither Keras nor pandas.
_HOMES = {
    "eosin.annotations": ("read_annotations", "write_geojson"),
    "eosin.cohorts": ("read_cohort",),
    "eosin.evaluation": ("plan_auc",),
    "eosin.settings": (
        *("BagTraining", "PixelTraining", "PredictionSettings", "TileTraining"),
        "TilingSettings",
    ),
    "eosin.slides": ("make_phantom", "open_slide"),
    "eosin.workflows.bags": ("make_bags",),
    "eosin.workflows.clean": ("clean_tiles",),
    "eosin.workflows.embed": ("embed_tiles",),
    "eosin.workflows.evaluate": ("evaluate",),
    "eosin.workflows.explore": ("explore_tiles",),
    "eosin.workflows.find_lr": ("find_learning_rates",),
    "eosin.workflows.import_patches": ("import_patches",),
    "eosin.workflows.interpret": ("interpret",),
    "eosin.workflows.limit": ("study_limit",),
    "eosin.workflows.predict": ("predict",),
    "eosin.workflows.tile": ("tile_cohort",),
    "eosin.workflows.train": ("train",),
    "eosin.workflows.validate": ("validate_slides",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - each name stands once, in `_HOMES`


def __getattr__(name: str) -> Any:
    home = "eosin.core.version" if name == "__version__" else _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'eosin' has no attribute '{name}'")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
