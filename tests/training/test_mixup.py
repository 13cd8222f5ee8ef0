import numpy as np
import pytest

from eosin.models.keras_backend import keras
from eosin.training.losses import encode_labels
from eosin.training.mixup import mix_batch


def _mix(inputs, targets, weights=None, alpha=0.4, seed=0):
    weights = np.ones(len(inputs), np.float32) if weights is None else weights
    rng = np.random.default_rng(seed)
    return mix_batch(inputs, targets, weights, alpha=alpha, rng=rng)


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


def test_the_seed_decides():
    inputs, targets = np.eye(5, dtype=np.float32), np.ones((5, 1), np.float32)
    first, again, other = (_mix(inputs, targets, seed=s)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_small_alpha_leaves_most_tiles_nearly_whole():
    inputs, targets = np.eye(500, dtype=np.float32), np.ones((500, 1), np.float32)
    largest = {
        a: np.median(_mix(inputs, targets, alpha=a)[0].max(1)) for a in (0.05, 5)
    }
    assert largest[0.05] > 0.99
    assert largest[5] < 0.7


def test_a_single_tile_has_nobody_to_be_blended_with():
    tile = np.full((1, 2), 7.0, np.float32)
    mixed, labels, weights = _mix(tile, np.ones((1, 1), np.float32))
    np.testing.assert_allclose(mixed, tile, rtol=1e-6)
    assert labels == 1
    assert weights == pytest.approx(1)
