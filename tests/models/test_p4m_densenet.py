"""P4M-DenseNet: its symmetry, its size, and that it goes wherever a network goes."""

import numpy as np
import onnxruntime
import pytest

from eosin.core import ConfigError
from eosin.models import (
    build_classifier,
    build_encoder,
    export_onnx,
)
from eosin.models.grad_cam import find_gradients, grad_cam
from eosin.models.keras_backend import keras
from eosin.models.p4m_densenet import run_p4m_densenet

TILE_PX = 96
SYMMETRIES = [(turns, is_flipped) for is_flipped in (False, True) for turns in range(4)]


def _turn(tiles, symmetry):
    turns, is_flipped = symmetry
    flipped = np.flip(tiles, 2) if is_flipped else tiles
    return np.ascontiguousarray(np.rot90(flipped, turns, (1, 2)))


@pytest.fixture(scope="module")
def classifier():
    """One whose statistics and scales are nothing special."""
    encoder = build_encoder("p4m_densenet", tile_px=TILE_PX, weights="none", seed=1)
    rng = np.random.default_rng(2)
    for layer in encoder.layers:
        if layer.name.endswith("_norm"):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.weights])
    return build_classifier(encoder, n_classes=2, seed=1)


@pytest.fixture(scope="module")
def tiles():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, TILE_PX, TILE_PX, 3), dtype=np.uint8)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_no_symmetry_changes_the_output(classifier, tiles, symmetry):
    expected = classifier.predict_on_batch(tiles)
    actual = classifier.predict_on_batch(_turn(tiles, symmetry))
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    # Not because it says the same of everything.
    assert abs(expected[0] - expected[1]) > 1e-3


@pytest.mark.parametrize("symmetry", SYMMETRIES[1:])
def test_the_gradient_by_the_tile_turns_with_the_tile(classifier, tiles, symmetry):
    signs = np.ones((2, 1), np.float32)
    expected = _turn(
        find_gradients(classifier, tiles.astype("float32"), signs), symmetry
    )
    turned = _turn(tiles, symmetry).astype("float32")
    actual = find_gradients(classifier, turned, signs)
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(actual / scale, expected / scale, atol=1e-5)


def test_the_feature_map_turns_with_the_tile(classifier, tiles):
    encoder = keras.Model(classifier.input, classifier.get_layer("features").input)
    maps, seen = encoder.predict_on_batch(tiles), grad_cam(classifier, tiles, 1)
    for symmetry in SYMMETRIES[1::3]:
        turned = _turn(tiles, symmetry)
        np.testing.assert_allclose(
            encoder.predict_on_batch(turned), _turn(maps, symmetry), atol=1e-5
        )
        np.testing.assert_allclose(
            grad_cam(classifier, turned, 1), _turn(seen, symmetry), atol=1e-4
        )


def test_training_keeps_the_symmetry(tiles):
    encoder = build_encoder("p4m_densenet", tile_px=TILE_PX, weights="none", seed=3)
    classifier = build_classifier(encoder, n_classes=2, dropout=0.0)
    classifier.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    for _ in range(2):
        loss = classifier.train_on_batch(tiles, np.array([[0.0], [1.0]]))
        assert np.isfinite(loss)
    expected = classifier.predict_on_batch(tiles)
    for symmetry in SYMMETRIES[1::2]:
        actual = classifier.predict_on_batch(_turn(tiles, symmetry))
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_its_numbers_are_those_of_the_hand_and_about_the_papers(classifier):
    # 8 channels, and 9 more from each block: of 3x3 from all 8 orientations, then of
    # 1x1 from all of them to as many.
    before = [8, 17, 26, 35, 44]
    after = before[1:]
    lifting = 9 * 3 * 8
    blocks = sum(9 * 8 * n * 9 for n in before)
    transitions = sum(8 * n * n for n in after)
    norms = sum(before) + sum(after) + 53
    encoder = lifting + blocks + transitions + 4 * norms
    # The paper's has about 119 thousand.
    assert classifier.count_params() == encoder + 54 == 118_738
    trained = sum(int(np.prod(v.shape)) for v in classifier.trainable_variables)
    assert trained == classifier.count_params() - 2 * norms


@pytest.mark.parametrize("tile_px", [80, 96, 224])
def test_the_feature_map_is_even_all_the_way(tile_px):
    tiles = keras.Input((tile_px, tile_px, 3))
    size = tile_px // 16 - 4
    assert run_p4m_densenet(tiles).shape == (None, size, size, 53)
    model = keras.Model(tiles, run_p4m_densenet(tiles))
    halved = [m for m in model.layers if isinstance(m, keras.layers.AveragePooling2D)]
    assert len(halved) == 4
    assert all(layer.input.shape[1] % 2 == 0 for layer in halved)


@pytest.mark.parametrize("tile_px", [81, 100, 250])
def test_sizes_that_cannot_be_halved_evenly_are_refused(tile_px):
    with pytest.raises(ConfigError, match=rf"multiple of 16 px.*got {tile_px} px"):
        build_encoder("p4m_densenet", tile_px=tile_px, weights="none")


def test_onnx_runtime_gives_the_same_for_any_batch(classifier, tiles, tmp_path):
    exported = export_onnx(classifier, tmp_path / "model.onnx")
    assert exported.batch is None
    session = onnxruntime.InferenceSession(
        exported.path, providers=["CPUExecutionProvider"]
    )
    for n in (1, 2):
        given = tiles[:n].astype("float32")
        _, actual = session.run(None, {"tiles": given})
        expected = classifier.predict_on_batch(tiles[:n])
        np.testing.assert_allclose(actual, expected, atol=1e-4)
        _, turned = session.run(None, {"tiles": _turn(given, (1, True))})
        np.testing.assert_allclose(turned, actual, atol=1e-5)
