"""Grad-CAM, against maps that were worked out by hand."""

import sys
import types

import cv2
import numpy as np
import pytest
import torch

from eosin.core import ModelError
from eosin.models import build_classifier, build_encoder, find_map, grad_cam
from eosin.models.grad_cam import (
    weigh_activations,
)
from eosin.models.keras_backend import keras

layers = keras.layers


def _build_tiny(n_logits=1, activation=None, end=None):
    """A network whose 2x2 feature map is the first two channels of the tile."""
    tiles = keras.Input((2, 2, 2))
    maps = layers.Conv2D(2, 1, use_bias=False, name="maps")(tiles)
    output = layers.Dense(n_logits, activation=activation, name="dense")(
        layers.GlobalAveragePooling2D()(maps)
    )
    if end is not None:
        output = end(output)
    model = keras.Model(tiles, output, name="tiny")
    model.get_layer("maps").set_weights([np.eye(2)[None, None]])
    return model


TILE = np.array([[[4, 1], [2, 0]], [[0, 6], [0, 1]]], np.float32)
"""Channel 0 is [[4, 2], [0, 0]], channel 1 is [[1, 0], [6, 1]]."""


@pytest.fixture
def single():
    """One logit: twice the mean of channel 0 minus that of channel 1."""
    model = _build_tiny()
    model.get_layer("dense").set_weights([np.array([[2.0], [-1.0]]), np.zeros(1)])
    return model


def test_a_single_logits_map_is_that_of_the_hand(single):
    # Gradients 2 / 4 and -1 / 4 everywhere, so the sum is A0 / 2 - A1 / 4:
    # [[1.75, 1], [-1.5, -0.25]]. What is below 0 is cut, the highest becomes 1.
    expected = np.array([[1.75, 1], [0, 0]]) / 1.75
    np.testing.assert_allclose(grad_cam(single, TILE[None], 1)[0], expected, atol=1e-6)


def test_what_speaks_against_a_single_logit_is_its_negative(single):
    # A1 / 4 - A0 / 2: [[-1.75, -1], [1.5, 0.25]].
    expected = np.array([[0, 0], [1, 1 / 6]])
    np.testing.assert_allclose(grad_cam(single, TILE[None], 0)[0], expected, atol=1e-6)


def test_without_a_class_it_is_the_one_that_the_model_chooses(single):
    # The logits are 2 * 6 / 4 - 8 / 4 = 1 and, the channels swapped, 4 - 1.5 > 0;
    # the third tile's is below 0.
    tiles = np.stack([TILE, TILE[..., ::-1], np.full_like(TILE, [1, 4])])
    maps = grad_cam(single, tiles)
    np.testing.assert_array_equal(maps[:2], grad_cam(single, tiles[:2], 1))
    np.testing.assert_array_equal(maps[2:], grad_cam(single, tiles[2:], 0))
    each = grad_cam(single, tiles, np.array([0, 1, 0]))
    np.testing.assert_array_equal(each[0], grad_cam(single, tiles[:1], 0)[0])


def test_the_plus_plus_map_is_that_of_the_hand(single):
    # g0 = 0.5: share = g^2 / (2 g^2 + 6 g^3) = 1 / (2 + 6 / 2) = 0.2; the weight is
    # 4 places * 0.2 * 0.5 = 0.4. g1 is below 0 and weighs nothing. So the map is A0.
    maps = grad_cam(single, TILE[None], 1, "grad_cam_plus_plus")
    np.testing.assert_allclose(maps[0], [[1, 0.5], [0, 0]], atol=1e-6)


def test_the_plus_plus_weights_of_uneven_gradients_are_those_of_the_hand():
    # Channel 0: g = [1, 0.5], A sums to 3: shares 1 / (2 + 3) and 1 / (2 + 1.5),
    # weight 0.2 + 0.5 / 3.5. Channel 1: g = [0, -1] weighs nothing. Their sum is
    # weight * A0, and A0's highest is 2.
    activations = np.array([[[[1.0, 5.0], [2.0, 7.0]]]], np.float32)
    gradients = np.array([[[[1.0, 0.0], [0.5, -1.0]]]], np.float32)
    maps = weigh_activations(activations, gradients, "grad_cam_plus_plus")
    np.testing.assert_allclose(maps, [[[0.5, 1.0]]], atol=1e-6)
    two = np.concatenate([activations[..., :1], activations[..., :1] ** 2], -1)
    both = np.concatenate([gradients[..., :1], gradients[..., :1]], -1)
    # Channel 1 is now [1, 4], sums to 5: 1 / 7 + 0.5 / 4.5.
    first, second = 0.2 + 0.5 / 3.5, 1 / 7 + 0.5 / 4.5
    expected = np.array([first + second, 2 * first + 4 * second])
    np.testing.assert_allclose(
        weigh_activations(two, both, "grad_cam_plus_plus")[0, 0],
        expected / expected[1],
        rtol=1e-6,
    )


def test_nothing_for_a_class_is_an_empty_map(single):
    dark = np.zeros((1, 2, 2, 2), np.float32)
    for variant in ("grad_cam", "grad_cam_plus_plus"):
        np.testing.assert_array_equal(grad_cam(single, dark, 1, variant), 0)
    assert grad_cam(single, dark[:0]).shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("activation", "end"),
    [
        (None, None),
        ("softmax", None),
        (None, layers.Softmax()),
        (None, layers.Activation("softmax")),
    ],
)
def test_the_logits_count_whatever_the_model_ends_in(activation, end):
    model = _build_tiny(3, activation, end)
    kernel = np.array([[4.0, 0.0, 2.0], [0.0, 4.0, -1.0]])
    model.get_layer("dense").set_weights([kernel, np.zeros(3)])
    before = model.predict_on_batch(TILE[None])
    maps = [grad_cam(model, TILE[None], i)[0] for i in range(3)]
    np.testing.assert_allclose(maps[0], TILE[..., 0] / 4, atol=1e-6)
    np.testing.assert_allclose(maps[1], TILE[..., 1] / 6, atol=1e-6)
    np.testing.assert_allclose(maps[2], [[1, 1 / 1.75], [0, 0]], atol=1e-6)
    # The means are 1.5 and 2, the logits 6, 8 and 1.
    np.testing.assert_array_equal(grad_cam(model, TILE[None])[0], maps[1])
    np.testing.assert_array_equal(model.predict_on_batch(TILE[None]), before)


def test_a_head_that_weighs_places_is_left_to_the_backend():
    tiles = keras.Input((2, 2, 2))
    maps = layers.ReLU()(tiles)
    model = keras.Model(tiles, layers.Dense(1)(layers.Flatten()(maps)))
    # Gradients of channel 0: [[4, 0], [0, 0]], mean 1; of 1: [[0, 0], [2, 6]], mean 2.
    kernel = np.array([4, 0, 0, 0, 0, 2, 0, 6], np.float32)[:, None]
    model.layers[-1].set_weights([kernel, np.zeros(1)])
    # A0 + 2 A1 = [[6, 2], [12, 2]].
    np.testing.assert_allclose(
        grad_cam(model, TILE[None], 1)[0], [[0.5, 1 / 6], [1, 1 / 6]], atol=1e-6
    )
    # Shares: g = 4: 1 / (2 + 6 * 4); g = 2 and 6: 1 / (2 + 8 * 2), 1 / (2 + 8 * 6).
    first, second = 4 / 26, 2 / 18 + 6 / 50
    expected = first * TILE[..., 0] + second * TILE[..., 1]
    np.testing.assert_allclose(
        grad_cam(model, TILE[None], 1, "grad_cam_plus_plus")[0],
        expected / expected.max(),
        atol=1e-6,
    )


def test_a_sigmoid_that_is_certain_still_has_a_map():
    model = _build_tiny(1, "sigmoid")
    model.get_layer("dense").set_weights([np.array([[2.0], [-1.0]]), np.full(1, 200.0)])
    assert model.predict_on_batch(TILE[None]) == 1
    expected = np.array([[1.75, 1], [0, 0]]) / 1.75
    np.testing.assert_allclose(grad_cam(model, TILE[None])[0], expected, atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("variant", ["grad_cam", "grad_cam_plus_plus"])
def test_both_ways_to_the_gradient_agree(
    small_encoder, tiles, n_classes, variant, monkeypatch
):
    classifier = build_classifier(small_encoder, n_classes=n_classes, seed=1)
    last = small_encoder.layers[-1].name
    by_hand = grad_cam(classifier, tiles, 1, variant, layer=last)
    # Without the head's own names it is left to the backend.
    with monkeypatch.context() as patched:
        patched.setattr(
            sys.modules["eosin.models.grad_cam"], "_find_linear_head", lambda _: None
        )
        by_backend = grad_cam(classifier, tiles, 1, variant, layer=last)
    np.testing.assert_allclose(by_hand, by_backend, atol=1e-5)
    assert by_hand.max() == pytest.approx(1, abs=0.2)
    assert by_hand.dtype == np.float32
    assert by_hand.shape == (5, 32, 32)


def test_batches_change_nothing(small_classifier, tiles):
    np.testing.assert_allclose(
        grad_cam(small_classifier, tiles, batch=2),
        grad_cam(small_classifier, tiles, batch=5),
        atol=1e-6,
    )


def test_maps_are_enlarged_as_opencv_enlarges(small_classifier, tiles):
    # The last feature map is of 2x2 for tiles of 32 px.
    small = grad_cam(small_classifier, tiles, 1, layer="block4_relu")
    corners = small[:, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(-1, 2, 2)
    for map_, corner in zip(small, corners, strict=True):
        expected = cv2.resize(corner, (32, 32), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(map_, expected, atol=1e-5)


def test_an_encoder_within_a_model_has_a_map(small_encoder, tiles):
    inner = build_encoder("smallcnn", tile_px=32, weights="none", seed=3)
    nested = keras.Sequential(
        [inner, layers.GlobalAveragePooling2D(), layers.Dense(2, name="dense")]
    )
    flat = build_classifier(small_encoder, n_classes=3, seed=1)
    kernel, bias = flat.get_layer("logits").get_weights()
    nested.get_layer("dense").set_weights([kernel[:, :2], bias[:2]])
    np.testing.assert_allclose(
        grad_cam(nested, tiles, 1),
        grad_cam(flat, tiles, 1, layer="block4_relu"),
        atol=1e-5,
    )


def test_models_without_a_map_or_logits_are_refused(small_classifier, tiles):
    vector = keras.Sequential([keras.Input((4,)), layers.Dense(2)], name="vector")
    with pytest.raises(ModelError, match="vector: has no feature map"):
        grad_cam(vector, np.zeros((1, 4, 4, 3), np.float32))
    outer_input = keras.Input((32, 32, 3))
    outer = keras.Model(outer_input, small_classifier(outer_input), name="outer")
    with pytest.raises(ModelError, match="outer: has no feature map"):
        grad_cam(outer, tiles)
    features = keras.Model(
        small_classifier.input,
        [small_classifier.get_layer("features").output, small_classifier.output],
        name="two",
    )
    with pytest.raises(ModelError, match=r"two: must end in one output.*192.*1"):
        grad_cam(features, tiles)
    with pytest.raises(ModelError, match="layer 'features' must give a feature map"):
        grad_cam(small_classifier, tiles, layer="features")


def test_what_is_not_there_is_refused(small_classifier, tiles):
    with pytest.raises(ValueError, match=r"class_index must be in 0..1, got 2..2"):
        grad_cam(small_classifier, tiles, 2)
    with pytest.raises(ValueError, match=r"each of the 5 tiles, got \(2,\)"):
        grad_cam(small_classifier, tiles, np.array([0, 1]))
    with pytest.raises(ValueError, match="variant must be"):
        grad_cam(small_classifier, tiles, variant="score_cam")


def test_a_backend_without_gradients_says_so(small_classifier, tiles, monkeypatch):
    expected = grad_cam(small_classifier, tiles, layer="block4_relu")
    monkeypatch.setattr(keras.config, "backend", lambda: "numpy")
    actual = grad_cam(small_classifier, tiles, layer="block4_relu")
    np.testing.assert_array_equal(actual, expected)
    with pytest.raises(ModelError, match=r"'numpy' gives no gradients; set KERAS_BACK"):
        grad_cam(small_classifier, tiles, layer="block2_relu")


class _Tape:
    """TensorFlow's gradient tape, played by torch."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def watch(self, inputs):
        inputs.requires_grad_()

    def gradient(self, value, inputs):
        return torch.autograd.grad(value, inputs)[0]


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("tensorflow", types.SimpleNamespace(GradientTape=_Tape)),
        ("jax", types.SimpleNamespace(grad=torch.func.grad)),
    ],
)
def test_other_backends_are_asked_in_their_own_way(
    small_classifier, tiles, monkeypatch, name, library
):
    # Neither need be here: what is tested is how they are called.
    expected = grad_cam(small_classifier, tiles, layer="block2_relu")
    module = sys.modules["eosin.models.grad_cam"]
    importlib = types.SimpleNamespace(import_module={name: library}.__getitem__)
    monkeypatch.setattr(module, "importlib", importlib)
    monkeypatch.setattr(keras.config, "backend", lambda: name)
    actual = grad_cam(small_classifier, tiles, layer="block2_relu")
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "layer", "n_cells"),
    [
        ("smallcnn", "block3_relu", 12),
        ("p4m_densenet", "transition4_relu", 8),
        ("mobilenetv2", "out_relu", 3),
    ],
)
def test_the_default_map_is_the_encoders(name, layer, n_cells):
    encoder = build_encoder(name, tile_px=96, weights="none")
    found = find_map(build_classifier(encoder, n_classes=2))
    assert (found.name, found.n_cells) == (layer, n_cells)


def test_an_operation_may_be_named_and_an_unknown_layer_is_refused(small_classifier):
    assert find_map(small_classifier, "block1_pool").n_cells == 8
    with pytest.raises(ModelError, match="has no layer 'nonsense'"):
        find_map(small_classifier, "nonsense")
