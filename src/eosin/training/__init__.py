"""Training of tile classifiers, head then encoder, and of MIL models."""

from eosin.training.bag_data import TrainingBags
from eosin.training.config import FineTuneConfig, HeadConfig, TrainingConfig
from eosin.training.fine_tuning import fine_tune
from eosin.training.head_training import fit_head
from eosin.training.history import HISTORY_COLUMNS, EpochMetrics, FitResult
from eosin.training.lr_range_test import (
    LearningRateCurve,
    LearningRateSweep,
    find_learning_rate_curve,
    run_range_test,
)
from eosin.training.mil_training import MILConfig, MILFitResult, train_mil
from eosin.training.sources import CachedViews, PixelTiles
from eosin.training.training_tiles import TrainingTiles

__all__ = [
    "HISTORY_COLUMNS",
    "CachedViews",
    "EpochMetrics",
    "FineTuneConfig",
    "FitResult",
    "HeadConfig",
    "LearningRateCurve",
    "LearningRateSweep",
    "MILConfig",
    "MILFitResult",
    "PixelTiles",
    "TrainingBags",
    "TrainingConfig",
    "TrainingTiles",
    "find_learning_rate_curve",
    "fine_tune",
    "fit_head",
    "run_range_test",
    "train_mil",
]
