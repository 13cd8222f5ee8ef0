import logging
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest

from eosin.core import ModelError
from eosin.models import (
    build_encoder,
    build_stem,
    export_onnx,
    onnx_export,
    split_model,
)
from eosin.models.keras_backend import keras


def _run(exported, tiles):
    session = onnxruntime.InferenceSession(
        exported.path, providers=["CPUExecutionProvider"]
    )
    outputs = [port.name for port in session.get_outputs()]
    values = session.run(None, {"tiles": tiles.astype("float32")})
    return dict(zip(outputs, values, strict=True))


def test_a_classifier_gives_features_and_logits(small_classifier, tiles, tmp_path):
    exported = export_onnx(small_classifier, tmp_path / "modèle à moi.onnx")
    assert exported.outputs == ("features", "logits")
    assert exported.batch is None
    trunk, _ = split_model(small_classifier, "head")
    values = _run(exported, tiles)
    np.testing.assert_allclose(
        values["logits"], small_classifier.predict_on_batch(tiles), atol=1e-4
    )
    np.testing.assert_allclose(
        values["features"], trunk.predict_on_batch(tiles), atol=1e-4
    )


def test_a_trunk_gives_activations_or_features(small_classifier, tmp_path):
    trunk, _ = split_model(small_classifier, "last")
    assert export_onnx(trunk, tmp_path / "a.onnx").outputs == ("activations",)
    trunk, _ = split_model(small_classifier, "head")
    assert export_onnx(trunk, tmp_path / "b.onnx").outputs == ("features",)


def test_a_stem_gives_both_by_their_names(small_classifier, tiles, tmp_path):
    stem = build_stem(small_classifier, "last")
    exported = export_onnx(stem, tmp_path / "stem.onnx")
    assert exported.outputs == ("activations", "features")
    values = _run(exported, tiles)
    activations, features = stem.predict_on_batch(tiles)
    np.testing.assert_allclose(values["activations"], activations, atol=1e-4)
    np.testing.assert_allclose(values["features"], features, atol=1e-4)


def test_ports_have_open_batches_and_known_sizes(small_classifier, tmp_path):
    exported = export_onnx(small_classifier, tmp_path / "model.onnx")
    graph = onnx.load_model(exported.path).graph
    shapes = {
        port.name: [d.dim_param or d.dim_value for d in port.type.tensor_type.shape.dim]
        for port in (*graph.input, *graph.output)
    }
    assert shapes == {
        "tiles": ["batch", 32, 32, 3],
        "features": ["batch", 192],
        "logits": ["batch", 1],
    }


def _pad_like_xception():
    """A model that Keras' torch backend cannot export with an open batch."""
    tiles = keras.Input((32, 32, 3), name="tiles")
    x = keras.layers.Rescaling(1 / 255)(tiles)
    return tiles, keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)


def test_a_graph_that_needs_a_fixed_batch_is_opened_afterwards(tiles, tmp_path):
    model = keras.Model(*_pad_like_xception(), name="unregistered")
    exported = export_onnx(model, tmp_path / "model.onnx")
    assert exported.batch is None
    for n in (1, 5):
        np.testing.assert_allclose(
            _run(exported, tiles[:n])["activations"],
            model.predict_on_batch(tiles[:n]),
            atol=1e-6,
        )


def test_a_graph_with_the_batch_in_its_constants_stays_fixed(tiles, tmp_path):
    inputs, x = _pad_like_xception()
    # Squeeze-and-excitation reshapes, and so writes the batch into the graph.
    gate = keras.layers.GlobalAveragePooling2D()(x)
    gate = keras.layers.Reshape((1, 1, 3))(gate)
    model = keras.Model(inputs, keras.layers.multiply([x, gate]), name="unregistered")
    exported = export_onnx(model, tmp_path / "model.onnx")
    assert exported.batch == 16
    padded = np.zeros((16, 32, 32, 3), np.uint8)
    padded[:5] = tiles
    np.testing.assert_allclose(
        _run(exported, padded)["activations"][:5],
        model.predict_on_batch(tiles),
        atol=1e-6,
    )


def test_nothing_of_this_machine_is_written(small_classifier, tmp_path):
    exported = export_onnx(small_classifier, tmp_path / "model.onnx")
    content = exported.path.read_bytes()
    assert b".py" not in content
    assert b"site-packages" not in content


def test_exporting_keeps_warnings_and_logging_as_they_were(small_classifier, tmp_path):
    filters, disabled = list(warnings.filters), logging.root.manager.disable
    export_onnx(small_classifier, tmp_path / "model.onnx")
    assert list(warnings.filters) == filters
    assert logging.root.manager.disable == disabled


def test_a_model_that_cannot_be_exported_is_named(
    small_classifier, tmp_path, monkeypatch
):
    def fail(*args, **kwargs):
        raise RuntimeError("no such operator\nand pages of graph")

    monkeypatch.setattr(keras.Model, "export", fail)
    with pytest.raises(ModelError) as caught:
        export_onnx(small_classifier, tmp_path / "model.onnx")
    assert "smallcnn cannot be written as ONNX" in str(caught.value)
    assert "no such operator" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("densenet121", "densenet121_imagenet_notop.weights.h5"),
        ("xception", "xception_imagenet_notop.float16.weights.h5"),
    ],
)
def test_published_weights_give_the_same_in_onnx(weight_files, name, file, tmp_path):
    tiles = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    encoder = build_encoder(name, tile_px=96, weights=weight_files / file)
    exported = onnx_export.export_onnx(encoder, tmp_path / "model.onnx")
    expected = encoder.predict_on_batch(tiles)
    assert np.abs(_run(exported, tiles)["activations"] - expected).max() < 1e-4


def test_batch_normalisation_is_folded_into_convolutions(
    small_classifier, tiles, tmp_path, monkeypatch
):
    """ONNX Runtime does so with the operator, not with a difference."""
    exported = export_onnx(small_classifier, tmp_path / "m.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        exported.path, options, providers=["CPUExecutionProvider"]
    )
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    made = [node.op_type for node in graph.node]
    assert not {"Sub", "BatchNormalization"} & set(made)
    # The preprocessing's.
    assert made.count("Mul") == 1 < made.count("Conv")
    # What the steps took is not kept beside the operator.
    graph = onnx.load(exported.path).graph
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used
    # Features that were encoded before this are known by the same hash.
    monkeypatch.setattr(onnx_export, "write_normalisations", lambda _: None)
    plain = export_onnx(small_classifier, tmp_path / "plain.onnx")
    assert plain.encoder_hash == exported.encoder_hash
    for name, values in _run(plain, tiles).items():
        np.testing.assert_allclose(_run(exported, tiles)[name], values, atol=1e-5)
