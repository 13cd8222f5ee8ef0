import pytest

from eosin.models import ENCODERS, build_classifier, build_encoder
from eosin.models.grad_cam import list_feature_maps
from eosin.models.keras_backend import keras

layers = keras.layers


def test_only_what_everything_passes_through_is_listed():
    tiles = keras.Input((8, 8, 3))
    first = layers.Conv2D(4, 1, name="first")(tiles)
    branch = layers.Conv2D(4, 3, padding="same", name="branch")(first)
    joined = layers.Add(name="joined")([first, branch])
    padded = layers.ZeroPadding2D(1, name="padded")(joined)
    last = layers.MaxPooling2D(2, name="last")(padded)
    model = keras.Model(tiles, layers.Dense(1)(layers.GlobalAveragePooling2D()(last)))
    found = list_feature_maps(model)
    assert [(m.name, m.n_cells) for m in found] == [
        ("first", 8),
        ("joined", 8),
        ("last", 5),
    ]


def test_operations_that_are_no_layers_count():
    tiles = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1, name="conv")(tiles)
    y = layers.Conv2D(3, 1, name="branch")(x)
    model = keras.Model(tiles, layers.GlobalAveragePooling2D()(x + y))
    names = [m.name for m in list_feature_maps(model)]
    assert names[0] == "conv"
    assert len(names) == 2
    assert names[1].startswith("add")


def test_a_model_within_counts_as_one_layer():
    inner_input = keras.Input((8, 8, 3))
    inner = keras.Model(inner_input, layers.Conv2D(2, 3)(inner_input), name="inner")
    tiles = keras.Input((8, 8, 3))
    outer = keras.Model(tiles, layers.GlobalAveragePooling2D()(inner(tiles)))
    assert [(m.name, m.n_cells) for m in list_feature_maps(outer)] == [("inner", 6)]


def test_a_layer_that_is_used_twice_gives_no_list():
    tiles = keras.Input((8, 8, 3))
    same = layers.Conv2D(3, 1)
    model = keras.Model(tiles, layers.GlobalAveragePooling2D()(same(same(tiles))))
    assert list_feature_maps(model) == []


@pytest.mark.parametrize("name", ["smallcnn", "p4m_densenet", "mobilenetv2"])
def test_the_last_map_of_an_encoder_is_listed(name):
    encoder = build_encoder(name, tile_px=96, weights="none")
    model = build_classifier(encoder, n_classes=2)
    found = list_feature_maps(model)
    assert found[-1].tensor is model.get_layer("features").input
    wanted = ENCODERS[name].map_layer
    assert wanted is None or wanted in {m.name for m in found}
    # The model can be cut at each of them.
    for one in found[:: len(found) // 3]:
        keras.Model(one.tensor, model.output)
