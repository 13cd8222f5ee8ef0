import numpy as np
import pytest
from scipy.special import expit, softmax

from eosin.evaluation import (
    compute_probabilities,
    compute_reliability,
    expected_calibration_error,
    fit_temperature,
)


def test_a_planted_temperature_is_recovered_with_two_classes():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < expit(honest)).astype(int)
    fit = fit_temperature(2.5 * honest, labels)
    assert fit.temperature == pytest.approx(2.5, rel=0.04)
    assert fit.nll_after < fit.nll_before
    assert fit.caution is None
    assert fit.n == 20_000


def test_a_planted_temperature_is_recovered_with_three_classes():
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 1.5, (20_000, 3))
    draws = rng.random((20_000, 1))
    labels = (softmax(honest, axis=1).cumsum(axis=1) < draws).sum(axis=1)
    assert fit_temperature(0.5 * honest, labels).temperature == pytest.approx(
        0.5, rel=0.05
    )


def test_calibrating_lowers_the_calibration_error():
    rng = np.random.default_rng(2)
    honest = rng.normal(0, 1.5, 5000)
    labels = (rng.random(5000) < expit(honest)).astype(int)
    logits = 3 * honest
    temperature = fit_temperature(logits[:, None], labels).temperature
    before = expected_calibration_error(labels, compute_probabilities(logits))
    after = expected_calibration_error(
        labels, compute_probabilities(logits, temperature)
    )
    assert after < 0.03 < before


def test_labels_of_one_class_leave_the_temperature_at_one():
    fit = fit_temperature(np.array([1.0, 2.0]), np.array([1, 1]))
    assert fit.temperature == 1
    assert "one class only" in fit.caution


def test_perfect_separation_stops_at_the_end_of_the_range():
    fit = fit_temperature(np.array([-1.0, 1.0]), np.array([0, 1]))
    assert fit.temperature == pytest.approx(0.2, rel=0.01)
    assert "end of the range" in fit.caution


def test_probabilities_keep_their_digits_at_both_ends():
    probabilities = compute_probabilities(np.array([[-40.0], [0.0], [40.0]]))
    assert probabilities[1].tolist() == [0.5, 0.5]
    assert probabilities[0, 1] == pytest.approx(np.exp(-40))
    assert probabilities[2, 0] == pytest.approx(np.exp(-40))
    wide = compute_probabilities(np.array([[0.0, np.log(3.0), 0.0]]))
    assert wide[0] == pytest.approx([0.2, 0.6, 0.2])
    assert compute_probabilities(np.array([2.0]), 2.0)[0, 1] == pytest.approx(expit(1))


def test_calibration_error_by_hand():
    # Bin 0.2-0.3: mean 0.25, none true. Bin 0.9-1: mean 0.95, 2 of 4 true.
    labels = np.array([0, 0, 1, 1, 0, 0])
    scores = np.array([0.2, 0.3 - 1e-9, 0.9, 1.0, 0.95, 0.95])
    probabilities = np.stack([1 - scores, scores], axis=1)
    bins = compute_reliability(labels, probabilities)
    assert bins.n.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 4]
    assert bins.observed_share[9] == 0.5
    assert np.isnan(bins.mean_probability[0])
    error = expected_calibration_error(labels, probabilities)
    assert error == pytest.approx((2 * 0.25 + 4 * 0.45) / 6)


def test_more_classes_are_binned_by_the_called_class():
    probabilities = np.array([[0.05, 0.9, 0.05], [0.2, 0.2, 0.6]])
    bins = compute_reliability(np.array([1, 0]), probabilities)
    assert bins.n[[6, 9]].tolist() == [1, 1]
    assert bins.observed_share[[6, 9]].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([1.0, 2.0], [1], "one label is needed for each row"),
        (np.zeros((0, 1)), [], "at least one row"),
        ([1.0, np.inf], [0, 1], "finite"),
        ([1.0, 2.0], [0, 2], "labels must be 0 to 1, got 0 to 2"),
    ],
)
def test_logits_and_labels_that_do_not_fit_are_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(np.asarray(logits), np.asarray(labels, dtype=int))


def test_a_temperature_is_above_zero():
    with pytest.raises(ValueError, match="above 0, got 0"):
        compute_probabilities(np.array([1.0]), 0)
