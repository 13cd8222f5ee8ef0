import numpy as np
import pytest

from eosin.models.aggregators import Aggregator
from eosin.models.aggregators.aggregator import (
    InstanceAggregator,
    count_instances,
    find_highest,
    pick_best,
)
from eosin.models.keras_backend import keras

ops = keras.ops


def test_a_bag_needs_an_output():
    with pytest.raises(ValueError, match="n_outputs must be 1 or more, got 0"):
        Aggregator(0)


def test_a_method_says_for_itself_how_it_aggregates(bags):
    with pytest.raises(NotImplementedError):
        Aggregator(1).aggregate(*bags)
    with pytest.raises(NotImplementedError):
        InstanceAggregator(1).pool(*bags)


def test_instances_are_counted_and_an_empty_bag_counts_1(bags):
    counts = count_instances(ops.convert_to_tensor(bags[1][..., None]))
    np.testing.assert_array_equal(counts, [[9], [5], [1], [1]])


def test_one_output_has_one_attention():
    weights = np.array([[[0.25], [0.75]]], np.float32)
    np.testing.assert_array_equal(pick_best(weights, np.zeros((1, 1))), [[0.25, 0.75]])


def test_attention_is_that_of_the_highest_output():
    weights = np.array([[[0.1, 0.9], [0.9, 0.1]]] * 2, np.float32)
    logits = np.array([[1.0, 2.0], [3.0, 2.0]], np.float32)
    found = pick_best(ops.convert_to_tensor(weights), ops.convert_to_tensor(logits))
    np.testing.assert_allclose(found, [[0.9, 0.1], [0.1, 0.9]])


def test_the_highest_come_first_and_what_is_missing_last():
    scores = ops.convert_to_tensor([[3.0, 5.0, 4.0]])
    highest, places = find_highest(scores, 2)
    np.testing.assert_array_equal(highest, [[5, 4]])
    np.testing.assert_array_equal(places, [[1, 2]])
    highest, places = find_highest(scores, 5)
    np.testing.assert_array_equal(highest[0, :3], [5, 4, 3])
    assert (np.asarray(highest)[0, 3:] <= -1e9).all()
    assert (np.asarray(places)[0, 3:] >= 3).all()
