"""The contract that every aggregator of the registry keeps."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from eosin.core import ConfigError
from eosin.models import (
    AGGREGATORS,
    build_mil_model,
    find_aggregator,
    load_mil_model,
    save_model,
)
from eosin.models.aggregators.aggregator import find_highest, pick_best
from eosin.models.keras_backend import keras
from eosin.training.optimisation import build_loss

DIMENSION = 6
N_INSTANCES = 40
ORDER_FREE = [name for name, spec in AGGREGATORS.items() if spec.is_order_free]
every_aggregator = pytest.mark.parametrize("name", AGGREGATORS)
every_order_free = pytest.mark.parametrize("name", ORDER_FREE)
both_heads = pytest.mark.parametrize("n_classes", [2, 3])


def _build(name, n_classes=2, **options):
    return build_mil_model(
        name, dimension=DIMENSION, n_classes=n_classes, widths=(16,), seed=3, **options
    )


def _draw(sizes=(40, 23, 1), seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(len(sizes), N_INSTANCES, DIMENSION))
    mask = np.arange(N_INSTANCES) < np.array(sizes)[:, None]
    return features.astype(np.float32), mask


def _run(model, features, mask):
    return model.predict_on_batch({"features": features, "mask": mask})


@every_aggregator
@both_heads
def test_shapes_are_as_the_spec_says(name, n_classes):
    outputs = _run(_build(name, n_classes), *_draw())
    n_outputs = 1 if n_classes == 2 else n_classes
    assert outputs["logits"].shape == (3, n_outputs)
    assert outputs["attention"].shape == (3, N_INSTANCES)
    assert ("instance_logits" in outputs) == AGGREGATORS[name].has_instance_logits
    if "instance_logits" in outputs:
        assert outputs["instance_logits"].shape == (3, N_INSTANCES, n_outputs)
    assert {value.dtype for value in outputs.values()} == {np.dtype(np.float32)}


@every_aggregator
@both_heads
def test_attention_sums_to_1_and_padding_gets_exactly_0(name, n_classes):
    features, mask = _draw()
    attention = _run(_build(name, n_classes), features, mask)["attention"]
    np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=1e-5)
    assert (attention >= 0).all()
    assert (attention[~mask] == 0).all()


@every_order_free
@both_heads
def test_the_order_of_the_instances_does_not_matter(name, n_classes):
    model = _build(name, n_classes)
    features, mask = _draw()
    expected = _run(model, features, mask)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(N_INSTANCES)
        found = _run(model, features[:, order], mask[:, order])
        np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-5)
        np.testing.assert_allclose(
            found["attention"], expected["attention"][:, order], atol=1e-5
        )


def test_the_order_free_check_fails_for_concat40():
    assert set(AGGREGATORS) - set(ORDER_FREE) == {"concat40"}
    model = _build("concat40")
    features, mask = _draw(sizes=(40, 40, 40))
    found = _run(model, features[:, ::-1], mask)["logits"]
    expected = _run(model, features, mask)["logits"]
    # Far beyond rounding: a good part of how much bags differ from one another.
    assert np.abs(found - expected).max() > 0.3 * expected.std()


@every_aggregator
def test_what_padding_holds_does_not_matter(name):
    model = _build(name)
    features, mask = _draw()
    expected = _run(model, features, mask)
    for junk in (1e4, np.nan, np.inf):
        spoilt = np.where(mask[..., None], features, np.float32(junk))
        found = _run(model, spoilt, mask)
        np.testing.assert_array_equal(found["logits"], expected["logits"])
        np.testing.assert_array_equal(found["attention"], expected["attention"])


@every_order_free
def test_how_much_padding_there_is_does_not_matter(name):
    model = _build(name)
    features, mask = _draw()
    expected = _run(model, features, mask)
    wide = _run(
        model,
        np.pad(features, [(0, 0), (0, 17), (0, 0)]),
        np.pad(mask, [(0, 0), (0, 17)]),
    )
    alone = _run(model, features[1:2, :23], mask[1:2, :23])
    np.testing.assert_allclose(wide["logits"], expected["logits"], atol=1e-5)
    np.testing.assert_allclose(
        wide["attention"][:, :N_INSTANCES], expected["attention"], atol=1e-5
    )
    np.testing.assert_allclose(alone["logits"], expected["logits"][1:2], atol=1e-5)


@every_aggregator
@both_heads
def test_a_bag_of_nothing_but_padding_is_finite_and_gets_no_attention(name, n_classes):
    features, mask = _draw(sizes=(40, 0, 3))
    outputs = _run(_build(name, n_classes), features, mask)
    assert all(np.isfinite(value).all() for value in outputs.values())
    assert (outputs["attention"][1] == 0).all()


@every_aggregator
def test_without_a_mask_all_instances_are_real(name):
    features, mask = _draw(sizes=(40, 40, 40))
    layer = AGGREGATORS[name].layer(1)
    inputs = keras.Input((N_INSTANCES, DIMENSION))
    model = keras.Model(inputs, layer(inputs))
    shown = keras.Input((N_INSTANCES,), dtype="bool")
    masked = keras.Model([inputs, shown], layer(inputs, mask=shown))
    found = model.predict_on_batch(features)
    expected = masked.predict_on_batch([features, mask])
    # A compiler may order two graphs' sums in two ways.
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-6)


@every_aggregator
def test_a_layer_is_made_again_from_its_config(name):
    layer = AGGREGATORS[name].layer(3, seed=4)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert type(again) is AGGREGATORS[name].layer


@every_aggregator
@both_heads
def test_a_saved_model_says_the_same(name, n_classes, tmp_path):
    model = _build(name, n_classes)
    model.scaling.set_statistics(np.arange(6.0), np.arange(6.0))
    expected = _run(model, *_draw())
    save_model(model, tmp_path / "model.keras")
    loaded = load_mil_model(tmp_path / "model.keras")
    found = _run(loaded, *_draw())
    assert loaded.get_config() == model.get_config()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key])


@every_aggregator
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_says_nearly_the_same(name, precision):
    features, mask = _draw(sizes=(40, 23, 0))
    expected = _run(_build(name), features, mask)
    found = _run(_build(name, precision=precision), features, mask)
    assert all(np.isfinite(value).all() for value in found.values())
    assert found["logits"].dtype == np.float32
    tolerance = 5e-3 if precision == "mixed_float16" else 5e-2
    np.testing.assert_allclose(found["logits"], expected["logits"], atol=tolerance)
    assert (found["attention"][~mask] == 0).all()


@every_aggregator
@both_heads
def test_one_training_step_lowers_the_loss_on_planted_bags(name, n_classes):
    model = _build(name, n_classes, dropout=0.0)
    features, mask = _draw(sizes=(40, 30, 20, 10, 5, 2) * 2)
    labels = np.arange(len(mask)) % n_classes
    features[labels > 0, 0] += 2 * labels[labels > 0, None]
    encoded = np.eye(n_classes)[labels] if n_classes > 2 else labels[:, None]
    encoded = encoded.astype(np.float32)
    bag_loss = build_loss(n_classes, label_smoothing=0.0).call

    class Learning(keras.Model):
        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            to_tensor = keras.ops.convert_to_tensor
            return keras.ops.mean(
                model.aggregator.find_loss(
                    to_tensor(y), y_pred, to_tensor(x["mask"]), bag_loss
                )
            )

    learning = Learning(model.input, model.output)
    learning.compile(keras.optimizers.SGD(0.01))
    inputs = {"features": features, "mask": mask}
    before = float(learning.train_on_batch(inputs, encoded))
    after = float(learning.test_on_batch(inputs, encoded))
    assert np.isfinite([before, after]).all()
    assert after < before


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_other_backends_say_the_same(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    features, mask = _draw(sizes=(40, 23, 0))
    np.savez(tmp_path / "bags.npz", features=features, mask=mask)
    for name in AGGREGATORS:
        save_model(_build(name, 3), tmp_path / f"{name}.keras")
    code = (
        "import sys, json, numpy as np; from pathlib import Path\n"
        "from eosin.models import load_mil_model\n"
        "folder = Path(sys.argv[1]); bags = dict(np.load(folder / 'bags.npz'))\n"
        "paths = sorted(folder.glob('*.keras'))\n"
        "print(json.dumps({path.stem: np.asarray(load_mil_model(path)"
        ".predict_on_batch(bags)['logits']).tolist() for path in paths}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "KERAS_BACKEND": backend},
    )
    found = json.loads(done.stdout)
    for name in AGGREGATORS:
        expected = _run(_build(name, 3), features, mask)["logits"]
        np.testing.assert_allclose(found[name], expected, atol=1e-4, err_msg=name)


def test_two_seeds_start_from_two_models():
    first, again = _build("gated_attention"), _build("gated_attention")
    other = build_mil_model(
        "gated_attention", dimension=DIMENSION, widths=(16,), seed=4
    )
    for a, b in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(
        first.aggregator.head.get_weights()[0], other.aggregator.head.get_weights()[0]
    )


def test_an_unknown_method_is_named_with_those_there_are():
    assert all(find_aggregator(name).name == name for name in AGGREGATORS)
    with pytest.raises(ConfigError, match=r"linear_probe, mean.*; got 'median'"):
        find_aggregator("median")
    with pytest.raises(ConfigError, match="got 'gated_atention'; is 'gated_attention'"):
        find_aggregator("gated_atention")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mean", {"n_outputs": 0}, "n_outputs must be 1 or more, got 0"),
        ("attention", {"units": 0}, "units and branches must be 1 or more"),
        ("top_k_mean", {"k": 0}, "k must be 1 or more, got 0"),
        ("log_sum_exp", {"sharpness": 0}, "sharpness must be above 0, got 0"),
        ("noisy_or", {"prior": 1}, r"prior must be in \(0, 1\), got 1"),
        ("likelihood_ratio", {"rates": (0.1, 1)}, r"in \(0, 1\), got 1"),
        ("likelihood_ratio", {"rates": ()}, r"in \(0, 1\), got none"),
        ("clam_sb", {"k": 0}, "k must be 1 or more and bag_weight in"),
        ("clam_sb", {"bag_weight": 1.5}, "k must be 1 or more and bag_weight in"),
        ("transmil", {"units": 10, "heads": 4}, "units a multiple of heads"),
        ("transmil", {"heads": 0}, "units a multiple of heads"),
        ("transmil", {"landmarks": 0}, "units a multiple of heads"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        AGGREGATORS[name].layer(**{"n_outputs": 1, **options})


def test_attention_is_that_of_the_highest_output():
    weights = np.array([[[0.1, 0.9], [0.9, 0.1]]] * 2, np.float32)
    logits = np.array([[1.0, 2.0], [3.0, 2.0]], np.float32)
    to_tensor = keras.ops.convert_to_tensor
    found = pick_best(to_tensor(weights), to_tensor(logits))
    np.testing.assert_allclose(found, [[0.9, 0.1], [0.1, 0.9]])


def test_the_highest_come_first_and_what_is_missing_last():
    highest, places = find_highest(keras.ops.convert_to_tensor([[3.0, 5.0, 4.0]]), 5)
    np.testing.assert_array_equal(highest[0, :3], [5, 4, 3])
    assert (np.asarray(highest)[0, 3:] <= -1e9).all()
    np.testing.assert_array_equal(places[0, :3], [1, 2, 0])
    assert (np.asarray(places)[0, 3:] >= 3).all()
