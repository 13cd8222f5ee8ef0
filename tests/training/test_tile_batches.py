from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from eosin.models.keras_backend import keras
from eosin.settings import HeadFit, TuneFit
from eosin.training import CachedViews, TrainingTiles
from eosin.training.batches import Batch
from eosin.training.optimisation import encode_labels
from eosin.training.tile_training import TileBatches, mix_batch


def _make(n_classes, views=1, n=40):
    rng = np.random.default_rng(0)
    rows = np.arange(n)
    tiles = TrainingTiles(
        labels=rows % n_classes,
        slide_ids=rows,
        train_rows=rows[:12],
        val_rows=rows[12:],
        class_names=tuple("abc"[:n_classes]),
    )
    logits = rng.normal(size=(views, n, 1 if n_classes == 2 else n_classes))
    return tiles, logits.astype("float32")


def _validate(source, tiles, batch=7):
    """Take what is cached for the logits themselves."""
    inputs = keras.Input(source.tile_shape)
    echo = keras.Model(inputs, keras.layers.Identity()(inputs))
    return TileBatches(echo, source, tiles, HeadFit(batch=batch)).validate()


def _find_probabilities(logits):
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    exponentials = np.exp(logits.astype("float64"))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_metrics_are_scikit_learns_on_the_first_view(n_classes):
    tiles, logits = _make(n_classes, views=3)
    actual = _validate(CachedViews(logits), tiles, batch=5)
    expected = _find_probabilities(logits[0])[tiles.val_rows]
    labels = tiles.labels[tiles.val_rows]
    assert actual.loss == pytest.approx(log_loss(labels, expected), rel=1e-6)
    scores = expected[:, 1] if n_classes == 2 else expected
    auc = roc_auc_score(labels, scores, multi_class="ovr")
    assert actual.roc_auc == pytest.approx(auc)


def test_the_order_of_the_rows_does_not_matter():
    tiles, logits = _make(2)
    turned = replace(tiles, val_rows=tiles.val_rows[::-1])
    source = CachedViews(logits)
    assert _validate(source, tiles) == _validate(source, turned)


def _read_epochs(make_classifier, pixels, tiles, n_epochs=1, **settings):
    """Read the training rows of some epochs, step by step."""
    seen = []

    class Listening(CachedViews):
        def read_training(self, rows, rng):
            seen.append(rows)
            return super().read_training(rows, rng)

    config = HeadFit(batch=32, balance="none", **settings)
    source = Listening(pixels[None])
    batches = TileBatches(make_classifier(), source, tiles, config)
    ticks = [t for e in range(n_epochs) for t, _ in batches.iter_epoch(e)]
    assert ticks == list(range(n_epochs * batches.n_ticks))
    return seen


def test_passes_of_one_epoch_are_in_different_orders(make_classifier, pixels, tiles):
    seen = _read_epochs(make_classifier, pixels, tiles, epochs=1, min_steps=10)
    half = len(seen) // 2
    for part in (seen[:half], seen[half:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(part)), tiles.train_rows)
    assert not np.array_equal(seen[0], seen[half])


def test_an_epoch_shows_every_tile_in_batches_of_equal_size(
    make_classifier, pixels, tiles
):
    seen = _read_epochs(make_classifier, pixels, tiles, n_epochs=2)
    assert [len(rows) for rows in seen] == [30] * 10
    for part in (seen[:5], seen[5:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(part)), tiles.train_rows)


def test_mixup_blends_what_is_read(make_classifier, pixels, tiles):
    config = TuneFit(batch=50, mixup=0.3, balance="none")
    source = CachedViews(pixels[None])
    batches = TileBatches(make_classifier(), source, tiles, config)
    (_, batch), *_ = batches.iter_epoch(0)
    assert batch.inputs.shape == (50, 32, 32, 3)
    assert ((batch.targets > 0) & (batch.targets < 1)).any()


def _mix(inputs, targets, weights=None, alpha=0.4, seed=0):
    weights = np.ones(len(inputs), np.float32) if weights is None else weights
    rng = np.random.default_rng(seed)
    mixed = mix_batch(Batch(inputs, targets, weights), alpha, rng)
    return mixed.inputs, mixed.targets, mixed.weights


def _draw(n, alpha, seed=0):
    """The pairs and shares that the same generator gives."""
    rng = np.random.default_rng(seed)
    return rng.permutation(n), rng.beta(alpha, alpha, n)


def test_tiles_and_labels_are_blended_by_one_share():
    tiles = np.random.default_rng(1).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    targets = encode_labels(np.array([0, 1, 1, 0, 1, 0]), 2)
    mixed, labels, weights = _mix(tiles, targets)
    partners, shares = _draw(6, 0.4)
    for i in range(6):
        whole = shares[i] * tiles[i].astype(float)
        rest = (1 - shares[i]) * tiles[partners[i]].astype(float)
        np.testing.assert_allclose(mixed[i], whole + rest, rtol=1e-5)
        expected = shares[i] * targets[i] + (1 - shares[i]) * targets[partners[i]]
        np.testing.assert_allclose(labels[i], expected, rtol=1e-5)
    np.testing.assert_allclose(weights, 1, rtol=1e-6)
    assert mixed.dtype == labels.dtype == weights.dtype == np.float32


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_a_blend_is_that_of_its_weighted_parts(n_classes, smoothing):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, n_classes, 8)
    class_weights = np.array([1.0, 3.0, 0.5], np.float32)[:n_classes]
    targets, weights = encode_labels(labels, n_classes), class_weights[labels]
    logits = rng.normal(size=(8, 1 if n_classes == 2 else n_classes)).astype("float32")
    kind = "Binary" if n_classes == 2 else "Categorical"
    loss = getattr(keras.losses, f"{kind}Crossentropy")(
        from_logits=True, label_smoothing=smoothing, reduction=None
    )
    _, mixed, mixed_weights = _mix(np.zeros((8, 1)), targets, weights)
    actual = mixed_weights * np.asarray(loss(mixed, logits))
    partners, shares = _draw(8, 0.4)
    mine = weights * np.asarray(loss(targets, logits))
    theirs = weights[partners] * np.asarray(loss(targets[partners], logits))
    np.testing.assert_allclose(actual, shares * mine + (1 - shares) * theirs, rtol=1e-4)


def test_a_small_alpha_leaves_most_tiles_nearly_whole():
    inputs, targets = np.eye(500, dtype=np.float32), np.ones((500, 1), np.float32)
    largest = {
        a: np.median(_mix(inputs, targets, alpha=a)[0].max(1)) for a in (0.05, 5)
    }
    assert largest[0.05] > 0.99
    assert largest[5] < 0.7
