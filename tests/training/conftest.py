from dataclasses import replace

import numpy as np
import pytest

from eosin.models import build_classifier, build_encoder
from eosin.training import TrainingTiles

N_TILES = 240
N_VIEWS = 2
DIMENSION = 192  # smallcnn's


class InterruptedTrainingError(Exception):
    """Stands for whatever kills a training."""


@pytest.fixture
def tiles():
    """Eight slides of 30 tiles; the last three of them validate."""
    rng = np.random.default_rng(0)
    slides = np.repeat([f"S{i}" for i in range(8)], N_TILES // 8)
    rows = np.arange(N_TILES)
    return TrainingTiles(
        labels=rng.integers(0, 2, N_TILES),
        slide_ids=slides,
        train_rows=rows[:150],
        val_rows=rows[150:],
        class_names=("normal", "tumour"),
    )


@pytest.fixture
def shuffled(tiles):
    """The same tiles with labels that have nothing to do with them."""
    labels = np.random.default_rng(99).permutation(tiles.labels)
    return replace(tiles, labels=labels)


@pytest.fixture
def features(tiles):
    """Features in which a tumour shows in one of eight directions."""
    rng = np.random.default_rng(1)
    array = rng.normal(size=(N_VIEWS, N_TILES, DIMENSION)).astype(np.float32)
    array[..., :8] += 1.5 * tiles.labels[:, None]
    return array


@pytest.fixture
def pixels(tiles):
    """Tiles of 32 px in which a tumour is darker, on average."""
    rng = np.random.default_rng(2)
    images = rng.integers(60, 200, (N_TILES, 32, 32, 3))
    return (images - 25 * tiles.labels[:, None, None, None]).astype(np.uint8)


@pytest.fixture
def make_classifier():
    """Build one small classifier after another, all with equal weights."""

    def make(n_classes=2, seed=3, dropout=0.5):
        encoder = build_encoder("smallcnn", tile_px=32, weights="none", seed=seed)
        return build_classifier(
            encoder, n_classes=n_classes, dropout=dropout, seed=seed
        )

    return make


@pytest.fixture
def stop_after():
    """Make a callback that ends a training by force after an epoch."""

    def make(epoch):
        def on_epoch(metrics):
            if metrics.epoch == epoch:
                raise InterruptedTrainingError

        return on_epoch

    return make


@pytest.fixture
def interrupted():
    return InterruptedTrainingError
