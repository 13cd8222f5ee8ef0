import numpy as np
import onnx
import pytest

from eosin.core import ModelError
from eosin.inference import open_session
from eosin.models import (
    build_classifier,
    build_encoder,
    build_stem,
    export_onnx,
    split_model,
)
from eosin.models.onnx_export import hash_encoder as hash_graph


def build(*, seed=0, dropout=0.5, n_classes=2, encoder="smallcnn", tile_px=32):
    built = build_encoder(encoder, tile_px=tile_px, weights="none", seed=seed)
    return build_classifier(built, n_classes=n_classes, dropout=dropout, seed=seed)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    classifier = build()
    models = {
        "whole": classifier,
        "stem": build_stem(classifier, "head"),
        "last": build_stem(classifier, "last"),
        "three": build(n_classes=3, dropout=0.1),
        "other": build(seed=1),
    }
    for name, model in models.items():
        exported = export_onnx(model, place / f"{name}.onnx")
        assert exported.encoder_hash == open_session(exported.path).encoder_hash
    return {name: place / f"{name}.onnx" for name in models}


def hash_encoder(path):
    """Hash a file's graph, whatever its notes say."""
    return hash_graph(onnx.load_model(path))


def change(path, out, edit):
    model = onnx.load_model(path)
    edit(model.graph)
    onnx.save_model(model, out)
    return out


def test_one_encoder_has_one_hash_whatever_stands_behind_it(files):
    hashes = {name: hash_encoder(path) for name, path in files.items()}
    assert len(hashes["whole"]) == 64
    assert hashes["stem"] == hashes["last"] == hashes["three"] == hashes["whole"]
    assert hashes["other"] != hashes["whole"]


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["mobilenetv2", "densenet121"])
def test_so_have_encoders_of_the_registry(tmp_path, encoder):
    classifier = build(encoder=encoder)
    export_onnx(classifier, tmp_path / "whole.onnx")
    export_onnx(build_stem(classifier, "head"), tmp_path / "stem.onnx")
    assert hash_encoder(tmp_path / "whole.onnx") == hash_encoder(tmp_path / "stem.onnx")
    tiles = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)
    outputs = [
        open_session(tmp_path / name).run(tiles)["features"]
        for name in ("whole.onnx", "stem.onnx")
    ]
    np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-6)


def test_the_last_bit_of_one_weight_counts(files, tmp_path):
    def nudge(graph):
        weights = max(graph.initializer, key=lambda t: len(t.raw_data))
        values = onnx.numpy_helper.to_array(weights).copy()
        values.flat[3] = np.nextafter(values.flat[3], np.float32(9))
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))

    changed = change(files["stem"], tmp_path / "changed.onnx", nudge)
    assert hash_encoder(changed) != hash_encoder(files["stem"])


def test_a_step_and_its_settings_count_and_a_name_does_not(files, tmp_path):
    def rename(graph):
        old = graph.node[0].output[0]
        for node in graph.node:
            for ports in (node.input, node.output):
                for i, name in enumerate(ports):
                    ports[i] = "renamed" if name == old else name

    def square(graph):
        last = next(n for n in graph.node if "features" in n.output)
        last.output[0] = "before"
        graph.node.append(onnx.helper.make_node("Mul", ["before"] * 2, ["features"]))

    def pad(graph):
        node = next(n for n in graph.node if n.op_type == "Conv")
        (strides,) = [a for a in node.attribute if a.name == "strides"]
        strides.ints[0] += 1

    def pass_on(graph):
        last = next(n for n in graph.node if "features" in n.output)
        last.output[0] = "before"
        graph.node.append(onnx.helper.make_node("Identity", ["before"], ["features"]))

    known = hash_encoder(files["stem"])
    for edit, is_same in (
        (rename, True),
        (pass_on, True),
        (square, False),
        (pad, False),
    ):
        changed = change(files["stem"], tmp_path / "changed.onnx", edit)
        assert (hash_encoder(changed) == known) is is_same


def test_a_cast_that_changes_the_type_counts(files, tmp_path):
    def cast(graph):
        last = next(n for n in graph.node if "features" in n.output)
        last.output[0] = "before"
        half = onnx.TensorProto.FLOAT16
        graph.node.append(onnx.helper.make_node("Cast", ["before"], ["half"], to=half))
        whole = onnx.TensorProto.FLOAT
        graph.node.append(
            onnx.helper.make_node("Cast", ["half"], ["features"], to=whole)
        )

    changed = change(files["stem"], tmp_path / "changed.onnx", cast)
    assert hash_encoder(changed) != hash_encoder(files["stem"])


def test_models_that_cannot_be_looked_into_have_no_hash(files, tmp_path):
    def branch(graph):
        last = next(n for n in graph.node if "features" in n.output)
        last.output[0] = "before"
        out = onnx.helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, None)
        inner = onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["before"], ["o"])], "b", [], [out]
        )
        truth = onnx.helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
        graph.initializer.append(truth)
        graph.node.append(
            onnx.helper.make_node(
                "If", ["yes"], ["features"], then_branch=inner, else_branch=inner
            )
        )

    assert hash_encoder(change(files["stem"], tmp_path / "if.onnx", branch)) is None

    def hide(graph):
        for node in graph.node:
            for i, name in enumerate(node.output):
                node.output[i] = "hidden" if name == "features" else name
        graph.output[0].name = "hidden"

    assert hash_encoder(change(files["stem"], tmp_path / "none.onnx", hide)) is None


def test_the_head_gives_the_models_logits_of_its_features(files):
    tiles = np.random.default_rng(0).integers(0, 255, (7, 32, 32, 3), dtype=np.uint8)
    for name, n_logits in (("whole", 1), ("three", 3)):
        found = open_session(files[name]).run(tiles)
        logits = open_session(files[name]).open_head()(found["features"])
        assert logits.shape == (7, n_logits)
        np.testing.assert_allclose(logits, found["logits"], rtol=1e-6, atol=1e-6)


def test_a_model_without_head_is_named(files):
    with pytest.raises(ModelError, match=r"stem\.onnx: .*this model gives features"):
        open_session(files["stem"]).open_head()


def test_a_graph_without_features_has_no_hash(tmp_path):
    trunk, _ = split_model(build(), "last")
    exported = export_onnx(trunk, tmp_path / "trunk.onnx")
    assert exported.encoder_hash is None
    assert open_session(exported.path).encoder_hash is None
