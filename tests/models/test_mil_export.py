"""Exported bag models say what Keras says, for every aggregator of the registry."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from eosin.bags import Bag, fit_clinical
from eosin.core import ModelError
from eosin.inference import BagHead
from eosin.models import (
    AGGREGATORS,
    build_mil_model,
    build_pixel_mil_model,
    check_mil_export,
    export_mil_model,
    load_mil_model,
    predict_bags,
    save_model,
)

DIMENSION = 6
CLINICAL = fit_clinical(
    [{"age": "40", "sex": "f"}, {"age": "60", "sex": "m"}],
    {"age": "number", "sex": "category"},
)
every_aggregator = pytest.mark.parametrize("name", AGGREGATORS)


def build(name, **options):
    model = build_mil_model(name, dimension=DIMENSION, widths=(16,), seed=3, **options)
    rng = np.random.default_rng(0)
    model.scaling.set_statistics(
        rng.normal(size=DIMENSION), rng.uniform(0.5, 2, DIMENSION), clip=2.5
    )
    if model.clinical is not None:
        head = model.clinical_head
        head.set_weights([rng.normal(size=w.shape) for w in head.get_weights()])
    return model


def draw(size, *, clinical=None):
    features = np.random.default_rng(size).normal(size=(size, DIMENSION))
    return Bag(bag_id=f"B{size}", features=features, clinical=clinical)


def export(model, tmp_path):
    """Write the head and open it, checked on made bags."""
    export_mil_model(model, tmp_path / "model_0")
    head = BagHead(tmp_path / "model_0", clinical=model.clinical, device="cpu")
    check_mil_export(model, head.predict)
    return head


def require_same(found, expected, atol=1e-5):
    n = len(expected.attention)
    assert found.bag_id == expected.bag_id
    for one, other in (
        (found.logits, expected.logits),
        (found.attention * n, expected.attention * n),
        (found.instance_logits, expected.instance_logits),
    ):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=atol)


@every_aggregator
def test_an_exported_model_says_what_keras_says(name, tmp_path):
    model = build(name)
    save_model(model, tmp_path / "model_0.keras")
    head = export(model, tmp_path)
    loaded = load_mil_model(tmp_path / "model_0.keras")
    assert head.n_outputs == 1
    for size in (1, 2, 40) if model.n_instances else (1, 2, 40, 333):
        bag = draw(size)
        (expected,) = predict_bags(loaded, [bag])
        require_same(head.predict(bag), expected)
        require_same(head.predict(bag, max_instances=7), expected)


@every_aggregator
def test_classes_clinical_columns_and_half_precision_are_exported(name, tmp_path):
    options = {"n_classes": 3, "clinical": CLINICAL}
    model = build(name, precision="mixed_bfloat16", **options)
    head = export(model, tmp_path)
    assert head.n_outputs == 3
    # What runs is what training in half precision rounded.
    whole = build(name, **options)
    whole.set_weights(model.get_weights())
    for values in ({"age": "70", "sex": "M"}, {"age": "", "sex": "other"}, {}):
        bag = draw(9, clinical=values)
        (expected,), (rounded,) = (predict_bags(m, [bag]) for m in (whole, model))
        found = head.predict(bag)
        require_same(found, expected)
        np.testing.assert_allclose(found.logits, rounded.logits, rtol=1e-2, atol=5e-2)


@pytest.mark.parametrize("name", ["gated_attention", "linear_probe"])
def test_a_model_from_pixels_takes_tiles(name, tmp_path):
    model = build_pixel_mil_model(
        name, "smallcnn", tile_px=16, weights="none", widths=(8,)
    )
    head = export(model, tmp_path)
    assert head.tile_px == 16
    pixels = np.random.default_rng(0).integers(0, 256, (70, 16 * 16 * 3), np.uint8)
    bag = Bag(bag_id="tiles", features=pixels)
    (expected,) = predict_bags(model, [bag])
    require_same(head.predict(bag), expected)


def test_many_features_are_exported_too(tmp_path):
    # From so many on, Keras may multiply by a function that no exporter knows.
    model = build_mil_model("mean", dimension=1 << 14, widths=(64,))
    export(model, tmp_path)


def test_a_run_stops_where_the_exported_model_differs(tmp_path):
    model = build("gated_attention")
    head = export(model, tmp_path)
    wrong = {
        "logits": lambda s: replace(s, logits=s.logits + 3e-4),
        "attention": lambda s: replace(s, attention=s.attention[::-1]),
        "scores": lambda s: replace(s, instance_logits=s.instance_logits * 1.01),
    }
    for change in wrong.values():
        with pytest.raises(ModelError, match=r"mil_gated_attention.*to 0\.0001"):
            check_mil_export(model, lambda bag, c=change: c(head.predict(bag)))
    real = draw(500)

    def fail_on_real(bag):
        scores = head.predict(bag)
        wrong = bag.bag_id == real.bag_id
        return replace(scores, logits=scores.logits + wrong)

    check_mil_export(model, fail_on_real)
    with pytest.raises(ModelError, match="a bag of 256 instances"):
        check_mil_export(model, fail_on_real, [real])


def test_a_tie_that_rounding_decides_stops_no_run(tmp_path):
    model = build("max")
    head = export(model, tmp_path)
    equal = Bag(bag_id="equal", features=np.ones((9, DIMENSION)))

    def break_tie(bag):
        scores = head.predict(bag)
        is_tie = len(bag) == 9 and not bag.features.std(axis=0).any()
        return replace(scores, attention=np.eye(9)[3]) if is_tie else scores

    check_mil_export(model, break_tie, [equal])


def test_nothing_of_this_machine_is_written(tmp_path):
    export(build("clam_mb", clinical=CLINICAL), tmp_path)
    for path in tmp_path.glob("*.onnx"):
        content = path.read_bytes()
        assert b".py" not in content
        assert b"site-packages" not in content
    graph = onnx.load_model(tmp_path / "model_0.aggregator.onnx").graph
    shapes = {
        port.name: [d.dim_param or d.dim_value for d in port.type.tensor_type.shape.dim]
        for port in (*graph.input, *graph.output)
    }
    assert shapes == {
        "projected": ["instances", 16],
        "clinical": [1, 5],
        "logits": [1],
        "attention": ["instances"],
        "instance_logits": ["instances", 1],
    }
