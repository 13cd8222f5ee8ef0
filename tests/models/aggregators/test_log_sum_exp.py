import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from eosin.models.aggregators.log_sum_exp import LogSumExpAggregator


def test_the_logit_is_scipys(bags, run):
    features, mask = bags
    outputs = run(LogSumExpAggregator(2, sharpness=3.0), features, mask)
    for row, size in enumerate((9, 5, 1)):
        logits = outputs["instance_logits"][row, :size]
        expected = logsumexp(3 * logits, b=1 / size, axis=0) / 3
        np.testing.assert_allclose(outputs["logits"][row], expected, rtol=1e-4)
        best = expected.argmax()
        np.testing.assert_allclose(
            outputs["attention"][row, :size], softmax(3 * logits[:, best]), rtol=1e-4
        )
    assert (outputs["logits"][3] == 0).all()


@pytest.mark.parametrize(("sharpness", "pool"), [(1e-3, np.mean), (1e3, np.max)])
def test_sharpness_goes_from_the_mean_to_the_maximum(bags, run, sharpness, pool):
    features, _ = bags
    outputs = run(LogSumExpAggregator(1, sharpness=sharpness), features)
    expected = pool(outputs["instance_logits"], axis=1)
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-2)
