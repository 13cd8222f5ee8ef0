import numpy as np
import pytest
from scipy.special import softmax

from eosin.models.attention import (
    masked_softmax,
    seed_dense,
)
from eosin.models.keras_backend import keras

ops = keras.ops


def _run(layer, *arrays):
    inputs = [keras.Input(array.shape[1:], dtype=str(array.dtype)) for array in arrays]
    named = {"mask": inputs[1]} if len(inputs) > 1 else {}
    return keras.Model(inputs, layer(inputs[0], **named)).predict_on_batch(list(arrays))


@pytest.fixture
def bags():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 4, 5)).astype(np.float32)


@pytest.fixture
def mask():
    return np.array([[True] * 4, [True] * 2 + [False] * 2, [False] * 4])


def test_hidden_scores_get_exactly_0_and_the_rest_sums_to_1(mask):
    scores = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    found = np.asarray(
        masked_softmax(
            ops.convert_to_tensor(scores), ops.convert_to_tensor(mask), axis=1
        )
    )
    np.testing.assert_allclose(found[0], softmax(scores[0]), rtol=1e-5)
    np.testing.assert_allclose(found[1, :2], softmax(scores[1, :2]), rtol=1e-5)
    assert (found[~mask] == 0).all()


def test_half_precision_scores_become_float32_weights():
    scores = ops.convert_to_tensor(np.zeros((1, 20_000), np.float16))
    mask = ops.convert_to_tensor(np.ones((1, 20_000), bool))
    found = np.asarray(masked_softmax(scores, mask, axis=1))
    assert found.dtype == np.float32
    # float16 has no number within 1 % of 1 / 20,000.
    np.testing.assert_allclose(found, 1 / 20_000, rtol=1e-4)


def test_seeds_and_places_tell_layers_apart():
    def draw(seed, place):
        initialiser = seed_dense(seed, place)["kernel_initializer"]
        return np.asarray(initialiser((4, 4)))

    np.testing.assert_array_equal(draw(0, 0), draw(0, 0))
    assert not np.array_equal(draw(0, 0), draw(0, 1))
    assert not np.array_equal(draw(0, 0), draw(1, 0))
