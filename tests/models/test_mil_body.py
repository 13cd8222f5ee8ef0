import numpy as np

from eosin.models.mil_body import build_body, make_inputs

CONFIG = {
    "aggregator": "mean",
    "dimension": 4,
    "n_classes": 2,
    "widths": [],
    "dropout": 0.0,
    "precision": "float32",
    "seed": 0,
    "options": {},
}


def test_inputs_are_of_any_size_or_of_the_methods_own():
    features, mask = make_inputs(None, 4)
    assert (features.shape, mask.shape) == ((None, None, 4), (None, None))
    features, mask = make_inputs(40, 4)
    assert (features.shape, mask.shape) == ((None, 40, 4), (None, 40))


def test_without_layers_instances_reach_the_method_as_they_are():
    body = build_body(CONFIG)
    bags = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    mask = np.ones((2, 3), bool)
    found = body.predict_on_batch({"features": bags, "mask": mask})
    kernel, bias = body.get_layer("aggregator").get_weights()
    np.testing.assert_allclose(
        found["logits"], bags.mean(axis=1) @ kernel + bias, atol=1e-6
    )


def test_columns_make_a_third_input():
    column = {"name": "sex", "kind": "category", "levels": ["f", "m"]}
    body = build_body(CONFIG | {"clinical": [column]})
    assert body.input["clinical"].shape == (None, 3)
