import numpy as np
import pytest

from eosin.models.aggregators.top_k_mean import TopKMeanAggregator


@pytest.mark.parametrize("k", [1, 3, 20])
def test_the_logit_is_the_mean_of_the_highest(bags, run, k):
    features, mask = bags
    outputs = run(TopKMeanAggregator(2, k=k), features, mask)
    for row, size in enumerate((9, 5, 1)):
        taken = np.sort(outputs["instance_logits"][row, :size], axis=0)[-k:]
        np.testing.assert_allclose(
            outputs["logits"][row], taken.mean(axis=0), atol=1e-6
        )
        attention = outputs["attention"][row]
        np.testing.assert_allclose(attention[attention > 0], 1 / min(k, size))
        best = outputs["instance_logits"][row, :size, outputs["logits"][row].argmax()]
        assert set(np.flatnonzero(attention)) == set(np.argsort(best)[-k:])
    assert (outputs["logits"][3] == 0).all()


def test_instances_that_tie_share_the_attention(run):
    features = np.ones((1, 4, 2), np.float32)
    attention = run(TopKMeanAggregator(1, k=2), features)["attention"]
    np.testing.assert_allclose(attention, 0.25)
