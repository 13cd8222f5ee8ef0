import contextlib

import numpy as np
import pytest

from eosin.models import split_model
from eosin.models.keras_backend import keras
from eosin.training import freezing
from eosin.training.freezing import (
    computing_in,
    find_batch_norms,
    find_learning_rate_factors,
    find_stages,
    frozen,
    moving_less,
)


def test_batch_norms_of_inner_models_are_found(make_classifier):
    outer_input = keras.Input((32, 32, 3))
    outer = keras.Model(outer_input, make_classifier()(outer_input))
    assert len(find_batch_norms(outer)) == 4


def test_frozen_layers_come_back_as_they_were(make_classifier):
    classifier = make_classifier()
    norms = find_batch_norms(classifier)
    norms[0].trainable = False
    with contextlib.suppress(KeyError), frozen(norms):
        assert not any(layer.trainable for layer in norms)
        raise KeyError
    assert [layer.trainable for layer in norms] == [False, True, True, True]


def test_half_precision_is_close_and_passes(make_classifier, pixels):
    classifier = make_classifier()
    expected = classifier.predict_on_batch(pixels[:8])
    with computing_in(classifier, "mixed_bfloat16"):
        half = keras.Model(classifier.input, classifier.output)
        actual = half.predict_on_batch(pixels[:8])
        assert classifier.get_layer("block4_conv").compute_dtype == "bfloat16"
        assert all(v.dtype == "float32" for v in classifier.weights)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=0.05)
    assert not np.array_equal(actual, expected)
    np.testing.assert_array_equal(classifier.predict_on_batch(pixels[:8]), expected)


def test_precision_reaches_inner_models(make_classifier):
    outer_input = keras.Input((32, 32, 3))
    classifier = make_classifier()
    outer = keras.Model(outer_input, classifier(outer_input))
    with computing_in(outer, "mixed_bfloat16"):
        assert classifier.get_layer("block1_conv").compute_dtype == "bfloat16"
    assert classifier.get_layer("block1_conv").compute_dtype == "float32"


@pytest.mark.parametrize(("has_gpu", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_auto_asks_for_a_gpu(monkeypatch, make_classifier, has_gpu, dtype):
    monkeypatch.setattr(freezing, "has_gpu", lambda: has_gpu)
    classifier = make_classifier()
    with computing_in(classifier, "auto"):
        assert classifier.get_layer("block4_conv").compute_dtype == dtype


def test_layers_learn_the_slower_the_earlier_they_are(make_classifier):
    classifier = make_classifier()
    trunk, tail = split_model(classifier, "last")
    factors = find_learning_rate_factors(classifier, trunk, decay=0.5)
    expected = {"block1": 0.25, "block2": 0.25, "block3": 0.25, "block4": 0.5}
    for variable, factor in zip(classifier.trainable_variables, factors, strict=True):
        block = variable.path.split("_")[0]
        assert factor == expected.get(block, 1.0), variable.path
    assert len(factors) == 4 * 3 + 2
    assert set(find_learning_rate_factors(tail, trunk, decay=0.5)) == {0.5, 1.0}
    with frozen(trunk.layers):
        assert 0.25 not in find_learning_rate_factors(classifier, trunk, decay=0.5)


def test_variables_go_a_part_of_their_way():
    variables = [keras.Variable(np.array([1.0, 2.0], "float32")) for _ in range(3)]
    with moving_less(variables, (1.0, 0.5, 0.0)):
        for variable in variables:
            variable.assign(variable + np.array([4.0, -2.0], "float32"))
    for variable, expected in zip(
        variables, ([5.0, 0.0], [3.0, 1.0], [1.0, 2.0]), strict=True
    ):
        np.testing.assert_allclose(variable, expected)


def test_stages_are_found_by_the_size_of_their_maps(make_classifier):
    trunk, _ = split_model(make_classifier(), "last")
    names = [[layer.name for layer in stage] for stage in find_stages(trunk)]
    assert names == [
        ["block3_conv", "block3_norm"],
        ["block2_conv", "block2_norm"],
        ["block1_conv", "block1_norm"],
    ]
