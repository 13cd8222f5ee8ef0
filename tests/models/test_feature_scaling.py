import keras
import numpy as np
import pytest

from eosin.models.feature_scaling import FeatureScaling

BAGS = np.array([[[1.0, 5.0], [3.0, 5.0]]], np.float32)


def _call(layer):
    return np.array(keras.ops.convert_to_numpy(layer(BAGS)))


def test_features_pass_until_statistics_are_set():
    assert np.array_equal(_call(FeatureScaling()), BAGS)


def test_features_are_scaled_and_constant_ones_only_shifted():
    layer = FeatureScaling()
    layer.build((None, None, 2))
    layer.set_statistics(np.array([2.0, 4.0]), np.array([0.5, 0.0]))
    assert _call(layer).tolist() == [[[-2, 1], [2, 1]]]
    layer.set_statistics(np.array([2.0, 4.0]), np.array([0.5, 0.0]), clip=1.5)
    assert _call(layer).tolist() == [[[-1.5, 1], [1.5, 1]]]


def test_batches_are_scaled_the_same_as_they_are_read():
    layer = FeatureScaling()
    layer.build((None, None, 2))
    layer.set_statistics(np.array([2.0, 4.0]), np.array([0.5, 3.0]), clip=1.5)
    out = np.empty_like(BAGS)
    layer.scale.apply(BAGS, out)
    assert out == pytest.approx(_call(layer))
