"""Stage 2: the encoder's last block, or all of it."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from eosin.core import ConfigError, Progress
from eosin.models import split_model
from eosin.training.checkpoints import put_arrays, take_arrays
from eosin.training.config import FineTuneConfig
from eosin.training.freezing import (
    computing_in,
    find_batch_norms,
    find_learning_rate_factors,
    frozen,
)
from eosin.training.history import EpochMetrics, FitResult
from eosin.training.loop import Listeners, OnEpoch, run_epochs
from eosin.training.sources import CachedViews, PixelTiles
from eosin.training.training_tiles import TrainingTiles
from eosin.training.validation import validate

_STAGE = "fine_tune"


def fine_tune(
    classifier: Any,
    source: CachedViews | PixelTiles,
    tiles: TrainingTiles,
    config: FineTuneConfig,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
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
        checkpoint: File of the state after each epoch, from which an
            interrupted training goes on. None keeps none.
        progress: Hears of every step.
        on_epoch: Called after each epoch, once its checkpoint is written.

    Raises:
        ConfigError: The source, the tiles and the settings do not fit the
            classifier or each other.
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    trunk, tail = split_model(classifier, "last")
    is_cached = isinstance(source, CachedViews)
    if isinstance(source, CachedViews):
        _check_activations(source, tail, config)
    model = tail if is_cached else classifier
    with ExitStack() as stack:
        if config.depth == "last" and not is_cached:
            stack.enter_context(frozen(trunk.layers))
        if config.batch_norm == "frozen":
            stack.enter_context(frozen(find_batch_norms(model)))
        stack.enter_context(computing_in(model, config.precision))
        # Behind the freezing: there is one for each variable that is trained.
        factors = find_learning_rate_factors(model, trunk, decay=config.layer_decay)
        start = _Start(model, source, tiles, config)
        result = run_epochs(
            model,
            source,
            tiles,
            config,
            stage=_STAGE,
            listeners=Listeners(checkpoint, progress, on_epoch),
            learning_rate_factors=None if config.layer_decay == 1 else factors,
        )
        return start.keep_if_best(model, result)


class _Start:
    """The classifier as it came, and how well it does."""

    def __init__(
        self,
        model: Any,
        source: CachedViews | PixelTiles,
        tiles: TrainingTiles,
        config: FineTuneConfig,
    ) -> None:
        scores = validate(model, source, tiles, batch=config.batch)
        self._metrics = EpochMetrics(
            _STAGE, 0, 0.0, scores.loss, scores.loss, scores.roc_auc, 0.0
        )
        self._weights = take_arrays(model.weights)

    def keep_if_best(self, model: Any, result: FitResult) -> FitResult:
        """Put the first weights back where no epoch did better."""
        if result.best.is_better_than(self._metrics, result.monitor):
            return result
        put_arrays(model.weights, self._weights)
        message = (
            f"no epoch of fine-tuning did better on validation ({result.monitor}) "
            "than what it started from, so the weights from before were kept"
        )
        return replace(result, is_best_kept=False, warnings=(*result.warnings, message))


def _check_activations(source: CachedViews, tail: Any, config: FineTuneConfig) -> None:
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
