"""Batches of tiles: features, activations or pixels, with their labels."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.core import ConfigError
from eosin.models.keras_backend import keras
from eosin.settings import TileFit
from eosin.training.batches import Batch, Batches, Validation, score_validation
from eosin.training.optimisation import Floats, build_loss, find_log_probabilities
from eosin.training.sampling import count_epoch
from eosin.training.sources import TileSource, iter_ahead
from eosin.training.training_data import Rows, TrainingTiles

# Nothing is kept for gradients, so validation can take larger batches.
_VALIDATION_FACTOR = 2


class TileBatches(Batches):
    """Batches of tiles for a classifier or a part of one.

    Args:
        model: From what `source` gives to logits.
        source: Where the tiles come from.
        tiles: Which tiles, and their labels.
        config: The settings.
        factors: As of `Batches`.

    Raises:
        ConfigError: The source does not hold the tiles, or the settings do not
            fit them.
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
        """Score the validation tiles; several views are averaged as probabilities."""
        rows = np.sort(self.data.val_rows)
        n_views = self._source.n_validation_views
        views = [
            find_log_probabilities(np.concatenate(list(self._iter_logits(rows, view))))
            for view in range(n_views)
        ]
        log_probabilities = np.logaddexp.reduce(views, axis=0) - np.log(n_views)
        return score_validation(self.data.labels[rows], log_probabilities)

    def describe(self) -> dict[str, Any]:
        """Give the number of views that validation sees."""
        return {"views": self._source.n_validation_views}

    def _plan(self, epoch: int) -> Sequence[Rows]:
        first = epoch * self._n_passes
        passes = range(first, first + self._n_passes)
        rows = np.concatenate([self._draw(i) for i in passes])
        return np.array_split(rows, self.n_steps)

    def _read(self, epoch: int, step: int, rows: Rows) -> Batch:
        rng = np.random.default_rng((self.config.seed, epoch, step))
        batch = self._make(self._source.read_training(rows, rng), rows)
        return mix_batch(batch, self._mixup, rng) if self._mixup else batch

    def _iter_logits(self, rows: Rows, view: int) -> Iterator[NDArray[Any]]:
        n = self.config.batch * _VALIDATION_FACTOR
        parts = [rows[i : i + n] for i in range(0, len(rows), n)]
        read = self._source.read_validation
        for inputs in iter_ahead(lambda part: read(part, view), parts):
            yield self.model.predict_on_batch(inputs)


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
