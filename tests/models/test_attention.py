import numpy as np
import pytest
from scipy.special import expit, softmax

from eosin.models.attention import (
    AttentionScores,
    GatedAttentionScores,
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


def test_scores_are_as_in_the_paper(bags):
    plain = AttentionScores(6, branches=2)
    found = _run(plain, bags)
    (v, a), (w, b) = plain.content.get_weights(), plain.score.get_weights()
    np.testing.assert_allclose(found, np.tanh(bags @ v + a) @ w + b, atol=1e-5)
    gated = GatedAttentionScores(6, branches=2)
    found = _run(gated, bags)
    (v, a), (w, b) = gated.content.get_weights(), gated.score.get_weights()
    u, c = gated.gate.get_weights()
    expected = (np.tanh(bags @ v + a) * expit(bags @ u + c)) @ w + b
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        AttentionScores(6, branches=2, seed=3),
        GatedAttentionScores(6, seed=3),
    ],
    ids=lambda layer: layer.name,
)
def test_a_layer_is_made_again_from_its_config(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("options", [{"units": 0}, {"units": 1, "branches": 0}])
def test_widths_are_at_least_1(options):
    with pytest.raises(ValueError, match="units and branches must be 1 or more"):
        AttentionScores(**options)


def test_seeds_and_places_tell_layers_apart():
    def draw(seed, place):
        initialiser = seed_dense(seed, place)["kernel_initializer"]
        return np.asarray(initialiser((4, 4)))

    np.testing.assert_array_equal(draw(0, 0), draw(0, 0))
    assert not np.array_equal(draw(0, 0), draw(0, 1))
    assert not np.array_equal(draw(0, 0), draw(1, 0))
