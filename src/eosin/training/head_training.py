"""Stage 1: the head, on features that were encoded once."""

from pathlib import Path
from typing import Any

from eosin.core import ConfigError, Progress
from eosin.models import split_model
from eosin.models.tile_classifiers import DROPOUT_LAYER
from eosin.training.config import HeadConfig
from eosin.training.history import FitResult
from eosin.training.loop import Listeners, OnEpoch, run_epochs
from eosin.training.sources import CachedViews, Views
from eosin.training.training_tiles import TrainingTiles


def fit_head(  # noqa: PLR0913 - each says another thing of one stage
    classifier: Any,
    features: Views,
    tiles: TrainingTiles,
    config: HeadConfig,
    *,
    n_validation_views: int = 1,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
    on_best: OnEpoch | None = None,
) -> FitResult:
    """Fit a classifier's head to cached features; the encoder never runs.

    Args:
        classifier: From `build_classifier`, with the config's dropout. Its head
            is trained in place and ends with the best epoch's weights.
        features: `(views, tiles, dimension)`, pooled, of every tile of the
            table, as the classifier's own encoder gives them. Each epoch draws
            one view of each tile.
        tiles: Labels and splits.
        config: The settings.
        n_validation_views: Views over which validation averages.
        checkpoint: File of the state after each epoch, from which an
            interrupted training goes on. None keeps none.
        progress: Hears of every step.
        on_epoch: Called after each epoch, once its checkpoint is written.
        on_best: Called after each epoch that is the best so far, before its
            checkpoint is written, while the classifier holds what validation saw.

    Raises:
        ConfigError: The features, the tiles and the settings do not fit the
            classifier or each other.
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    _, head = split_model(classifier, "head")
    source = CachedViews(features, n_validation_views=n_validation_views)
    if source.tile_shape != head.input_shape[1:]:
        raise ConfigError(
            f"{classifier.name} needs features of the shape {head.input_shape[1:]}, "
            f"got {source.tile_shape}; encode the tiles with this encoder"
        )
    if (rate := classifier.get_layer(DROPOUT_LAYER).rate) != config.dropout:
        raise ConfigError(
            f"the classifier was built with a dropout of {rate}, the config says "
            f"{config.dropout}; pass config.dropout to build_classifier"
        )
    return run_epochs(
        head,
        source,
        tiles,
        config,
        stage="head",
        listeners=Listeners(checkpoint, progress, on_epoch, on_best),
    )
