import numpy as np
import pytest

from eosin.bags import Bag
from eosin.core import ConfigError, ModelError
from eosin.models import (
    build_encoder,
    build_mil_model,
    build_pixel_mil_model,
    load_mil_model,
    predict_bags,
    save_mil_model,
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
    save_mil_model(model, tmp_path / "model.keras")
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
        ({"n_classes": 1}, "needs 2 classes or more"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"encoder": "nothing"}, "encoder must be one of"),
        ({"tile_px": 8}, "needs tiles of at least 16 px"),
    ],
)
def test_pixel_models_that_cannot_be_built_are_refused(arguments, message):
    words = {"aggregator": "mean", "encoder": "smallcnn", "tile_px": 32}
    with pytest.raises(ConfigError, match=message):
        build_pixel_mil_model(**{**words, "weights": "none", **arguments})
