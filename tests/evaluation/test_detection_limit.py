import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eosin.evaluation import (
    DetectionLimit,
    bootstrap_limit,
    compute_instance_auc,
    draw_means,
    find_sensitivity,
    interpolate_limit,
)

RATES = (0.025, 0.125, 0.25, 0.5)


def test_sensitivity_is_told_at_the_threshold_that_negatives_stay_below():
    # 19 of 20 negatives do not exceed 19; of the positives, 2 of 4 do.
    negatives = np.arange(1.0, 21.0)
    positives = np.array([5.0, 19.0, 19.5, 30.0])
    assert find_sensitivity(negatives, positives) == 0.5
    assert find_sensitivity(negatives, positives, specificity=1) == 0.25
    # Half of them: 10.
    assert find_sensitivity(negatives, positives, specificity=0.5) == 0.75


def test_equal_scores_find_nothing():
    assert find_sensitivity(np.zeros(9), np.zeros(9)) == 0


def test_the_limit_is_interpolated_in_the_logarithm_of_the_rate():
    # 0.9 lies half-way from 0.8 to 1: the geometric mean of 0.125 and 0.25.
    found = interpolate_limit(RATES, (0.3, 0.8, 1.0, 1.0))
    assert found.rate == pytest.approx(math.sqrt(0.125 * 0.25))
    assert not found.is_at_most
    # A quarter of the way from 0.025 to 0.125: 0.025 * 5 ** 0.25 = 0.03738.
    found = interpolate_limit(RATES, (0.85, 1.05, 1.0, 1.0))
    assert found.rate == pytest.approx(0.037383719, rel=1e-7)


def test_a_rate_with_just_the_power_is_the_limit():
    assert interpolate_limit(RATES, (0, 0.2, 0.9, 1)).rate == pytest.approx(0.25)


def test_every_larger_rate_must_be_found_too():
    # 0.125 is found by luck, 0.25 is not: the limit lies between 0.25 and 0.5.
    found = interpolate_limit(RATES, (0.1, 0.95, 0.8, 1.0))
    assert found.rate == pytest.approx(math.sqrt(0.25 * 0.5))


def test_the_ends_of_the_study_are_named():
    assert interpolate_limit(RATES, (0.9, 1, 1, 1)) == DetectionLimit(
        0.025, is_at_most=True
    )
    assert interpolate_limit(RATES, (0.9, 1, 1, 0.89)) == DetectionLimit(None)
    assert interpolate_limit((0.5,), (0.95,), power=0.95).rate == 0.5


def test_the_interval_spans_patients_and_seeds():
    # Ten sets of patients in which the limit is 0.025, 0.05 or not reached.
    rates = (0.025, 0.05)
    powers = np.zeros((10, 3, 2))
    powers[:4] = (0.95, 1.0)
    powers[4:8] = (0.0, 0.9)
    powers[8:] = (0.0, 0.5)
    found = bootstrap_limit(rates, powers)
    assert found.low == DetectionLimit(0.025, is_at_most=True)
    assert found.high == DetectionLimit(None)
    assert found.share_reached == pytest.approx(0.8, abs=0.03)
    # Within 50 %, the ends are those of patients that are common enough.
    found = bootstrap_limit(rates, powers, confidence=0.5)
    assert (found.low.rate, found.high.rate) == (0.025, pytest.approx(0.05))


def test_seeds_are_drawn_too():
    # One of two seeds finds nothing: a quarter of the draws have it twice.
    powers = np.array([[[1.0, 1.0], [0.0, 0.0]]])
    means = draw_means(powers, n_draws=4000)
    values, counts = np.unique(means, return_counts=True)
    np.testing.assert_allclose(values, [0, 0.5, 1])
    np.testing.assert_allclose(counts / counts.sum(), [0.25, 0.5, 0.25], atol=0.03)


def test_instance_auc_is_the_mean_over_bags_with_both_kinds():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (4, 9)).astype(float)
    is_witness = rng.random((4, 9)) < 0.4
    is_witness[2], is_witness[3] = False, True
    expected = [roc_auc_score(is_witness[i], scores[i]) for i in (0, 1)]
    assert compute_instance_auc(scores, is_witness) == pytest.approx(np.mean(expected))
    assert math.isnan(compute_instance_auc(scores[2:], is_witness[2:]))
