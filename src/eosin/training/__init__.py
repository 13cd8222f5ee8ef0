"""Training of tile classifiers, head then encoder, and of MIL models."""

from eosin.training.history import EpochMetrics, FitResult
from eosin.training.loop import Listeners
from eosin.training.lr_range_test import (
    LearningRateCurve,
    find_fine_tuning_curve,
    find_head_curve,
)
from eosin.training.mil_training import train_mil
from eosin.training.snapshots import SnapshotKeeper
from eosin.training.sources import CachedViews, ChosenTiles, PixelTiles, Views
from eosin.training.tile_training import (
    FINE_TUNE_STAGE,
    fine_tune,
    fit_head,
    plan_unfreezing,
)
from eosin.training.training_data import TrainingBags, TrainingTiles

__all__ = [
    "FINE_TUNE_STAGE",
    "CachedViews",
    "ChosenTiles",
    "EpochMetrics",
    "FitResult",
    "LearningRateCurve",
    "Listeners",
    "PixelTiles",
    "SnapshotKeeper",
    "TrainingBags",
    "TrainingTiles",
    "Views",
    "find_fine_tuning_curve",
    "find_head_curve",
    "fine_tune",
    "fit_head",
    "plan_unfreezing",
    "train_mil",
]
