import numpy as np
import pytest
from scipy.special import expit, logit

from eosin.models.aggregators.likelihood_ratio import LikelihoodRatioAggregator

RATES = (0.1, 0.4)


def test_the_logit_is_the_mean_ratio_over_the_rates(bags, run):
    features, mask = bags
    outputs = run(LikelihoodRatioAggregator(2, rates=RATES), features, mask)
    for row, size in enumerate((9, 5, 1)):
        z = outputs["instance_logits"][row, :size].astype(np.float64)
        ratios = np.stack([np.prod(1 - r + r * np.exp(z), axis=0) for r in RATES])
        expected = np.log(ratios.mean(axis=0))
        np.testing.assert_allclose(outputs["logits"][row], expected, atol=1e-5)
        best = expected.argmax()
        # Bayes by hand: first the rate, then the instance.
        fit = ratios[:, best] / ratios[:, best].sum()
        given = np.stack([expit(z[:, best] + logit(r)) for r in RATES])
        parts = fit @ given
        np.testing.assert_allclose(
            outputs["attention"][row, :size], parts / parts.sum(), rtol=1e-4
        )
    np.testing.assert_allclose(outputs["logits"][3], 0, atol=1e-6)
    np.testing.assert_allclose(outputs["attention"][3], 0)


def test_a_rate_near_one_sums_the_logits(bags, run):
    features, mask = bags
    outputs = run(LikelihoodRatioAggregator(1, rates=(1 - 1e-7,)), features, mask)
    sums = (outputs["instance_logits"][..., 0] * mask).sum(axis=1)
    np.testing.assert_allclose(outputs["logits"][:, 0], sums, atol=1e-4)


@pytest.mark.parametrize("shift", [-300.0, 300.0])
def test_sure_bags_stay_finite(rng, run, shift):
    features = rng.normal(size=(2, 5, 3)).astype(np.float32)
    layer = LikelihoodRatioAggregator(1)
    layer.build((None, None, 3))
    kernel, _ = layer.head.get_weights()
    layer.head.set_weights([kernel, np.array([shift])])
    outputs = run(layer, features)
    assert np.isfinite(outputs["logits"]).all()
    assert (np.sign(outputs["logits"]) == np.sign(shift)).all()
    np.testing.assert_allclose(outputs["attention"].sum(axis=1), 1, rtol=1e-5)
