import numpy as np
import pytest
from scipy.special import expit, logit

from eosin.models.aggregators.noisy_or import NoisyOrAggregator


def test_the_logit_is_that_of_at_least_one_positive(bags, run):
    features, mask = bags
    outputs = run(NoisyOrAggregator(2, prior=0.3), features, mask)
    for row, size in enumerate((9, 5, 1)):
        p = expit(outputs["instance_logits"][row, :size].astype(np.float64))
        expected = logit(1 - np.prod(1 - p, axis=0))
        np.testing.assert_allclose(outputs["logits"][row], expected, rtol=1e-4)
        parts = -np.log1p(-p[:, expected.argmax()])
        np.testing.assert_allclose(
            outputs["attention"][row, :size], parts / parts.sum(), rtol=1e-4
        )
    np.testing.assert_allclose(outputs["logits"][3], np.log(1e-7), rtol=1e-3)


def test_instances_start_with_the_prior():
    layer = NoisyOrAggregator(1, prior=0.1)
    layer.build((None, None, 3))
    np.testing.assert_allclose(expit(layer.head.get_weights()[1]), 0.1, rtol=1e-6)


@pytest.mark.parametrize("shift", [-200.0, 200.0])
def test_sure_bags_stay_finite(rng, run, shift):
    features = rng.normal(size=(2, 5, 3)).astype(np.float32)
    layer = NoisyOrAggregator(1)
    layer.build((None, None, 3))
    kernel, _ = layer.head.get_weights()
    layer.head.set_weights([kernel, np.array([shift])])
    logits = run(layer, features)["logits"]
    assert np.isfinite(logits).all()
    assert (np.sign(logits) == np.sign(shift)).all()
