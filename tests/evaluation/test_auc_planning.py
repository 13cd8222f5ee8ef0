import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eosin.core import ConfigError
from eosin.evaluation import plan_auc
from eosin.evaluation.auc_planning import find_standard_error


def test_the_standard_error_is_that_of_the_paper_by_hand():
    # Area 0.8, 50 and 50: Q1 = 0.8 / 1.2, Q2 = 1.28 / 1.8; (0.16 + 49 x (0.666667 -
    # 0.64) + 49 x (0.711111 - 0.64)) / 2500 = 0.0019805.
    assert find_standard_error(0.8, 50, 50) == pytest.approx(0.04450, abs=5e-5)


@pytest.mark.parametrize(("auc", "n_positive"), [(0.7, 30), (0.85, 60)])
def test_simulated_studies_spread_as_planned(auc, n_positive):
    # Two normal distributions, apart such that P(positive > negative) is the area.
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    shift = np.sqrt(2) * norm.ppf(auc)
    labels = np.r_[np.ones(n_positive), np.zeros(80)]
    found = [
        roc_auc_score(labels, rng.normal(size=len(labels)) + shift * labels)
        for _ in range(800)
    ]
    planned = find_standard_error(auc, n_positive, 80)
    assert np.mean(found) == pytest.approx(auc, abs=0.01)
    assert np.std(found) == pytest.approx(planned, rel=0.12)


def test_the_least_area_is_found_with_the_power_asked():
    # A study of that area: 80 % of the simulated ones exclude 0.5.
    from scipy.stats import norm

    plan = plan_auc(100, 0.4)
    rng = np.random.default_rng(1)
    shift = np.sqrt(2) * norm.ppf(plan.least_auc)
    labels = np.r_[np.ones(40), np.zeros(60)]
    null = find_standard_error(0.5, 40, 60)
    found = [
        roc_auc_score(labels, rng.normal(size=100) + shift * labels) for _ in range(600)
    ]
    share = np.mean((np.array(found) - 0.5) > 1.96 * null)
    assert share == pytest.approx(0.8, abs=0.06)


def test_more_patients_tell_more():
    small, large = plan_auc(60, 0.3), plan_auc(600, 0.3)
    assert (small.n_positive, small.n_negative) == (18, 42)
    assert large.high - large.low < small.high - small.low
    assert large.least_auc < small.least_auc
    assert large.least_better < small.least_better
    assert small.low < 0.8 < small.high


def test_with_too_few_patients_nothing_is_told():
    plan = plan_auc(5, 0.4, auc=0.97)
    assert plan.least_better is None
    assert plan.high == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prevalence": 0}, "prevalence must be above 0 and below 1, got 0"),
        ({"prevalence": 1}, "prevalence must be .* got 1$"),
        ({"prevalence": 40}, "got 40; is 0.4 meant"),
        ({"auc": 0.4}, "auc must be 0.5 to below 1"),
        ({"power": 1}, "power must be"),
        ({"confidence": 0.1}, "confidence must be"),
        ({"n_patients": 10, "prevalence": 0.1}, "give 1 and 9"),
    ],
)
def test_what_cannot_be_planned_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        plan_auc(**{"n_patients": 100, "prevalence": 0.5} | options)
