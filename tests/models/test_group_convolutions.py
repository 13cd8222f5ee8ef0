"""Layers on groups, against turned images and plain convolutions."""

import itertools

import numpy as np
import pytest
from scipy.signal import correlate2d

from eosin.models.group_convolutions import (
    N_ELEMENTS as N,
)
from eosin.models.group_convolutions import (
    GroupBatchNormalization,
    GroupConvolution,
    GroupPooling,
    LiftingConvolution,
)
from eosin.models.keras_backend import keras


def _act(element, array, axes=(1, 2)):
    """Reflect the columns for the elements from 4 on, then turn."""
    if element >= 4:
        array = np.flip(array, axes[1])
    return np.rot90(array, element % 4, axes)


def _compose():
    """Tell which element g after h is, from what they do to a lopsided image."""
    image = np.arange(9).reshape(3, 3)
    known = {_act(g, image, (0, 1)).tobytes(): g for g in range(N)}
    return [
        [known[_act(g, _act(h, image, (0, 1)), (0, 1)).tobytes()] for h in range(N)]
        for g in range(N)
    ]


def _act_on_maps(element, maps):
    """Turn a map on the group: its places, and with them its elements."""
    products = _compose()
    split = maps.reshape(*maps.shape[:3], -1, N)
    turned = np.empty_like(split)
    for h in range(N):
        turned[..., products[element][h]] = _act(element, split[..., h])
    return turned.reshape(maps.shape)


def _draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _run(layer, maps, **kwargs):
    return keras.ops.convert_to_numpy(layer(np.ascontiguousarray(maps), **kwargs))


def test_lifting_is_a_plain_convolution_in_every_orientation():
    layer = LiftingConvolution(2, 3)
    image = _draw((1, 7, 6, 3))
    actual = _run(layer, image)
    kernel = layer.get_weights()[0]
    assert kernel.shape == (3, 3, 3, 2)
    for element, channel in itertools.product(range(N), range(2)):
        expected = sum(
            correlate2d(
                image[0, ..., i],
                _act(element, kernel[..., i, channel], (0, 1)),
                mode="valid",
            )
            for i in range(3)
        )
        np.testing.assert_allclose(
            actual[0, ..., channel * N + element], expected, atol=1e-5
        )


def test_the_upright_output_sums_a_plain_convolution_of_every_element():
    layer = GroupConvolution(2, 3)
    maps = _draw((1, 5, 5, 3 * N))
    actual = _run(layer, maps)
    kernel = layer.get_weights()[0]
    assert kernel.shape == (3, 3, 3, N, 2)
    for channel in range(2):
        expected = sum(
            correlate2d(maps[0, ..., i * N + h], kernel[..., i, h, channel], "valid")
            for i in range(3)
            for h in range(N)
        )
        np.testing.assert_allclose(actual[0, ..., channel * N], expected, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_turning_a_map_turns_what_comes_out(size):
    layer = GroupConvolution(2, size)
    maps = _draw((2, 8, 8, 3 * N))
    expected = _run(layer, maps)
    for element in range(N):
        np.testing.assert_allclose(
            _run(layer, _act_on_maps(element, maps)),
            _act_on_maps(element, expected),
            atol=1e-4,
        )


def test_pooling_averages_a_channels_elements():
    maps = _draw((2, 4, 4, 3 * N))
    actual = _run(GroupPooling(), maps)
    expected = [maps[..., i * N : (i + 1) * N].mean(axis=-1) for i in range(3)]
    np.testing.assert_allclose(actual, np.stack(expected, -1), atol=1e-6)
    for element in range(N):
        turned = _run(GroupPooling(), _act_on_maps(element, maps))
        np.testing.assert_allclose(turned, _act(element, actual), atol=1e-6)


def test_a_channels_elements_share_their_statistics():
    layer = GroupBatchNormalization(momentum=0.75, epsilon=1e-3)
    maps = 3 * _draw((4, 5, 5, 2 * N)) + 1
    actual = _run(layer, maps, training=True)
    channels = maps.reshape(4, 5, 5, 2, N)
    mean, variance = channels.mean(axis=(0, 1, 2, 4)), channels.var(axis=(0, 1, 2, 4))
    expected = (channels - mean[:, None]) / np.sqrt(variance + 1e-3)[:, None]
    np.testing.assert_allclose(actual, expected.reshape(maps.shape), atol=1e-5)
    # Stored: three quarters of what was, one of what came.
    np.testing.assert_allclose(layer.moving_mean, mean / 4, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.75 + variance / 4, rtol=1e-5)


def test_normalisation_agrees_with_kerass_on_the_elements_as_places():
    rng = np.random.default_rng(1)
    weights = [rng.uniform(0.5, 2, 3).astype("float32") for _ in range(4)]
    ours, theirs = GroupBatchNormalization(), keras.layers.BatchNormalization()
    maps = _draw((2, 4, 4, 24))
    as_places = maps.reshape(2, 4, 4, 3, 8).transpose(0, 1, 2, 4, 3)
    ours.build(maps.shape)
    theirs.build(as_places.shape)
    ours.set_weights(weights)
    theirs.set_weights(weights)
    for training in (False, True):
        expected = _run(theirs, as_places, training=training)
        np.testing.assert_allclose(
            _run(ours, maps, training=training),
            expected.transpose(0, 1, 2, 4, 3).reshape(maps.shape),
            atol=1e-5,
        )
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_frozen_normalisation_keeps_and_uses_what_it_stored():
    layer = GroupBatchNormalization(epsilon=0.0)
    maps = _draw((2, 4, 4, 8))
    layer.build(maps.shape)
    gamma, beta, mean, variance = 2.0, 1.0, 3.0, 4.0
    layer.set_weights([np.full(1, v) for v in (gamma, beta, mean, variance)])
    layer.trainable = False
    np.testing.assert_allclose(
        _run(layer, maps, training=True), (maps - 3) / 2 * 2 + 1, atol=1e-5
    )
    assert [float(w[0]) for w in layer.get_weights()] == [2.0, 1.0, 3.0, 4.0]


def test_a_network_is_saved_and_comes_back(tmp_path):
    image = keras.Input((10, 10, 3))
    x = LiftingConvolution(2, 5)(image)
    x = GroupBatchNormalization(momentum=0.5, epsilon=0.1)(x)
    x = GroupConvolution(3, 3)(x)
    model = keras.Model(image, GroupPooling()(x))
    assert model.output_shape == (None, 4, 4, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    tiles = _draw((2, 10, 10, 3))
    np.testing.assert_array_equal(
        loaded.predict_on_batch(tiles), model.predict_on_batch(tiles)
    )
    for ours, theirs in zip(loaded.layers, model.layers, strict=True):
        assert ours.get_config() == theirs.get_config()
    kernels = 25 * 3 * 2 + 9 * 2 * N * 3
    assert model.count_params() == kernels + 4 * 2


def test_half_precision_computes_and_keeps_its_weights():
    layer = GroupBatchNormalization(dtype="mixed_bfloat16")
    out = layer(keras.ops.cast(_draw((2, 4, 4, 8)), "bfloat16"), training=True)
    assert keras.backend.standardize_dtype(out.dtype) == "bfloat16"
    assert all(v.dtype == "float32" for v in layer.weights)
    conv = GroupConvolution(1, dtype="mixed_bfloat16")
    out = conv(_draw((1, 4, 4, 8)))
    assert keras.backend.standardize_dtype(out.dtype) == "bfloat16"


def test_a_map_of_open_size_has_a_shape():
    image = keras.Input((None, None, 3))
    maps = GroupConvolution(2)(LiftingConvolution(1)(image))
    assert maps.shape == (None, None, None, 16)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LiftingConvolution(0), "channels must be 1 or more, got 0"),
        (lambda: LiftingConvolution(1, 2), "kernel_size must be odd.*got 2"),
    ],
)
def test_arguments_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "layer", [GroupConvolution(1), GroupBatchNormalization(), GroupPooling()]
)
@pytest.mark.parametrize("width", [3, 12])
def test_a_map_on_no_group_is_refused(layer, width):
    with pytest.raises(ValueError, match="begin with a LiftingConvolution"):
        layer(np.zeros((1, 4, 4, width), "float32"))
