"""Stage 2: the encoder's last block, or all of it, at once or step by step."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    find_stages,
    frozen,
)
from eosin.training.history import EpochMetrics, FitResult
from eosin.training.loop import Listeners, OnEpoch, run_epochs
from eosin.training.sources import CachedViews, PixelTiles
from eosin.training.training_tiles import TrainingTiles
from eosin.training.validation import validate

FINE_TUNE_STAGE = "fine_tune"


def fine_tune(  # noqa: PLR0913 - each says another thing of one stage
    classifier: Any,
    source: CachedViews | PixelTiles,
    tiles: TrainingTiles,
    config: FineTuneConfig,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
    on_best: OnEpoch | None = None,
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
        checkpoint: File of the state after each epoch, from which an
            interrupted training goes on. None keeps none.
        progress: Hears of every step.
        on_epoch: Called after each epoch, once its checkpoint is written.
        on_best: Called after each epoch that is the best so far, before its
            checkpoint is written, while the classifier holds what validation saw.
        stage: What the history calls it.

    Raises:
        ConfigError: The source, the tiles and the settings do not fit the
            classifier or each other.
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    with prepared(classifier, source, config) as (model, factors):
        start = _Start(model, source, tiles, config, stage)
        result = run_epochs(
            model,
            source,
            tiles,
            config,
            stage=stage,
            listeners=Listeners(checkpoint, progress, on_epoch, on_best),
            learning_rate_factors=factors,
        )
        return start.keep_if_best(model, result)


@contextmanager
def prepared(
    classifier: Any, source: CachedViews | PixelTiles, config: FineTuneConfig
) -> Iterator[tuple[Any, tuple[float, ...] | None]]:
    """Make a classifier ready for fine-tuning, for the length of a block.

    Args:
        classifier: From `build_classifier`.
        source: As of `fine_tune`.
        config: The settings.

    Yields:
        The part of the classifier that `source` feeds, with all frozen that is not
        trained, and the learning rate's factor of each of its trainable variables;
        None for 1 throughout.

    Raises:
        ConfigError: The source does not fit the classifier or the settings.
    """
    trunk, tail = split_model(classifier, "last")
    model = classifier
    if isinstance(source, CachedViews):
        _check_activations(source, tail, config)
        model = tail
    with ExitStack() as stack:
        if model is classifier:
            stack.enter_context(frozen(_find_resting(trunk, config)))
        if config.batch_norm == "frozen":
            stack.enter_context(frozen(find_batch_norms(model)))
        stack.enter_context(computing_in(model, config.precision))
        if config.layer_decay == 1:
            yield model, None
        else:
            # Behind the freezing: there is one for each variable that is trained.
            yield (
                model,
                find_learning_rate_factors(model, trunk, decay=config.layer_decay),
            )


def plan_unfreezing(
    classifier: Any, config: FineTuneConfig, *, n_steps: int, factor: float
) -> tuple[FineTuneConfig, ...]:
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


def _find_resting(trunk: Any, config: FineTuneConfig) -> Iterator[Any]:
    """List the layers before the last block that are not trained."""
    if config.depth == "last":
        yield from trunk.layers
    elif config.trunk_stages is not None:
        for layers in find_stages(trunk)[config.trunk_stages :]:
            yield from layers


class _Start:
    """The classifier as it came, and how well it does."""

    def __init__(
        self,
        model: Any,
        source: CachedViews | PixelTiles,
        tiles: TrainingTiles,
        config: FineTuneConfig,
        stage: str,
    ) -> None:
        scores = validate(model, source, tiles, batch=config.batch)
        self._metrics = EpochMetrics(
            stage, 0, 0.0, scores.loss, scores.loss, scores.roc_auc, 0.0
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
