"""The contract that every encoder of the registry keeps."""

import functools

import numpy as np
import onnxruntime
import pytest

from eosin.core import ConfigError, ModelError
from eosin.models import (
    ENCODERS,
    build_classifier,
    build_encoder,
    export_onnx,
    find_encoder,
    load_classifier,
    save_model,
    split_model,
)
from eosin.models.keras_backend import keras
from eosin.models.registry import find_encoder_of

TILE_PX = 80
QUICK = ("smallcnn", "mobilenetv2")
APPLICATIONS = {
    "xception": (keras.applications.Xception, keras.applications.xception),
    "mobilenetv2": (keras.applications.MobileNetV2, keras.applications.mobilenet_v2),
    "densenet121": (keras.applications.DenseNet121, keras.applications.densenet),
    "densenet169": (keras.applications.DenseNet169, keras.applications.densenet),
    "resnet50": (keras.applications.ResNet50, keras.applications.resnet50),
    "efficientnetv2b0": (
        keras.applications.EfficientNetV2B0,
        keras.applications.efficientnet_v2,
    ),
    "convnexttiny": (keras.applications.ConvNeXtTiny, keras.applications.convnext),
}
every_encoder = pytest.mark.parametrize("name", ENCODERS)
quick_encoders = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in ENCODERS
    ],
)


@functools.cache
def _build(name):
    return build_encoder(name, tile_px=TILE_PX, weights="none", seed=1)


def _draw_tiles(n=3):
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (n, TILE_PX, TILE_PX, 3), dtype=np.uint8)


def _assert_close(actual, expected, tolerance=1e-4):
    """Compare relative to the largest value; random weights give tiny ones."""
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(actual / scale, expected / scale, atol=tolerance)


@every_encoder
def test_the_spec_says_what_is_built(name):
    spec, encoder = ENCODERS[name], _build(name)
    assert spec.name == encoder.name == name
    assert encoder.input_shape == (None, TILE_PX, TILE_PX, 3)
    assert encoder.output_shape[-1] == spec.dimension
    assert encoder.count_params() == spec.n_parameters
    assert spec.min_tile_px <= TILE_PX <= spec.tile_px
    assert encoder.get_layer(spec.last_block) is not None


@pytest.mark.parametrize("name", APPLICATIONS)
def test_raw_tiles_give_what_keras_gives_for_preprocessed_ones(name):
    application, module = APPLICATIONS[name]
    oracle = application(
        include_top=False, weights=None, input_shape=(TILE_PX, TILE_PX, 3)
    )
    encoder = _build(name)
    oracle.set_weights(encoder.get_weights())
    tiles = _draw_tiles()
    expected = oracle.predict_on_batch(module.preprocess_input(tiles.astype("float32")))
    _assert_close(encoder.predict_on_batch(tiles), expected)


@quick_encoders
def test_uint8_and_float_tiles_give_the_same(name):
    encoder, tiles = _build(name), _draw_tiles()
    np.testing.assert_array_equal(
        encoder.predict_on_batch(tiles),
        encoder.predict_on_batch(tiles.astype("float32")),
    )


@quick_encoders
def test_a_saved_classifier_gives_the_same(name, tmp_path):
    classifier = build_classifier(_build(name), n_classes=3)
    path = tmp_path / "modèle un.keras"
    save_model(classifier, path)
    loaded = load_classifier(path)
    assert loaded.name == name
    tiles = _draw_tiles()
    np.testing.assert_array_equal(
        loaded.predict_on_batch(tiles), classifier.predict_on_batch(tiles)
    )


@quick_encoders
@pytest.mark.parametrize("part", ["classifier", "trunk"])
def test_onnx_runtime_gives_what_keras_gives(name, part, tmp_path):
    model = build_classifier(_build(name), n_classes=3)
    if part == "trunk":
        model, _ = split_model(model, "last")
    exported = export_onnx(model, tmp_path / "model.onnx")
    assert exported.batch is None
    session = onnxruntime.InferenceSession(
        exported.path, providers=["CPUExecutionProvider"]
    )
    tiles = _draw_tiles(4)
    for n in (1, 4):
        *_, actual = session.run(None, {"tiles": tiles[:n].astype("float32")})
        _assert_close(actual, model.predict_on_batch(tiles[:n]))


@quick_encoders
def test_one_training_step_moves_the_weights(name):
    encoder = build_encoder(name, tile_px=TILE_PX, weights="none", seed=2)
    classifier = build_classifier(encoder, n_classes=2)
    before = encoder.get_weights()
    classifier.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    loss = classifier.train_on_batch(_draw_tiles(), np.array([[0.0], [1.0], [1.0]]))
    assert np.isfinite(loss)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(before, encoder.get_weights(), strict=True)
    )


def test_an_unknown_encoder_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"xception, mobilenetv2.*got 'vgg'"):
        find_encoder("vgg")
    with pytest.raises(ConfigError, match="got 'densnet121'; is 'densenet121' meant"):
        find_encoder("densnet121")


def test_a_model_from_elsewhere_has_no_encoder():
    with pytest.raises(ModelError, match="this one is called 'other'"):
        find_encoder_of(keras.Sequential(name="other"))
