"""Training of tile classifiers, head then encoder, and of MIL models."""

from eosin.training.bag_data import TrainingBags
from eosin.training.config import (
    ClassWeights,
    FineTuneConfig,
    HeadConfig,
    TrainingConfig,
)
from eosin.training.fine_tuning import FINE_TUNE_STAGE, fine_tune, plan_unfreezing
from eosin.training.head_training import fit_head
from eosin.training.history import HISTORY_COLUMNS, EpochMetrics, FitResult
from eosin.training.lr_range_test import (
    LearningRateCurve,
    LearningRateSweep,
    find_fine_tuning_curve,
    find_head_curve,
    find_learning_rate_curve,
    run_range_test,
)
from eosin.training.mil_training import MILConfig, MILFitResult, train_mil
from eosin.training.snapshots import SnapshotKeeper
from eosin.training.sources import CachedViews, ChosenTiles, PixelTiles, Views
from eosin.training.training_tiles import TrainingTiles

__all__ = [
    "FINE_TUNE_STAGE",
    "HISTORY_COLUMNS",
    "CachedViews",
    "ChosenTiles",
    "ClassWeights",
    "EpochMetrics",
    "FineTuneConfig",
    "FitResult",
    "HeadConfig",
    "LearningRateCurve",
    "LearningRateSweep",
    "MILConfig",
    "MILFitResult",
    "PixelTiles",
    "SnapshotKeeper",
    "TrainingBags",
    "TrainingConfig",
    "TrainingTiles",
    "Views",
    "find_fine_tuning_curve",
    "find_head_curve",
    "find_learning_rate_curve",
    "fine_tune",
    "fit_head",
    "plan_unfreezing",
    "run_range_test",
    "train_mil",
]
