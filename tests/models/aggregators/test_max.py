import numpy as np

from eosin.models.aggregators.max import MaxAggregator
from eosin.models.keras_backend import keras

ops = keras.ops


def _pool(logits, mask):
    pooled = MaxAggregator(logits.shape[-1]).pool(
        ops.convert_to_tensor(np.float32(logits)),
        ops.convert_to_tensor(mask[..., None]),
    )
    return [np.asarray(array) for array in pooled]


def test_the_highest_real_instance_counts():
    logits = np.array([[[-3.0], [-2.0], [7.0]]])
    found, shares = _pool(logits, np.array([[True, True, False]]))
    assert found == [[-2]]
    np.testing.assert_array_equal(shares[0, :, 0], [0, 1, 0])


def test_equal_instances_share_the_attention():
    logits = np.array([[[1.0], [4.0], [4.0]]])
    _, shares = _pool(logits, np.ones((1, 3), bool))
    np.testing.assert_array_equal(shares[0, :, 0], [0, 0.5, 0.5])


def test_attention_goes_to_the_highest_output(bags, run):
    features, mask = bags
    outputs = run(MaxAggregator(3, seed=2), features, mask)
    for row, size in enumerate((9, 5, 1)):
        logits = outputs["instance_logits"][row, :size]
        np.testing.assert_array_equal(outputs["logits"][row], logits.max(axis=0))
        instance, _ = np.unravel_index(logits.argmax(), logits.shape)
        assert outputs["attention"][row].argmax() == instance
    assert (outputs["logits"][3] == 0).all()
