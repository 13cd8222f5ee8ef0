import numpy as np
import pytest
from scipy.special import expit, softmax

from eosin.evaluation import (
    compute_probabilities,
    fit_temperature,
)
from eosin.evaluation.calibration import compute_reliability


def test_a_planted_temperature_is_recovered_with_two_classes():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < expit(honest)).astype(int)
    fit = fit_temperature(2.5 * honest, labels)
    assert fit.temperature == pytest.approx(2.5, rel=0.04)
    assert fit.caution is None


def test_a_planted_temperature_is_recovered_with_three_classes():
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 1.5, (20_000, 3))
    draws = rng.random((20_000, 1))
    labels = (softmax(honest, axis=1).cumsum(axis=1) < draws).sum(axis=1)
    assert fit_temperature(0.5 * honest, labels).temperature == pytest.approx(
        0.5, rel=0.05
    )


def test_labels_of_one_class_leave_the_temperature_at_one():
    fit = fit_temperature(np.array([1.0, 2.0]), np.array([1, 1]))
    assert fit.temperature == 1
    assert "one class only" in fit.caution


@pytest.mark.parametrize("n", [2, 8])
def test_a_few_rows_that_are_all_right_leave_it_near_one(n):
    labels = np.arange(n) % 2
    fit = fit_temperature(labels * 4.0 - 2, labels)
    assert 0.7 < fit.temperature < 1
    assert fit.caution is None


def test_the_prior_weighs_as_much_as_its_spread_says():
    # By hand: where the loss of two rows, log(1 + exp(-a / T)) each, and the square of
    # log T over 2 x 0.5 x 0.5 are least, their slopes in log T cancel.
    found = fit_temperature(np.array([-2.0, 2.0]), np.array([0, 1])).temperature
    slope_of_rows = 2 * expit(-2 / found) * 2 / found
    assert slope_of_rows == pytest.approx(-np.log(found) / 0.25, rel=1e-3)


def test_many_rows_outweigh_the_prior():
    # 9 of 10 are called right, by logits of which ten times as much would fit.
    logits, labels = np.full(10, 0.22), np.ones(10, int)
    labels[0] = 0
    assert fit_temperature(logits, labels).temperature > 0.4
    many = fit_temperature(np.tile(logits, 200), np.tile(labels, 200))
    assert many.temperature == pytest.approx(0.2, rel=0.01)
    assert "end of the range" in many.caution


def test_labels_that_logits_deny_flatten_as_far_as_it_goes():
    logits, labels = np.array([2.0, -2.0] * 500), np.array([0, 1] * 500)
    fit = fit_temperature(logits, labels)
    assert fit.temperature == pytest.approx(20, rel=0.01)
    assert "end of the range" in fit.caution
    assert fit_temperature(logits[:4], labels[:4]).temperature < 10


def test_of_few_patients_it_does_as_well_as_without_and_better_than_unheld():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        # Calibrated logits: classes two deviations apart, 6 that validate.
        labels = np.arange(206) % 2
        logits = 2 * (rng.normal(size=206) + 2 * labels - 1)
        fit = fit_temperature(logits[:6], labels[:6])
        new, truth = logits[6:], labels[6:]
        rows = np.arange(200)
        losses = [
            -np.log(compute_probabilities(new, t)[rows, truth]).mean()
            for t in (fit.temperature, 1.0, 0.2)
        ]
        found.append(losses)
    fitted, left, bound = np.mean(found, axis=0)
    # The classes' own overlap costs 0.36.
    assert fitted < left + 0.02 < 0.4
    assert bound > 0.7


def test_probabilities_keep_their_digits_at_both_ends():
    probabilities = compute_probabilities(np.array([[-40.0], [0.0], [40.0]]))
    assert probabilities[1].tolist() == [0.5, 0.5]
    assert probabilities[0, 1] == pytest.approx(np.exp(-40))
    assert probabilities[2, 0] == pytest.approx(np.exp(-40))
    wide = compute_probabilities(np.array([[0.0, np.log(3.0), 0.0]]))
    assert wide[0] == pytest.approx([0.2, 0.6, 0.2])
    assert compute_probabilities(np.array([2.0]), 2.0)[0, 1] == pytest.approx(expit(1))


def test_rows_are_binned_by_hand():
    # Bin 0.2-0.3: mean 0.25, none true. Bin 0.9-1: mean 0.95, 2 of 4 true.
    is_true = np.array([False, False, True, True, False, False])
    shown = np.array([0.2, 0.3 - 1e-9, 0.9, 1.0, 0.95, 0.95])
    bins = compute_reliability(shown, is_true)
    assert bins.n.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 4]
    assert bins.observed_share[9] == 0.5
    assert bins.mean_probability[2] == pytest.approx(0.25)
    assert np.isnan(bins.mean_probability[0])


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 1)), [], "got 0 rows"),
        ([1.0, np.inf], [0, 1], "2 rows and 1 of them finite"),
    ],
)
def test_logits_that_are_none_or_not_finite_are_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(np.asarray(logits), np.asarray(labels, dtype=int))


def test_a_temperature_is_above_zero():
    with pytest.raises(ValueError, match="above 0, got 0"):
        compute_probabilities(np.array([1.0]), 0)
