import numpy as np
import pytest

from eosin.models.aggregators.clam_sb import CLAMSB
from eosin.models.aggregators.instance_loss import find_instance_loss
from eosin.models.keras_backend import keras

ops = keras.ops


def _to_tensors(outputs):
    return {key: ops.convert_to_tensor(value) for key, value in outputs.items()}


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
    outputs = _to_tensors(run(layer, features, mask))
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


@pytest.mark.parametrize("options", [{"k": 0}, {"bag_weight": 1.5}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"k must be 1 or more and bag_weight in"):
        CLAMSB(1, **options)
