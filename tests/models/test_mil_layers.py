import keras
import numpy as np
import pytest

from eosin.models import build_encoder, mil_layers
from eosin.models.mil_layers import (
    ClinicalHead,
    FeatureScaling,
    SeededDropout,
    TileEncoding,
)


def run(layer, inputs, **options):
    found = layer(keras.ops.convert_to_tensor(inputs), **options)
    return keras.ops.convert_to_numpy(keras.ops.stop_gradient(found))


BAGS = np.array([[[1.0, 5.0], [3.0, 5.0]]], np.float32)


def test_features_are_scaled_and_constant_ones_only_shifted():
    layer = FeatureScaling()
    assert np.array_equal(run(layer, BAGS), BAGS)
    layer.set_statistics(np.array([2.0, 4.0]), np.array([0.5, 0.0]))
    assert run(layer, BAGS).tolist() == [[[-2, 1], [2, 1]]]
    layer.set_statistics(np.array([2.0, 4.0]), np.array([0.5, 0.0]), clip=1.5)
    assert run(layer, BAGS).tolist() == [[[-1.5, 1], [1.5, 1]]]
    # Batches are scaled the same as they are read.
    out = np.empty_like(BAGS)
    layer.scale.apply(BAGS, out)
    assert out == pytest.approx(run(layer, BAGS))
    # Rounding noise counts as constant.
    layer.set_statistics(np.array([1e4, 0.0]), np.array([1e-4, 1e-4]))
    np.testing.assert_allclose(layer.deviation, [1, 1e-4])


def test_columns_are_weighed_and_say_nothing_at_first():
    columns = np.array([[1.0, -2.0, 0.0], [0.0, 0.5, 1.0]], np.float32)
    head = ClinicalHead(1, name="own")
    assert run(head, columns).tolist() == [[0], [0]]
    head.set_weights([np.array([[1.0], [2.0], [3.0]])])
    np.testing.assert_allclose(run(head, columns), [[-3.0], [4.0]])
    other = ClinicalHead.from_config(head.get_config())
    assert (other.n_outputs, other.name) == (1, "own")


@pytest.mark.parametrize("n_tiles", [6, 19])
@pytest.mark.parametrize("training", [False, True])
def test_tiles_are_encoded_alone_but_for_a_batch_that_learns(n_tiles, training):
    """Some tiles at a time, except where batch normalisation sees all as one batch."""
    encoder, other = (
        build_encoder("smallcnn", tile_px=32, weights="none", seed=1) for _ in range(2)
    )
    layer = TileEncoding(encoder)
    bags = np.random.default_rng(0).integers(0, 256, (1, n_tiles, 3072))
    bags = bags.astype(np.float32)
    found = run(layer, bags, training=training)
    maps = run(other, bags.reshape(n_tiles, 32, 32, 3), training=training)
    np.testing.assert_allclose(found[0], maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    assert layer.compute_output_shape((None, None, 3072)) == (None, None, 192)
    assert len(layer.weights) == len(encoder.weights)


def test_a_share_is_dropped_and_the_rest_scaled_up():
    inputs = np.full((4, 100, 250), 3.0, np.float32)
    found = run(SeededDropout(0.25, seed=1), inputs, training=True)
    assert set(np.unique(found)) == {0.0, 4.0}
    # 100,000 draws: a deviation of the share is 0.0014.
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.007)
    # Every place by itself: rows and columns hold their share too.
    assert np.abs((found == 0).mean(axis=(0, 1)) - 0.25).max() < 0.12
    assert np.abs((found == 0).mean(axis=(0, 2)) - 0.25).max() < 0.08


@pytest.mark.parametrize(("rate", "training"), [(0.5, False), (0.0, True)])
def test_nothing_is_dropped_outside_training_or_at_a_rate_of_0(rate, training):
    layer = SeededDropout(rate, seed=1)
    assert np.array_equal(run(layer, BAGS, training=training), BAGS)


def test_draws_follow_the_seed_and_differ_between_calls():
    inputs = np.ones((20, 20), np.float32)
    layer, twin, other = (SeededDropout(0.5, seed=seed) for seed in (3, 3, 4))
    first = run(layer, inputs, training=True)
    assert np.array_equal(run(twin, inputs, training=True), first)
    assert not np.array_equal(run(layer, inputs, training=True), first)
    assert not np.array_equal(run(other, inputs, training=True), first)


def test_dropout_keeps_half_precision_and_its_config():
    layer = SeededDropout(0.5, seed=3, dtype="mixed_bfloat16", name="drop")
    found = layer(keras.ops.ones((2, 3), dtype="float32"), training=True)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    again = SeededDropout.from_config(layer.get_config())
    assert (again.rate, again.seed, again.name) == (0.5, 3, "drop")
    assert layer.compute_output_shape((None, 3)) == (None, 3)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_pytorch_drops_what_keras_uniform_numbers_say(monkeypatch, dtype):
    inputs = keras.ops.ones((3, 50, 7), dtype="float32")
    found = []
    for kind in (mil_layers.can_take, None):
        monkeypatch.setattr(mil_layers, "can_take", kind)
        layer = SeededDropout(0.25, seed=5, dtype=dtype)
        calls = [layer(inputs, training=True) for _ in range(2)]
        found.append(keras.ops.convert_to_numpy(keras.ops.cast(calls, "float32")))
    np.testing.assert_array_equal(*found)
