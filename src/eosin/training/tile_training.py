"""Training of tile classifiers: the head, then the last block or the whole encoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from eosin.core import ConfigError
from eosin.models import DROPOUT_LAYER, split_model
from eosin.settings import HeadFit, TuneFit
from eosin.training.batches import Validation
from eosin.training.freezing import (
    computing_in,
    find_learning_rate_factors,
    find_resting,
    find_stages,
    frozen,
)
from eosin.training.history import EpochMetrics, FitResult
from eosin.training.loop import Listeners, run_epochs
from eosin.training.sources import CachedViews, TileSource, Views
from eosin.training.state import put_arrays, take_arrays
from eosin.training.tile_batches import TileBatches
from eosin.training.training_data import TrainingTiles

FINE_TUNE_STAGE = "fine_tune"


def fit_head(
    classifier: Any,
    features: Views,
    tiles: TrainingTiles,
    config: HeadFit,
    listeners: Listeners | None = None,
    *,
    n_validation_views: int = 1,
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
        listeners: Who hears of it, and where it keeps its state.
        n_validation_views: Views over which validation averages.

    Raises:
        ConfigError: The features, the tiles and the settings do not fit the
            classifier or each other.
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    source = CachedViews(features, n_validation_views=n_validation_views)
    return run_epochs(
        batch_features(classifier, source, tiles, config), "head", listeners
    )


def batch_features(
    classifier: Any, source: CachedViews, tiles: TrainingTiles, config: HeadFit
) -> TileBatches:
    """Make batches of features for a classifier's head.

    Raises:
        ConfigError: As of `fit_head`.
    """
    _, head = split_model(classifier, "head")
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
    return TileBatches(head, source, tiles, config)


def fine_tune(
    classifier: Any,
    source: TileSource,
    tiles: TrainingTiles,
    config: TuneFit,
    listeners: Listeners | None = None,
    *,
    stage: str = FINE_TUNE_STAGE,
) -> FitResult:
    """Train a classifier's encoder further, together with its head.

    The classifier is validated before the first epoch too, and keeps its
    weights where no epoch does better.

    Args:
        classifier: From `build_classifier`, as stage 1 left it (also when an
            interrupted training goes on). It is trained in place and ends with
            the best weights.
        source: Cached activations of the trunk that `split_model(classifier,
            "last")` gives, `(views, tiles, height, width, channels)`, for the
            depth `last`; or pixels, for either depth.
        tiles: Labels and splits.
        config: The settings.
        listeners: Who hears of it, and where it keeps its state.
        stage: What the history calls it.

    Raises:
        ConfigError: The source, the tiles and the settings do not fit the
            classifier or each other.
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    with preparing(classifier, source, tiles, config) as batches:
        before, weights = batches.validate(), take_arrays(batches.model.weights)
        result = run_epochs(batches, stage, listeners)
        if result.best.is_better_than(_describe_start(before), result.monitor):
            return result
        put_arrays(batches.model.weights, weights)
    message = (
        f"no epoch of fine-tuning did better on validation ({result.monitor}) "
        "than what it started from, so the weights from before were kept"
    )
    return replace(result, is_best_kept=False, warnings=(*result.warnings, message))


@contextmanager
def preparing(
    classifier: Any, source: TileSource, tiles: TrainingTiles, config: TuneFit
) -> Iterator[TileBatches]:
    """Make a classifier ready for fine-tuning, for the length of a block.

    Yields batches for the part of it that `source` feeds, with all frozen that is not
    trained.

    Raises:
        ConfigError: As of `fine_tune`.
    """
    trunk, tail = split_model(classifier, "last")
    model = classifier
    if isinstance(source, CachedViews):
        _check_activations(source, tail, config)
        model = tail
    resting = find_resting(
        classifier,
        depth=config.depth,
        batch_norm=config.batch_norm,
        trunk_stages=config.trunk_stages,
    )
    with frozen(resting), computing_in(model, config.precision):
        # Behind the freezing: there is one for each variable that is trained.
        factors = find_learning_rate_factors(model, trunk, decay=config.layer_decay)
        yield TileBatches(model, source, tiles, config, factors)


def plan_unfreezing(
    classifier: Any, config: TuneFit, *, n_steps: int, factor: float
) -> tuple[TuneFit, ...]:
    """Plan to train the last block first, then more and more, ever more slowly.

    What lies deep in a pretrained encoder then moves only after what follows it has
    settled (gradual unfreezing; Howard and Ruder, 2018, for language models).

    Args:
        classifier: From `build_classifier`.
        config: The settings of the first step.
        n_steps: The last of these trains the whole encoder, 2 or more; there are at
            most as many as the encoder has stages.
        factor: The peak learning rate of each step over that of the one before.

    Returns:
        The settings of each step, for `fine_tune`.
    """
    trunk, _ = split_model(classifier, "last")
    n_steps = min(n_steps, len(find_stages(trunk)) + 1)
    return tuple(
        replace(
            config,
            depth="last" if step == 0 else "all",
            trunk_stages=step if 0 < step < n_steps - 1 else None,
            learning_rate=config.learning_rate * factor**step,
        )
        for step in range(n_steps)
    )


def _describe_start(scores: Validation) -> EpochMetrics:
    """Give what came before the first epoch, to be compared with others."""
    loss, roc_auc = scores.loss, scores.roc_auc
    return EpochMetrics("start", 0, 0.0, loss, loss, roc_auc, 0.0)


def _check_activations(source: CachedViews, tail: Any, config: TuneFit) -> None:
    if config.depth != "last":
        raise ConfigError(
            "cached activations can fine-tune the depth 'last' only; give PixelTiles "
            f"for '{config.depth}'"
        )
    if source.tile_shape != tail.input_shape[1:]:
        raise ConfigError(
            f"the last block takes activations of the shape {tail.input_shape[1:]}, "
            f"got {source.tile_shape}; encode the tiles with this encoder's trunk"
        )
