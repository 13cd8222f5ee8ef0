import numpy as np
import pytest
import torch

from eosin.models import dense, torch_products
from eosin.models.dense import Dense
from eosin.models.keras_backend import keras

SEEDED = {"kernel_initializer": keras.initializers.GlorotUniform(seed=1)}


@pytest.fixture
def inputs():
    return np.random.default_rng(0).normal(size=(2, 300, 64)).astype(np.float32)


def make_pair(**options):
    pair = [kind(32, **SEEDED, **options) for kind in (Dense, keras.layers.Dense)]
    for layer in pair:
        layer.build((None, None, 64))
        if layer.use_bias:
            layer.bias.assign(np.linspace(-1, 1, 32))
    return pair


@pytest.fixture
def calls(monkeypatch):
    """Let every product go the faster way, and count them."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("PyTorch was built without oneDNN")
    monkeypatch.setattr(torch_products, "has_faster_library", lambda: True)
    calls = []
    real = torch_products.Product.apply
    monkeypatch.setattr(
        torch_products.Product, "apply", lambda *args: calls.append(1) or real(*args)
    )
    return calls


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_it_does_what_keras_does(inputs, calls, activation, use_bias):
    ours, theirs = make_pair(activation=activation, use_bias=use_bias)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ours(inputs)),
        keras.ops.convert_to_numpy(theirs(inputs)),
        atol=1e-5,
    )
    assert calls


def test_it_learns_what_keras_learns(inputs, calls):
    found = []
    for layer in make_pair(activation="tanh"):
        model = keras.Sequential([keras.Input((300, 64)), layer])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        for _ in range(3):
            model.train_on_batch(inputs, np.ones((2, 300, 32), np.float32))
        found.append(model.get_weights())
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert len(calls) == 3


@pytest.mark.parametrize("activation", [None, "tanh"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_bias_and_product_are_one_call_that_says_what_keras_does(
    inputs, monkeypatch, activation, use_bias
):
    ours, theirs = make_pair(activation=activation, use_bias=use_bias)
    monkeypatch.setattr(torch_products, "has_faster_library", lambda: False)
    expected = keras.ops.convert_to_numpy(theirs(inputs))
    found = keras.ops.convert_to_numpy(ours.run(keras.ops.convert_to_tensor(inputs)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_on_another_backend_it_is_keras_own_to_the_bit(inputs, monkeypatch):
    ours, theirs = make_pair()
    monkeypatch.setattr(dense, "can_take", None)
    expected = keras.ops.convert_to_numpy(theirs(inputs))
    for call in (ours, ours.run):
        found = keras.ops.convert_to_numpy(call(inputs))
        np.testing.assert_array_equal(found, expected)


def test_half_precision_is_near_keras_own(inputs, calls):
    ours, theirs = make_pair(dtype="mixed_bfloat16")
    found, expected = (
        keras.ops.convert_to_numpy(keras.ops.cast(layer(inputs), "float32"))
        for layer in (ours, theirs)
    )
    # Of 8 bits; Keras rounds once more, between product and bias.
    np.testing.assert_allclose(found, expected, rtol=2**-7, atol=2**-7)
    assert not calls


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_layer_keeps_its_precision_whoever_calls_it(inputs, dtype):
    # As a head that gives logits does within a model of half precision.
    ours, _ = make_pair(dtype=dtype)

    class Outer(keras.layers.Layer):
        def call(self, inputs):
            return ours.run(inputs)

    expected = ours(inputs)
    found = Outer(dtype="mixed_bfloat16", autocast=False)(inputs)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(
        *(
            keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))
            for x in (found, expected)
        )
    )


def test_weights_of_keras_own_layer_are_taken(inputs, tmp_path):
    # Files name a layer's weights after its class.
    theirs, ours = (
        keras.Sequential([keras.Input((300, 64)), layer])
        for layer in reversed(make_pair())
    )
    theirs.layers[0].bias.assign(np.full(32, 7))
    theirs.save_weights(tmp_path / "a.weights.h5")
    ours.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(ours.get_weights()[1], np.full(32, 7))
