import numpy as np
from scipy.special import softmax

from eosin.models.aggregators.attention import AttentionAggregator


def test_a_logit_is_the_weighted_mean_of_its_instances_logits(bags, run):
    features, mask = bags
    layer = AttentionAggregator(2, units=5)
    outputs = run(layer, features, mask)
    weighted = outputs["attention"][..., None] * outputs["instance_logits"]
    np.testing.assert_allclose(
        outputs["logits"][:3], weighted.sum(axis=1)[:3], atol=1e-6
    )
    _, bias = layer.head.get_weights()
    np.testing.assert_array_equal(outputs["logits"][3], bias)


def test_attention_is_as_in_the_paper(bags, run):
    features, _ = bags
    layer = AttentionAggregator(1, units=5)
    outputs = run(layer, features)
    v, bias, w, offset = layer.scores.get_weights()
    expected = softmax(np.tanh(features @ v + bias) @ w + offset, axis=1)[..., 0]
    np.testing.assert_allclose(outputs["attention"], expected, rtol=1e-4)
