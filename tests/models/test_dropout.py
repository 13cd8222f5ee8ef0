import keras
import numpy as np
import pytest

from eosin.models.dropout import SeededDropout


def run(layer, inputs, *, training=True):
    found = layer(keras.ops.convert_to_tensor(inputs), training=training)
    return keras.ops.convert_to_numpy(found)


def test_a_share_is_dropped_and_the_rest_scaled_up():
    inputs = np.full((4, 100, 250), 3.0, np.float32)
    found = run(SeededDropout(0.25, seed=1), inputs)
    assert set(np.unique(found)) == {0.0, 4.0}
    # 100,000 draws: a deviation of the share is 0.0014.
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.007)
    # Every place by itself: rows and columns hold their share too.
    assert np.abs((found == 0).mean(axis=(0, 1)) - 0.25).max() < 0.12
    assert np.abs((found == 0).mean(axis=(0, 2)) - 0.25).max() < 0.08


def test_nothing_is_dropped_outside_training_or_at_a_rate_of_0():
    inputs = np.arange(6, dtype=np.float32)
    assert np.array_equal(
        run(SeededDropout(0.5, seed=1), inputs, training=False), inputs
    )
    assert np.array_equal(run(SeededDropout(0.0, seed=1), inputs), inputs)


def test_draws_follow_the_seed_and_differ_between_calls():
    inputs = np.ones((20, 20), np.float32)
    layer, twin = SeededDropout(0.5, seed=3), SeededDropout(0.5, seed=3)
    first = run(layer, inputs)
    assert np.array_equal(run(twin, inputs), first)
    assert not np.array_equal(run(layer, inputs), first)
    assert not np.array_equal(run(SeededDropout(0.5, seed=4), inputs), first)


def test_it_keeps_half_precision_and_its_config():
    layer = SeededDropout(0.5, seed=3, dtype="mixed_bfloat16", name="drop")
    found = layer(keras.ops.ones((2, 3), dtype="float32"), training=True)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    again = SeededDropout.from_config(layer.get_config())
    assert (again.rate, again.seed, again.name) == (0.5, 3, "drop")
    assert layer.compute_output_shape((None, 3)) == (None, 3)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\)"):
        SeededDropout(rate, seed=0)
