"""Training of tile classifiers in two stages: the head, then the encoder."""

from eosin.training.config import FineTuneConfig, HeadConfig, TrainingConfig
from eosin.training.fine_tuning import fine_tune
from eosin.training.head_training import fit_head
from eosin.training.history import HISTORY_COLUMNS, EpochMetrics, FitResult
from eosin.training.sources import CachedViews, PixelTiles
from eosin.training.training_tiles import TrainingTiles

__all__ = [
    "HISTORY_COLUMNS",
    "CachedViews",
    "EpochMetrics",
    "FineTuneConfig",
    "FitResult",
    "HeadConfig",
    "PixelTiles",
    "TrainingConfig",
    "TrainingTiles",
    "fine_tune",
    "fit_head",
]
