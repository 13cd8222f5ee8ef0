from collections import Counter

import numpy as np
import pytest
from keras.src.backend.common import dtypes

from eosin.models import ENCODERS, build_classifier, build_encoder
from eosin.models.keras_backend import keras
from eosin.models.torch_layers import find_direct_calls
from eosin.training.freezing import calling_directly, find_batch_norms, frozen

layers = keras.layers


def build(*stack, size=9):
    """Build a model of some layers, with weights and statistics of all sizes."""
    keras.utils.set_random_seed(0)
    maps = inputs = keras.Input((size, size, 4))
    for layer in stack:
        maps = layer(maps)
    model = keras.Model(inputs, maps)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    return model


def run(model, inputs, *, training):
    """Return what a model gives, its gradients and its weights afterwards."""
    model.zero_grad()
    outputs = model(inputs, training=training)
    (outputs**2).sum().backward()
    gradients = [v.value.grad for v in model.trainable_variables]
    values = [outputs.detach(), *gradients, *model.weights]
    return [np.array(keras.ops.convert_to_numpy(value)) for value in values]


def compare(model, *, training=True, tolerance=5e-6):
    shape = (3, *model.input_shape[1:])
    inputs = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    weights = model.get_weights()
    theirs = run(model, inputs, training=training)
    model.set_weights(weights)
    assert find_direct_calls(model)
    with calling_directly(model):
        ours = run(model, inputs, training=training)
    # Before a normalisation that is trained, the gradient of a bias is 0 but for
    # rounding: what is compared is measured by the largest of all.
    scale = max(np.abs(their).max() for their in theirs)
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=tolerance * scale, rtol=0)


CONVOLUTIONS = {
    "a plain one": lambda: layers.Conv2D(6, 3),
    "with a stride and odd padding": lambda: layers.Conv2D(
        6, 3, strides=2, padding="same"
    ),
    "of an even kernel": lambda: layers.Conv2D(6, 2, padding="same"),
    "of one place": lambda: layers.Conv2D(6, 1, strides=2, use_bias=False),
    "spread": lambda: layers.Conv2D(6, 3, dilation_rate=2, padding="same"),
    "in groups": lambda: layers.Conv2D(6, 3, groups=2),
    "depthwise": lambda: layers.DepthwiseConv2D(
        3, strides=2, padding="same", depth_multiplier=2
    ),
    "separable": lambda: layers.SeparableConv2D(
        6, 3, padding="same", depth_multiplier=2
    ),
}


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_does_what_keras_does(name, size):
    compare(build(CONVOLUTIONS[name](), size=size))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("is_trained", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_normalisation_behind_it_does_what_keras_does(name, is_trained, training):
    norm = layers.BatchNormalization(momentum=0.7, trainable=is_trained)
    model = build(CONVOLUTIONS[name](), norm, layers.ReLU(6))
    compare(model, training=training)


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}])
@pytest.mark.parametrize("is_trained", [True, False])
def test_a_normalisation_may_lack_a_part(options, is_trained):
    for place in (0, 1):
        stack = [layers.Conv2D(6, 3)]
        norm = layers.BatchNormalization(**options, trainable=is_trained)
        stack.insert(place, norm)
        compare(build(*stack))


@pytest.mark.parametrize(
    "pooling",
    [
        layers.MaxPooling2D(3, 2),
        layers.MaxPooling2D(3, 2, padding="same"),
        layers.AveragePooling2D(2),
        layers.AveragePooling2D(3, 2, padding="same"),
    ],
)
@pytest.mark.parametrize("size", [8, 9])
def test_a_pooling_does_what_keras_does(pooling, size):
    norm = layers.BatchNormalization()
    compare(build(norm, type(pooling).from_config(pooling.get_config()), size=size))


def test_a_single_value_has_the_spread_that_keras_says():
    model = build(layers.Conv2D(6, 9), layers.BatchNormalization(), layers.ReLU())
    inputs = np.ones((1, 9, 9, 4), np.float32)
    expected = np.asarray(model(inputs, training=True).detach())
    with calling_directly(model):
        found = np.asarray(model(inputs, training=True).detach())
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_two_layers_take_is_not_changed_under_one_of_them():
    maps = keras.Input((8, 8, 4))
    conv = layers.Conv2D(4, 3, padding="same")(maps)
    norm = layers.BatchNormalization(trainable=False)(conv)
    cut = layers.ReLU()(norm)
    compare(keras.Model(maps, layers.Add()([conv, norm, cut])))


def test_what_a_model_gives_is_not_changed_either():
    maps = keras.Input((8, 8, 4))
    norm = layers.BatchNormalization()(maps)
    model = keras.Model(maps, [norm, layers.ReLU()(norm)])
    inputs = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype(np.float32)
    with calling_directly(model):
        whole, cut = (each.detach().numpy() for each in model(inputs))
    assert whole.min() < 0
    assert cut.min() == 0


def test_a_layer_that_ends_a_model_at_one_of_its_calls_stands_alone():
    maps = keras.Input((8, 8, 4))
    conv = layers.Conv2D(4, 3, padding="same")
    norm = layers.BatchNormalization(trainable=False)
    first = norm(conv(maps))
    model = keras.Model(maps, [norm(conv(first)), first])
    assert conv in find_direct_calls(model)
    compare(keras.Model(maps, layers.Add()([*model.outputs])))
    ends = keras.Model(maps, [model.output[0], conv(first)])
    assert norm not in {call.norm for call in find_direct_calls(ends).values()}


@pytest.mark.parametrize("place", [0, 1])
def test_a_layer_whose_output_is_held_down_gives_what_it_says(place):
    stack = [layers.Conv2D(6, 3), layers.BatchNormalization(trainable=False)]
    stack[place].activity_regularizer = keras.regularizers.L2(1.0)
    losses = []
    model = build(*stack, layers.ReLU())
    inputs = np.random.default_rng(1).normal(size=(3, 9, 9, 4)).astype(np.float32)
    for part in (keras.Model(), model):
        with calling_directly(part):
            model(inputs)
        losses.append(float(sum(model.losses).detach()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_layers_that_pytorch_has_otherwise_stay_keras():
    others = [
        layers.Conv2D(4, 3, activation="tanh"),
        layers.BatchNormalization(axis=1),
        layers.ReLU(negative_slope=0.1),
        layers.AveragePooling2D(2, padding="same"),
    ]
    assert not find_direct_calls(build(*others))


@pytest.mark.parametrize("name", ["mobilenetv2", "densenet121", "xception"])
@pytest.mark.parametrize("is_trained", [True, False])
def test_no_large_layer_of_an_encoder_is_left_out(name, is_trained):
    encoder = build_encoder(name, tile_px=96, weights="none")
    with frozen([] if is_trained else find_batch_norms(encoder)):
        calls = find_direct_calls(encoder)
    left = Counter(type(x).__name__ for x in encoder.layers if x not in calls)
    assert set(left) <= {
        "InputLayer", "Rescaling", "ZeroPadding2D", "Add", "Concatenate", "Activation",
    }  # fmt: skip
    # Only what follows a sum, of which it is not known who else needs it.
    assert left["Activation"] == (11 if name == "xception" else 0)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("is_trained", [True, False])
def test_every_encoder_gives_what_keras_gives(name, is_trained):
    px = 96 if name == "p4m_densenet" else max(64, ENCODERS[name].min_tile_px)
    encoder = build_encoder(name, tile_px=px, weights="none")
    model = build_classifier(encoder, n_classes=2, dropout=0.0)
    tiles = np.random.default_rng(0).integers(0, 256, (2, px, px, 3), dtype=np.uint8)
    with frozen([] if is_trained else find_batch_norms(encoder)):
        expected = model.predict_on_batch(tiles)
        with calling_directly(model):
            found = model.predict_on_batch(tiles)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_layers_are_keras_own_again_behind_the_block(tmp_path):
    model = build(layers.Conv2D(4, 3), layers.BatchNormalization(trainable=False))
    before = [set(vars(layer)) for layer in model.layers]
    with calling_directly(model):
        model.save(tmp_path / "model.keras")
    assert [set(vars(layer)) for layer in model.layers] == before
    again = keras.models.load_model(tmp_path / "model.keras")
    assert [type(x) for x in again.layers] == [type(x) for x in model.layers]
    for mine, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.fixture
def float64(monkeypatch):
    """Let Keras compute in float64, of which it makes float32 where two dtypes meet."""
    meet = dtypes.result_type

    def keep(*kinds):
        kind = meet(*kinds)
        is_double = any("float64" in str(each) for each in kinds)
        return "float64" if is_double and kind == "float32" else kind

    for module in (dtypes, keras.src.backend):
        monkeypatch.setattr(module, "result_type", keep)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("is_trained", [True, False])
def test_in_float64_an_encoder_is_trained_to_the_same_weights(is_trained):
    encoder = build_encoder("mobilenetv2", tile_px=64, weights="none")
    pooled = layers.GlobalAveragePooling2D()(encoder.output)
    model = keras.Model(encoder.input, pooled)
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (3, 4, 64, 64, 3)).astype(np.float32)
    batches = list(zip(tiles, rng.normal(size=(3, 4, 1280)), strict=True))
    start, found = model.get_weights(), []
    with frozen([] if is_trained else find_batch_norms(model)):
        for part in (keras.Model(), model):
            model.set_weights(start)
            model.compile(keras.optimizers.Adam(1e-3), "mse")
            with calling_directly(part):
                losses = [model.train_on_batch(*x) for x in batches]
            found.append([*losses, *model.get_weights()])
    assert all(weights.dtype == np.float64 for weights in start)
    assert found[0][0] != found[0][2]
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8)


def test_fifty_steps_lose_what_they_lose_with_keras():
    losses = []
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(50, 8, 9, 9, 4)), rng.normal(size=(50, 8, 1))
    for is_direct in (False, True):
        model = build(
            layers.Conv2D(6, 3), layers.BatchNormalization(), layers.ReLU(6),
            layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.ReLU(),
            layers.GlobalAveragePooling2D(), layers.Dense(1),
        )  # fmt: skip
        model.compile(keras.optimizers.Adam(1e-3), "mse")
        with calling_directly(model if is_direct else keras.Model()):
            losses.append(
                [
                    float(model.train_on_batch(*batch))
                    for batch in zip(inputs, targets, strict=True)
                ]
            )
    assert np.ptp(losses[0]) > 0.1
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-4)
