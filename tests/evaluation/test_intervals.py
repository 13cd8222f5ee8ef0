import time

import numpy as np
import pytest
from scipy import stats

from eosin.evaluation import METRIC_NAMES, bootstrap_metrics, compute_metrics
from eosin.evaluation.intervals import CURVE_GRID, find_interval, find_tails


def simulate(n_patients, n_tiles, rng, *, spread=1.0, effect=1.5):
    """Tiles of patients that differ by `spread`, tumour tiles `effect` higher."""
    share = rng.beta(1, 1, n_patients)[:, None]
    labels = (rng.random((n_patients, n_tiles)) < share).astype(np.int64)
    values = rng.normal(0, spread, n_patients)[:, None] + effect * labels
    values += rng.normal(size=values.shape)
    scores = 1 / (1 + np.exp(-values.ravel()))
    patients = np.repeat(np.arange(n_patients), n_tiles)
    return labels.ravel(), np.stack([1 - scores, scores], 1), patients


def covers(interval, truth):
    return interval.low <= truth <= interval.high


def test_intervals_over_patients_cover_and_those_over_tiles_do_not():
    # Two tiles of different patients differ by a normal variable of this spread.
    truth = stats.norm.cdf(1.5 / np.sqrt(2 * (1 + 1)))
    rng = np.random.default_rng(11)
    by_patient, by_tile = [], []
    for i in range(100):
        labels, probabilities, patients = simulate(40, 25, rng)
        for hits, units in ((by_patient, patients), (by_tile, np.arange(len(labels)))):
            found = bootstrap_metrics(
                labels, probabilities, units, threshold=0.5, n_bootstrap=200, seed=i
            )
            hits.append(covers(found.intervals["roc_auc"], truth))
    # Of 100 studies at a coverage of 0.95, 88 or fewer hit once in 200 tries.
    assert np.mean(by_patient) > 0.88
    assert np.mean(by_tile) < 0.75


def test_a_thousand_resamples_of_30000_tiles_take_seconds():
    labels, probabilities, patients = simulate(60, 500, np.random.default_rng(0))
    start = time.perf_counter()
    bootstrap_metrics(labels, probabilities, patients, threshold=0.5)
    assert time.perf_counter() - start < 10


def test_intervals_hold_the_value_and_repeat_with_the_seed():
    labels, probabilities, patients = simulate(15, 20, np.random.default_rng(5))
    values = compute_metrics(labels, probabilities, threshold=0.5)
    one, same, other = (
        bootstrap_metrics(labels, probabilities, patients, threshold=0.5, seed=seed)
        for seed in (0, 0, 1)
    )
    assert one.intervals == same.intervals
    assert one.intervals != other.intervals
    for name in METRIC_NAMES:
        assert covers(one.intervals[name], values[name].value), name
        assert one.intervals[name].n_defined == 1000
    assert one.n_patients == 15


def test_bands_lie_around_the_curve():
    labels, probabilities, patients = simulate(15, 20, np.random.default_rng(5))
    found = bootstrap_metrics(
        labels, probabilities, patients, threshold=0.5, n_bootstrap=200
    )
    (roc,), (precision,) = found.roc_bands, found.precision_bands
    assert roc.low.shape == roc.high.shape == CURVE_GRID.shape
    assert (roc.low <= roc.high).all()
    assert roc.high[-1] == roc.low[-1] == 1
    assert precision.low[-1] < precision.high[-1]


def test_more_classes_have_a_band_each():
    rng = np.random.default_rng(1)
    labels, probabilities = rng.integers(0, 3, 90), rng.dirichlet(np.ones(3), 90)
    found = bootstrap_metrics(
        labels, probabilities, np.arange(90) % 12, threshold=None, n_bootstrap=50
    )
    assert len(found.roc_bands) == len(found.precision_bands) == 3
    values = compute_metrics(labels, probabilities, threshold=None)
    for name in METRIC_NAMES:
        assert covers(found.intervals[name], values[name].value), name


def test_resamples_without_a_class_are_left_out_and_counted():
    # One patient in six holds all tumours: a resample misses it with (5/6)**6 = 0.335.
    labels = np.array([1, 1, 0, 0, 0, 0, 0])
    scores = np.array([0.9, 0.4, 0.5, 0.3, 0.2, 0.1, 0.3])
    patients = ["a", "a", "b", "c", "d", "e", "f"]
    found = bootstrap_metrics(
        labels, np.stack([1 - scores, scores], 1), patients, threshold=0.5
    )
    interval = found.intervals["roc_auc"]
    assert interval.n_defined == pytest.approx(665, abs=45)
    assert interval.low is not None
    assert found.intervals["accuracy"].n_defined == 1000


def test_a_metric_that_is_mostly_undefined_gets_no_interval():
    found = bootstrap_metrics(
        np.array([1, 1, 1]),
        np.full((3, 2), 0.5),
        ["a", "b", "c"],
        threshold=0.5,
        n_bootstrap=10,
    )
    interval = found.intervals["roc_auc"]
    assert (interval.low, interval.high, interval.n_defined) == (None, None, 0)
    assert interval.reason == "defined in only 0 of 10 resamples"
    assert found.roc_bands == (None,)
    assert found.intervals["sensitivity"].low == 1


@pytest.mark.parametrize(
    ("patients", "n_bootstrap", "reason"),
    [
        (["a", "a"], 100, "one patient cannot show"),
        (["a", "b"], 0, "no resamples were asked for"),
    ],
)
def test_no_interval_without_patients_or_resamples(patients, n_bootstrap, reason):
    found = bootstrap_metrics(
        np.array([0, 1]),
        np.array([[0.9, 0.1], [0.2, 0.8]]),
        patients,
        threshold=0.5,
        n_bootstrap=n_bootstrap,
    )
    assert found.intervals["roc_auc"].low is None
    assert reason in found.intervals["roc_auc"].reason
    assert found.precision_bands == (None,)


def test_percentiles_move_outwards_with_few_patients():
    # Student's 2.2622 at 9 degrees of freedom times sqrt(10 / 9) is 2.3846.
    assert find_tails(10)[0] == pytest.approx(stats.norm.cdf(-2.3846), abs=1e-5)
    assert find_tails(100_000) == pytest.approx((0.025, 0.975), abs=1e-5)
    values = np.arange(1001) / 1000
    assert find_interval(values, n_patients=10).low < 0.01
    assert find_interval(values, n_patients=10_000).low == pytest.approx(
        0.025, abs=1e-4
    )


def test_bad_arguments_are_refused():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    with pytest.raises(ValueError, match="each row needs its patient, got 1 for 2"):
        bootstrap_metrics(np.array([0, 1]), probabilities, ["a"], threshold=0.5)
    with pytest.raises(ValueError, match="n_bootstrap must be 0 or more"):
        bootstrap_metrics(
            np.array([0, 1]), probabilities, ["a", "b"], threshold=0.5, n_bootstrap=-1
        )
