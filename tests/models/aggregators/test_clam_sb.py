import numpy as np
import pytest

from eosin.models.aggregators.clam_sb import CLAMSB, find_instance_loss
from eosin.models.keras_backend import keras

ops = keras.ops


def _softplus(x):
    return np.log1p(np.exp(x))


def _find(labels, scores, logits, mask, **options):
    arrays = (np.float32(labels), np.float32(scores), np.float32(logits), mask)
    return np.asarray(
        find_instance_loss(*(ops.convert_to_tensor(a) for a in arrays), **options)
    )


SCORES = [[5.0, 0.0], [4.0, 1.0], [3.0, 2.0], [2.0, 3.0], [1.0, 4.0], [9.0, 9.0]]
LOGITS = [[0.1, 1.0], [0.2, 2.0], [0.3, 3.0], [0.4, 4.0], [0.5, 5.0], [9.0, 9.0]]
MASK = np.array([[True] * 5 + [False]])


def test_the_bags_own_class_takes_both_ends_of_its_branch():
    found = _find([[0, 1]], [SCORES], [LOGITS], MASK, k=2, is_exclusive=False)
    # Branch 1 ranks instances 4 and 3 highest, 0 and 1 lowest.
    positive = (_softplus(-5.0) + _softplus(-4.0)) / 2
    negative = (_softplus(1.0) + _softplus(2.0)) / 2
    np.testing.assert_allclose(found, [(positive + negative) / 2], rtol=1e-5)


def test_exclusive_classes_take_the_top_of_the_others_too():
    found = _find([[0, 1]], [SCORES], [LOGITS], MASK, k=2, is_exclusive=True)
    own = _find([[0, 1]], [SCORES], [LOGITS], MASK, k=2, is_exclusive=False)
    # Branch 0 ranks instances 0 and 1 highest, and neither is of class 0.
    other = (_softplus(0.1) + _softplus(0.2)) / 2
    np.testing.assert_allclose(found, (own + other) / 2, rtol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_small_bag_takes_half_of_itself_from_each_end(size):
    mask = (np.arange(6) < size)[None]
    found = _find([[0, 1]], [SCORES], [LOGITS], mask, k=8, is_exclusive=False)
    half = size // 2
    logits = np.array(LOGITS)[:size, 1]
    high = _softplus(-logits[size - half :]).mean()
    low = _softplus(logits[:half]).mean()
    np.testing.assert_allclose(found, [(high + low) / 2], rtol=1e-5)


@pytest.mark.parametrize("size", [0, 1])
def test_a_bag_of_one_has_no_instance_loss(size):
    mask = (np.arange(6) < size)[None]
    found = _find([[0, 1]], [SCORES], [LOGITS], mask, k=8, is_exclusive=True)
    assert found == [0]


def test_one_branch_pools_for_all_classes(bags, run):
    features, mask = bags
    layer = CLAMSB(3, units=5)
    outputs = run(layer, features, mask)
    pooled = np.einsum("bi,bif->bf", outputs["attention"], features)
    kernel, bias = layer.head.get_weights()
    np.testing.assert_allclose(outputs["logits"], pooled @ kernel + bias, atol=1e-5)
    assert outputs["attention_scores"].shape == (4, 9, 1)


def test_the_loss_mixes_the_bags_and_the_instances(bags, run):
    features, mask = bags
    layer = CLAMSB(1, units=5, k=2, bag_weight=0.6)
    outputs = run(layer, features, mask)
    outputs = {key: ops.convert_to_tensor(value) for key, value in outputs.items()}
    labels = np.array([[1], [0], [1], [0]], np.float32)
    found = layer.find_loss(
        ops.convert_to_tensor(labels),
        outputs,
        ops.convert_to_tensor(mask),
        lambda labels, logits: 10.0 * labels[:, 0],
    )
    both = np.concatenate([1 - labels, labels], axis=1)
    scores = np.repeat(np.asarray(outputs["attention_scores"]), 2, axis=-1)
    instances = find_instance_loss(
        ops.convert_to_tensor(both),
        ops.convert_to_tensor(scores),
        outputs["class_instance_logits"],
        ops.convert_to_tensor(mask),
        k=2,
        is_exclusive=False,
    )
    expected = 0.6 * 10 * labels[:, 0] + 0.4 * np.asarray(instances)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[0] != 6


def test_one_output_shows_the_positive_classifiers_scores(bags, run):
    outputs = run(CLAMSB(1, units=5), *bags)
    np.testing.assert_array_equal(
        outputs["instance_logits"][..., 0], outputs["class_instance_logits"][..., 1]
    )
