import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.evaluation import METRIC_NAMES, compute_metrics
from eosin.evaluation.resampling import (
    iter_resamples,
    resample_ranking,
    resample_study,
)

GRID = np.linspace(0, 1, 5)


def draw(n_patients, n_resamples, seed=1):
    return np.concatenate(list(iter_resamples(n_patients, n_resamples, seed)))


@st.composite
def studies(choose):
    """A few patients' rows, with tied scores, and one resample of the patients."""
    n_classes = choose(st.sampled_from([2, 2, 3]))
    n_patients = choose(st.integers(2, 4))
    n_rows = choose(st.integers(n_patients, 16))
    rng = np.random.default_rng(choose(st.integers(0, 2**16)))
    labels = rng.integers(0, n_classes, n_rows)
    parts = rng.integers(1, 6, (n_rows, n_classes)).astype(float)
    probabilities = parts / parts.sum(axis=1, keepdims=True)
    patients = np.concatenate(
        [np.arange(n_patients), rng.integers(0, n_patients, n_rows - n_patients)]
    )
    counts = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients))
    return labels, probabilities, patients, counts.astype(float)


@settings(max_examples=150, deadline=None)
@given(studies())
def test_counts_do_what_repeating_a_patients_rows_does(study):
    labels, probabilities, patients, counts = study
    n_classes = probabilities.shape[1]
    threshold = 0.5 if n_classes == 2 else None
    rows = np.repeat(np.arange(len(labels)), counts[patients].astype(int))
    expected = compute_metrics(labels[rows], probabilities[rows], threshold=threshold)
    found, rankings = resample_study(
        labels,
        probabilities,
        patients,
        [counts[None]],
        threshold=threshold,
        grid=GRID,
    )
    assert len(rankings) == (1 if n_classes == 2 else 3)
    for name in METRIC_NAMES:
        value = expected[name].value
        if value is None:
            assert np.isnan(found[name][0]), name
        else:
            assert found[name][0] == pytest.approx(value, abs=1e-9), name


def test_curves_are_taken_at_the_grid():
    # In falling order: tumour, normal, tumour, normal.
    scores = np.array([0.9, 0.7, 0.5, 0.3])
    ranking = resample_ranking(
        np.array([True, False, True, False]),
        scores,
        np.arange(4),
        np.ones((1, 4)),
        np.array([0.0, 0.5, 0.75, 1.0]),
    )
    assert ranking.sensitivity[0].tolist() == [0.5, 1.0, 1.0, 1.0]
    # Recall 0.5 is reached with the first row, more only with the third.
    assert ranking.precision[0].tolist() == [1.0, 1.0, 2 / 3, 2 / 3]


def test_blocks_of_resamples_give_what_one_block_gives(monkeypatch):
    rng = np.random.default_rng(0)
    labels, patients = rng.integers(0, 2, 50), rng.integers(0, 5, 50)
    arguments = (labels == 1, rng.random(50), patients, draw(5, 20), GRID)
    whole = resample_ranking(*arguments)
    monkeypatch.setattr("eosin.evaluation.resampling._BLOCK_VALUES", 150)
    parts = resample_ranking(*arguments)
    np.testing.assert_array_equal(whole.roc_auc, parts.roc_auc)
    np.testing.assert_array_equal(whole.precision, parts.precision)


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
    whole = draw(7, 20)
    monkeypatch.setattr("eosin.evaluation.resampling._BLOCK_COUNTS", 21)
    parts = list(iter_resamples(7, 20, 1))
    assert [len(part) for part in parts] == [3] * 6 + [2]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_parts_of_resamples_give_what_the_whole_gives():
    rng = np.random.default_rng(0)
    labels, patients = rng.integers(0, 2, 50), rng.integers(0, 5, 50)
    probabilities = rng.dirichlet([1, 1], 50)
    counts = draw(5, 20)
    whole, parts = (
        resample_study(
            labels, probabilities, patients, resamples, threshold=0.5, grid=GRID
        )
        for resamples in ([counts], [counts[:7], counts[7:]])
    )
    for name in METRIC_NAMES:
        np.testing.assert_array_equal(whole[0][name], parts[0][name])
    np.testing.assert_array_equal(whole[1][0].precision, parts[1][0].precision)
