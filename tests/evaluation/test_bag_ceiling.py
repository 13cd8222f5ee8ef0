import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from eosin.evaluation import find_bag_ceiling, find_log_ratios
from eosin.evaluation.bag_ceiling import score_bags

SHIFT = 1.2


def integrate_auc_of_two(shift):
    """AUC of the best score of bags of two with one witness, on a fine grid."""
    s = np.linspace(-7, 7 + shift, 1501)
    ratio = np.exp(shift * s - shift**2 / 2)
    score = np.log((ratio[:, None] + ratio[None, :]) / 2).ravel()
    normal, witness = norm.pdf(s), norm.pdf(s, shift)
    negative = np.outer(normal, normal).ravel()
    positive = np.outer(witness, normal).ravel()
    order = np.argsort(score)
    negative = negative[order] / negative.sum()
    positive = positive[order] / positive.sum()
    below = np.cumsum(negative) - negative / 2
    return float((below * positive).sum())


def draw_binormal(n, seed=0):
    """Scores of witnesses and others, N(shift, 1) and N(0, 1)."""
    rng = np.random.default_rng(seed)
    return rng.normal(SHIFT, 1, n), rng.normal(0, 1, n)


def exact(scores):
    return SHIFT * scores - SHIFT**2 / 2


def test_the_score_is_the_mean_over_all_sets_of_places():
    rng = np.random.default_rng(0)
    logs = rng.normal(size=(3, 6))
    for n in range(1, 7):
        expected = [
            np.log(np.mean([np.exp(sum(s)) for s in itertools.combinations(row, n)]))
            for row in logs
        ]
        np.testing.assert_allclose(score_bags(logs, n), expected, atol=1e-10)


def test_large_bags_do_not_overflow():
    logs = np.full((1, 400), 9.0)
    np.testing.assert_allclose(score_bags(logs, 200), 1800.0)
    np.testing.assert_allclose(score_bags(-logs, 200), -1800.0)


def test_one_witness_in_two_agrees_with_numerical_integration():
    witnesses, others = draw_binormal(200_000)
    found = find_bag_ceiling(
        exact(witnesses), exact(others), size=2, n_witnesses=1, n_bags=200_000
    )
    assert found.roc_auc == pytest.approx(integrate_auc_of_two(SHIFT), abs=0.004)
    # With one score above all the other is known to be worse than either alone.
    assert 0.5 < found.roc_auc < norm.cdf(SHIFT / math.sqrt(2))


@pytest.mark.parametrize("size", [1, 4])
def test_bags_of_nothing_but_witnesses_agree_with_the_closed_form(size):
    witnesses, others = draw_binormal(200_000)
    found = find_bag_ceiling(
        exact(witnesses), exact(others), size=size, n_witnesses=size, n_bags=100_000
    )
    shift = SHIFT * math.sqrt(size)
    assert found.roc_auc == pytest.approx(norm.cdf(shift / math.sqrt(2)), abs=0.005)
    # The threshold is the 95th percentile of N(0, 1), the positives are N(shift, 1).
    assert found.sensitivity == pytest.approx(
        norm.sf(norm.ppf(0.95) - shift), abs=0.015
    )


def test_ratios_that_are_estimated_give_nearly_the_same_ceiling():
    witnesses, others = draw_binormal(4000)
    estimated = find_log_ratios(witnesses, others)
    for n in (1, 5):
        found = find_bag_ceiling(*estimated, size=20, n_witnesses=n, n_bags=20_000)
        known = find_bag_ceiling(
            exact(witnesses), exact(others), size=20, n_witnesses=n, n_bags=20_000
        )
        assert found.roc_auc == pytest.approx(known.roc_auc, abs=0.015)


def test_no_other_score_beats_the_ceiling():
    rng = np.random.default_rng(1)
    witnesses, others = (exact(scores) for scores in draw_binormal(20_000))
    best = find_bag_ceiling(
        witnesses, others, size=10, n_witnesses=2, n_bags=20_000
    ).roc_auc
    negative, positive = (rng.choice(others, (10_000, 10)) for _ in range(2))
    positive[:, :2] = rng.choice(witnesses, (10_000, 2))
    labels = np.repeat([0, 1], 10_000)
    for pool in (np.max, np.mean):
        scores = np.concatenate([pool(negative, axis=1), pool(positive, axis=1)])
        assert roc_auc_score(labels, scores) < best


def test_witnesses_that_stand_apart_are_always_found():
    logs = find_log_ratios(np.linspace(5, 6, 500), np.linspace(0, 1, 3000))
    found = find_bag_ceiling(*logs, size=40, n_witnesses=1)
    assert found.roc_auc == 1
    assert found.sensitivity == 1


def test_instances_that_are_alike_tell_nothing():
    logs = find_log_ratios(np.ones(50), np.ones(70))
    np.testing.assert_allclose(np.concatenate(logs), 0, atol=1e-12)
    found = find_bag_ceiling(*logs, size=40, n_witnesses=20)
    assert found.roc_auc == 0.5
    assert found.sensitivity == 0


def test_ratios_are_those_of_pooled_counts():
    # Rising shares but for 2 and 3, which are pooled: 1 of 2 and 0 of 1 make 1 of 3.
    witnesses, others = np.array([2.0, 4.0, 4.0]), np.array([1.0, 1, 2, 3])
    own, rest = find_log_ratios(witnesses, others)
    pools = [np.log((k / 3.5) / (n / 4.5)) for k, n in ((0.5, 2.5), (1.5, 2.5))]
    last = np.log((2.5 / 3.5) / (0.5 / 4.5))
    np.testing.assert_allclose(own, [pools[1], last, last])
    np.testing.assert_allclose(rest, [pools[0], pools[0], pools[1], pools[1]])
