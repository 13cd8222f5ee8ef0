"""Training of tile classifiers: the head, then the last block or the whole encoder."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.core import ConfigError
from eosin.models import DROPOUT_LAYER, split_model
from eosin.models.keras_backend import keras
from eosin.settings import HeadFit, TileFit, TuneFit
from eosin.training.batches import (
    Batch,
    Batches,
    Validation,
    count_epoch,
    score_validation,
)
from eosin.training.freezing import (
    calling_directly,
    computing_in,
    find_learning_rate_factors,
    find_resting,
    find_stages,
    frozen,
)
from eosin.training.history import EpochMetrics, FitResult
from eosin.training.loop import Listeners, run_epochs
from eosin.training.optimisation import Floats, build_loss, find_log_probabilities
from eosin.training.sources import CachedViews, TileSource, Views, iter_ahead
from eosin.training.state import put_arrays, take_arrays
from eosin.training.training_data import Rows, TrainingTiles

FINE_TUNE_STAGE = "fine_tune"

# Nothing is kept for gradients, so validation can take larger batches.
_VALIDATION_FACTOR = 2


class TileBatches(Batches):
    """Batches of tiles from a source for a model from what it gives to logits.

    Raises:
        ConfigError: The source does not hold as many tiles as have labels.
    """

    def __init__(
        self,
        model: Any,
        source: TileSource,
        tiles: TrainingTiles,
        config: TileFit,
        factors: Sequence[float] | None = None,
    ) -> None:
        if source.n_tiles != len(tiles.labels):
            raise ConfigError(
                f"the cached or readable tiles ({source.n_tiles}) must be as many as "
                f"the labels ({len(tiles.labels)})"
            )
        super().__init__(keras.Model(model.input, model.output), tiles, config)
        self._source, self._mixup = source, config.mixup
        self.loss = build_loss(tiles.n_classes, label_smoothing=config.label_smoothing)
        self.ema_decay, self.factors = config.ema_decay, factors
        # Equal batches: a last one of a few tiles would weigh as much as a full.
        steps = max(1, round(count_epoch(self._shares) / config.batch))
        self._n_passes = max(
            1, math.ceil(config.least_steps / (config.n_epochs * steps))
        )
        self.n_steps: int = self._n_passes * steps

    def validate(self) -> Validation:
        """Score the validation tiles."""
        rows = np.sort(self.data.val_rows)
        logits = np.concatenate(list(self._iter_logits(rows)))
        return score_validation(self.data.labels[rows], find_log_probabilities(logits))

    def _plan(self, epoch: int) -> Sequence[Rows]:
        first = epoch * self._n_passes
        passes = range(first, first + self._n_passes)
        rows = np.concatenate([self._draw(i) for i in passes])
        return np.array_split(rows, self.n_steps)

    def _read(self, epoch: int, step: int, rows: Rows) -> Batch:
        rng = np.random.default_rng((self.config.seed, epoch, step))
        batch = self._make(self._source.read_training(rows, rng), rows)
        return mix_batch(batch, self._mixup, rng) if self._mixup else batch

    def _iter_logits(self, rows: Rows) -> Iterator[NDArray[Any]]:
        n = self.config.batch * _VALIDATION_FACTOR
        parts = [rows[i : i + n] for i in range(0, len(rows), n)]
        for inputs in iter_ahead(self._source.read_validation, parts):
            yield self.model.predict_on_batch(inputs)


def fit_head(
    classifier: Any,
    features: Views,
    tiles: TrainingTiles,
    config: HeadFit,
    listeners: Listeners | None = None,
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

    Raises:
        ConfigError: The features, the tiles and the settings do not fit the
            classifier or each other.
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    batches = batch_features(classifier, CachedViews(features), tiles, config)
    return run_epochs(batches, "head", listeners)


def batch_features(
    classifier: Any, source: CachedViews, tiles: TrainingTiles, config: HeadFit
) -> TileBatches:
    """Make batches of features for a classifier's head, once they fit it."""
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
        start = _describe_start(before).rank(result.monitor)
        if result.best.rank(result.monitor) < start:
            return result
        put_arrays(batches.model.weights, weights)
    message = (
        f"no epoch of fine-tuning did better on validation ({result.monitor}) "
        "than what it started from, so the weights from before were kept"
    )
    return replace(result, warnings=(*result.warnings, message))


@contextmanager
def preparing(
    classifier: Any, source: TileSource, tiles: TrainingTiles, config: TuneFit
) -> Iterator[TileBatches]:
    """Make a classifier ready for fine-tuning, for the length of a block.

    Yields batches for the part of it that `source` feeds, with all frozen that is not
    trained.
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
    with (
        frozen(resting),
        computing_in(model, config.precision),
        calling_directly(model),
    ):
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


def mix_batch(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Blend every tile of a batch with another of it (Zhang et al., 2018).

    Each tile's share of its blend is drawn from Beta(alpha, alpha): nearly all or
    nearly nothing for small values, anything alike for 1. The loss of a blend is
    that of its two parts, each by its share and its weight; this is exact for a
    cross entropy, which is linear in the target. All becomes float32.
    """
    n = len(batch.inputs)
    partners = rng.permutation(n)
    shares: Floats = rng.beta(alpha, alpha, n).astype(np.float32)
    mine: Floats = shares * batch.weights
    weights: Floats = mine + (1 - shares) * batch.weights[partners]
    return Batch(
        _blend(batch.inputs.astype(np.float32), partners, shares),
        _blend(batch.targets, partners, mine / weights),
        weights,
    )


def _blend(values: Floats, partners: Rows, shares: Floats) -> Floats:
    column: Floats = shares.reshape(-1, *[1] * (values.ndim - 1))
    return column * values + (1 - column) * values[partners]
