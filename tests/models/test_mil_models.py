import numpy as np
import pytest

from eosin.bags import Bag, fit_clinical
from eosin.core import ConfigError, ModelError
from eosin.models import (
    build_encoder,
    build_mil_model,
    build_pixel_mil_model,
    load_mil_model,
    predict_bags,
    save_model,
)
from eosin.models.keras_backend import keras


def _run(model, features):
    mask = np.ones(features.shape[:2], bool)
    return model.predict_on_batch({"features": features, "mask": mask})


def test_layers_come_in_the_order_scaling_dense_aggregator():
    model = build_mil_model("mean", dimension=5, widths=(7, 3), n_classes=4)
    shapes = [tuple(v.shape) for v in model.trainable_variables]
    assert shapes == [(5, 7), (7,), (7, 3), (3,), (3, 4), (4,)]
    assert (model.method, model.dimension, model.n_classes) == ("mean", 5, 4)
    assert model.n_instances is None
    assert model.name == "mil_mean"


def test_features_are_scaled_as_the_training_data_were():
    model = build_mil_model("linear_probe", dimension=3)
    kernel = np.array([[1.0], [10.0], [100.0]])
    model.aggregator.head.set_weights([kernel, np.zeros(1)])
    model.scaling.set_statistics(np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0, 4.0]))
    logits = _run(model, np.array([[[5.0, 2.5, 7.0]]], np.float32))["logits"]
    # (5 - 1) / 2, and 2.5 - 2 of the constant one, and (7 - 3) / 4.
    np.testing.assert_allclose(logits, [[2 + 5 + 100]])


def test_what_lies_far_out_is_moved_to_the_limit(tmp_path):
    model = build_mil_model("linear_probe", dimension=2)
    model.aggregator.head.set_weights([np.array([[1.0], [10.0]]), np.zeros(1)])
    model.scaling.set_statistics(np.array([1.0, 0.0]), np.array([2.0, 1.0]), clip=3)
    features = np.array([[[9.0, 0.5]], [[-99.0, 2.0]]], np.float32)
    save_model(model, tmp_path / "model.keras")
    for each in (model, load_mil_model(tmp_path / "model.keras")):
        # (9 - 1) / 2 is 4, moved to 3; -50 is moved to -3.
        np.testing.assert_allclose(_run(each, features)["logits"], [[8], [17]])


def test_files_that_are_no_mil_model_are_refused(tmp_path):
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(tmp_path / "other.keras")
    with pytest.raises(ModelError, match="but not a MIL model of eosin"):
        load_mil_model(tmp_path / "other.keras")


CLINICAL = fit_clinical(
    [{"age": "40", "sex": "f"}, {"age": "60", "sex": "m"}],
    {"age": "number", "sex": "category"},
)
PATIENTS = ({"age": "70", "sex": "m"}, {"age": None, "sex": "x"})


def _make_clinical(aggregator="gated_attention", **options):
    model = build_mil_model(
        aggregator, dimension=4, widths=(5,), clinical=CLINICAL, **options
    )
    head = model.clinical_head
    rng = np.random.default_rng(0)
    head.set_weights([rng.normal(size=w.shape) for w in head.get_weights()])
    return model, head.get_weights()[0]


def _make_bags(sizes=(3, 9)):
    rng = np.random.default_rng(1)
    return [
        Bag(bag_id=f"B{i}", features=rng.normal(size=(size, 4)), clinical=values)
        for i, (size, values) in enumerate(zip(sizes, PATIENTS, strict=True))
    ]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_clinical_columns_join_behind_the_pooling(n_classes):
    model, kernel = _make_clinical(n_classes=n_classes)
    bags = _make_bags()
    found = predict_bags(model, bags)
    # By hand: (70 - 50) / 10, not missing, and of f, m, unknown the second; then the
    # median, missing, unknown.
    columns = np.array([[2, 0, 0, 1, 0], [0, 1, 0, 0, 1]])
    model.clinical_head.set_weights([np.zeros_like(kernel)])
    without = predict_bags(model, bags)
    added = columns @ kernel
    for one, other, own in zip(found, without, added, strict=True):
        np.testing.assert_allclose(one.logits - other.logits, own, atol=1e-5)
        # They say nothing of single instances.
        np.testing.assert_array_equal(one.attention, other.attention)


def test_a_bag_in_parts_has_its_columns_too():
    model, _ = _make_clinical()
    whole = predict_bags(model, _make_bags())
    parts = predict_bags(model, _make_bags(), max_padded=2)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-5)


def test_what_encodes_columns_is_in_the_model_file(tmp_path):
    model, _ = _make_clinical()
    save_model(model, tmp_path / "model.keras")
    loaded = load_mil_model(tmp_path / "model.keras")
    assert loaded.clinical == CLINICAL
    for a, b in zip(
        predict_bags(model, _make_bags()),
        predict_bags(loaded, _make_bags()),
        strict=True,
    ):
        np.testing.assert_array_equal(a.logits, b.logits)


def test_a_bag_without_the_columns_is_refused():
    model, _ = _make_clinical()
    with pytest.raises(ModelError, match="B: the model takes the clinical columns age"):
        predict_bags(model, [Bag(bag_id="B", features=np.ones((2, 4)))])
    plain = build_mil_model("mean", dimension=4)
    assert plain.clinical is None
    assert plain.encode_clinical(_make_bags()[0]).shape == (0,)


def test_without_layers_instances_reach_the_method_as_they_are():
    model = build_mil_model("mean", dimension=4, widths=(), dropout=0.0)
    bags = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    kernel, bias = model.aggregator.get_weights()
    np.testing.assert_allclose(
        _run(model, bags)["logits"], bags.mean(axis=1) @ kernel + bias, atol=1e-6
    )


def test_options_reach_the_method():
    model = build_mil_model("top_k_mean", dimension=4, options={"k": 2})
    assert model.aggregator.k == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"aggregator": "nothing"}, "aggregator must be one of linear_probe"),
        ({"n_classes": 1}, "needs 2 classes or more, got 1"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"dimension": 0}, "dimension and widths must be 1 or more, got 0"),
        ({"widths": (4, 0)}, "dimension and widths must be 1 or more"),
        ({"options": {"k": 3, "kk": 3}}, "top_k_mean has no option kk; it has k$"),
        ({"options": {"k": 0}}, "top_k_mean: k must be 1 or more, got 0"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_mil_model(**{"aggregator": "top_k_mean", "dimension": 4, **arguments})


def _make_tiles(n_tiles=5, px=32):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n_tiles, 3 * px**2), np.uint8)
    return Bag(bag_id="B", features=pixels)


def test_a_model_of_pixels_is_an_encoder_before_a_model_of_features():
    model = build_pixel_mil_model("mean", "smallcnn", tile_px=32, weights="none")
    assert (model.takes_pixels, model.scaling, model.scale) == (True, None, None)
    encoder = build_encoder("smallcnn", tile_px=32, weights="none", seed=0)
    bag = _make_tiles()
    (found,) = predict_bags(model, [bag])
    tiles = bag.features.reshape(5, 32, 32, 3)
    x = encoder.predict(tiles, verbose=0).mean(axis=(1, 2))
    dense, head = model.get_weights()[-4:-2], model.get_weights()[-2:]
    x = np.maximum(x @ dense[0] + dense[1], 0).mean(axis=0)
    assert found.logits == pytest.approx(x @ head[0] + head[1], abs=1e-5)
    # Tiles are encoded some at a time.
    (parts,) = predict_bags(model, [bag], max_padded=2)
    assert parts.logits == pytest.approx(found.logits, abs=1e-5)


def test_the_encoder_starts_from_the_weights_that_are_given(tmp_path):
    other = build_encoder("smallcnn", tile_px=32, weights="none", seed=5)
    other.save_weights(tmp_path / "own.weights.h5")
    model = build_pixel_mil_model(
        "max", "smallcnn", tile_px=32, weights=tmp_path / "own.weights.h5"
    )
    for a, b in zip(model.encoder.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_of_pixels_comes_back_from_its_file(tmp_path):
    model = build_pixel_mil_model(
        "gated_attention", "smallcnn", tile_px=32, weights="none", n_classes=3
    )
    save_model(model, tmp_path / "model.keras")
    loaded = load_mil_model(tmp_path / "model.keras")
    (one,), (other,) = (predict_bags(m, [_make_tiles()]) for m in (model, loaded))
    np.testing.assert_array_equal(one.logits, other.logits)
    assert one.logits.shape == (3,)


def test_features_are_no_pixels():
    model = build_pixel_mil_model("mean", "smallcnn", tile_px=32, weights="none")
    with pytest.raises(ModelError, match=r"the pixels of tiles \(3072 numbers each\)"):
        predict_bags(model, [Bag(bag_id="B", features=np.ones((2, 4)))])
    assert build_mil_model("mean", dimension=4).encoder is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": "nothing"}, "encoder must be one of"),
        ({"tile_px": 8}, "needs tiles of at least 16 px"),
    ],
)
def test_pixel_models_that_cannot_be_built_are_refused(arguments, message):
    words = {"aggregator": "mean", "encoder": "smallcnn", "tile_px": 32}
    with pytest.raises(ConfigError, match=message):
        build_pixel_mil_model(**{**words, "weights": "none", **arguments})
