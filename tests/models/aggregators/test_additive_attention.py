import numpy as np

from eosin.models.aggregators.additive_attention import AdditiveAttentionAggregator


def test_a_logit_falls_into_contributions_without_remainder(bags, run):
    features, mask = bags
    outputs = run(AdditiveAttentionAggregator(3, units=5), features, mask)
    parts = outputs["attention"][..., None] * outputs["instance_logits"]
    np.testing.assert_allclose(outputs["logits"], parts.sum(axis=1), atol=1e-6)
    assert (outputs["logits"][3] == 0).all()


def test_the_classifier_is_not_linear(bags, run):
    features, mask = bags
    layer = AdditiveAttentionAggregator(1, units=5)
    single = run(layer, features, mask)["instance_logits"]
    double = run(layer, 2 * features, mask)["instance_logits"]
    triple = run(layer, 3 * features, mask)["instance_logits"]
    layer.hidden.set_weights([layer.hidden.get_weights()[0], np.ones(5)])
    assert np.abs((triple - double) - (double - single)).max() < 1e-5
    bent = [run(layer, i * features, mask)["instance_logits"] for i in (1, 2, 3)]
    assert np.abs(bent[2] - 2 * bent[1] + bent[0]).max() > 1e-3
