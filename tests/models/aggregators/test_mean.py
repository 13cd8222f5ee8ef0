import numpy as np

from eosin.models.aggregators.mean import MeanAggregator


def test_the_logit_is_that_of_the_mean_instance(bags, run):
    features, mask = bags
    layer = MeanAggregator(2, seed=1)
    outputs = run(layer, features, mask)
    kernel, bias = layer.head.get_weights()
    for row, size in enumerate((9, 5, 1)):
        expected = features[row, :size].mean(axis=0) @ kernel + bias
        np.testing.assert_allclose(outputs["logits"][row], expected, atol=1e-6)
        np.testing.assert_allclose(outputs["attention"][row, :size], 1 / size)
    assert (outputs["logits"][3] == 0).all()
