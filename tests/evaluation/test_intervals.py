import numpy as np
import pytest
from scipy import stats

from eosin.evaluation import METRICS, Classes
from eosin.evaluation.intervals import (
    bootstrap,
    find_interval,
    find_tails,
    iter_resamples,
)

NAMES = ("normal", "tumour", "necrosis")


def resample(labels, values, patients, threshold=0.5, **settings):
    sample = Classes(NAMES[: values.shape[1]]).sample(labels, values, threshold)
    return bootstrap(sample, METRICS, patients, **settings)


def draw(n_groups, n_resamples, seed=1):
    return np.concatenate(list(iter_resamples(n_groups, n_resamples, seed)))


def simulate(n_patients, n_tiles, rng, *, spread=1.0, effect=1.5):
    """Tiles of patients that differ by `spread`, tumour tiles `effect` higher."""
    share = rng.beta(1, 1, n_patients)[:, None]
    labels = (rng.random((n_patients, n_tiles)) < share).astype(np.int64)
    values = rng.normal(0, spread, n_patients)[:, None] + effect * labels
    values += rng.normal(size=values.shape)
    scores = 1 / (1 + np.exp(-values.ravel()))
    patients = np.repeat(np.arange(n_patients), n_tiles)
    return labels.ravel(), np.stack([1 - scores, scores], 1), patients


def covers(metric, truth):
    return metric.low <= truth <= metric.high


def test_intervals_over_patients_cover_and_those_over_tiles_do_not():
    # Two tiles of different patients differ by a normal variable of this spread.
    truth = stats.norm.cdf(1.5 / np.sqrt(2 * (1 + 1)))
    rng = np.random.default_rng(11)
    by_patient, by_tile = [], []
    for i in range(100):
        labels, probabilities, patients = simulate(40, 25, rng)
        for hits, units in ((by_patient, patients), (by_tile, np.arange(len(labels)))):
            found = resample(labels, probabilities, units, n_bootstrap=200, seed=i)
            hits.append(covers(found.metrics["roc_auc"], truth))
    # Of 100 studies at a coverage of 0.95, 88 or fewer hit once in 200 tries.
    assert np.mean(by_patient) > 0.88
    assert np.mean(by_tile) < 0.75


def test_intervals_hold_the_value_and_repeat_with_the_seed():
    labels, probabilities, patients = simulate(15, 20, np.random.default_rng(5))
    one, same, other = (
        resample(labels, probabilities, patients, seed=seed).metrics
        for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other
    for name, metric in one.items():
        assert covers(metric, metric.value), name
        assert (metric.n, metric.n_defined) == (300, 1000)


def test_more_classes_have_a_band_each():
    rng = np.random.default_rng(1)
    labels, probabilities = rng.integers(0, 3, 90), rng.dirichlet(np.ones(3), 90)
    found = resample(labels, probabilities, np.arange(90) % 12, None, n_bootstrap=50)
    assert len(found.roc_bands) == len(found.precision_bands) == 3
    for name, metric in found.metrics.items():
        assert covers(metric, metric.value), name


def test_resamples_without_a_class_are_left_out_and_counted():
    # One patient in six holds all tumours: a resample misses it with (5/6)**6 = 0.335.
    labels = np.array([1, 1, 0, 0, 0, 0, 0])
    scores = np.array([0.9, 0.4, 0.5, 0.3, 0.2, 0.1, 0.3])
    patients = ["a", "a", "b", "c", "d", "e", "f"]
    found = resample(labels, np.stack([1 - scores, scores], 1), patients).metrics
    assert found["roc_auc"].n_defined == pytest.approx(665, abs=45)
    assert found["roc_auc"].low is not None
    assert found["accuracy"].n_defined == 1000


def test_a_metric_that_is_mostly_undefined_gets_no_interval():
    labels = np.array([0, 1, 1, 1, 1, 1, 1])
    scores = np.linspace(0.1, 0.9, 7)
    # All tumours but one are of one patient, so that few resamples hold both classes.
    patients = ["a", "b", "b", "b", "b", "b", "b"]
    found = resample(
        labels, np.stack([1 - scores, scores], 1), patients, n_bootstrap=30, seed=2
    )
    auc = found.metrics["roc_auc"]
    assert (auc.value, auc.low, auc.high) == (1, None, None)
    assert auc.n_defined < 15
    assert auc.reason == f"defined in only {auc.n_defined} of 30 resamples"
    assert found.roc_bands == (None,)
    assert found.metrics["accuracy"].low is not None


def test_a_metric_without_a_value_gets_neither_interval_nor_band():
    found = resample(
        np.array([1, 1, 1]), np.full((3, 2), 0.5), ["a", "b", "c"], n_bootstrap=10
    )
    auc = found.metrics["roc_auc"]
    assert (auc.value, auc.low, auc.high, auc.n_defined) == (None, None, None, 0)
    assert auc.reason == "no row has the label normal"
    assert found.metrics["sensitivity"].low == 1


@pytest.mark.parametrize(
    ("patients", "n_bootstrap", "reason"),
    [
        (["a", "a"], 100, "one patient cannot show"),
        (["a", "b"], 0, "no resamples were asked for"),
    ],
)
def test_no_interval_without_patients_or_resamples(patients, n_bootstrap, reason):
    found = resample(
        np.array([0, 1]),
        np.array([[0.9, 0.1], [0.2, 0.8]]),
        patients,
        n_bootstrap=n_bootstrap,
    )
    assert found.metrics["roc_auc"].value == 1
    assert found.metrics["roc_auc"].low is None
    assert reason in found.metrics["roc_auc"].reason
    assert found.precision_bands == (None,)


def test_percentiles_move_outwards_with_few_patients():
    # Student's 2.2622 at 9 degrees of freedom times sqrt(10 / 9) is 2.3846.
    assert find_tails(10)[0] == pytest.approx(stats.norm.cdf(-2.3846), abs=1e-5)
    assert find_tails(100_000) == pytest.approx((0.025, 0.975), abs=1e-5)
    values = np.arange(1001) / 1000
    assert find_interval(values, 10)[0] < 0.01
    assert find_interval(values, 10_000)[0] == pytest.approx(0.025, abs=1e-4)


def test_every_resample_draws_as_many_patients_as_there_are():
    counts = draw(7, 5000)
    assert counts.shape == (5000, 7)
    assert (counts.sum(axis=1) == 7).all()
    # Each patient is drawn once on average, with a variance of 7 * 1/7 * 6/7.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(counts.var(axis=0), 6 / 7, atol=0.08)
    np.testing.assert_array_equal(counts, draw(7, 5000))
    assert (counts != draw(7, 5000, seed=2)).any()


def test_many_patients_are_drawn_in_small_parts(monkeypatch):
    labels, probabilities, patients = simulate(7, 20, np.random.default_rng(5))
    whole = draw(7, 20)
    one = resample(labels, probabilities, patients, n_bootstrap=20)
    monkeypatch.setattr("eosin.evaluation.intervals._BLOCK_COUNTS", 21)
    parts = list(iter_resamples(7, 20, 1))
    assert [len(part) for part in parts] == [3] * 6 + [2]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    again = resample(labels, probabilities, patients, n_bootstrap=20)
    assert again.metrics == one.metrics


def test_bad_arguments_are_refused():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    with pytest.raises(ValueError, match="n_bootstrap must be 0 or more"):
        resample(np.array([0, 1]), probabilities, ["a", "b"], n_bootstrap=-1)
