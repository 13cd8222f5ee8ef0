import itertools

import numpy as np
import pytest
from sklearn import metrics as sk

from eosin.evaluation import CURVE_GRID, compute_roc_auc
from eosin.evaluation.ranking import Band, find_curves, rank_rows

POSITIVE = np.array([True, False, True, False])
SCORES = np.array([0.9, 0.7, 0.5, 0.3])


def test_auc_is_the_share_of_pairs_in_the_right_order():
    labels = np.array([0, 0, 1, 1, 0, 1])
    scores = np.array([0.1, 0.4, 0.35, 0.8, 0.35, 0.9])
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p, n in itertools.product(scores[labels == 1], scores[labels == 0])
    ]
    # 0.35 beats 0.1, ties with 0.35, loses to 0.4; 0.8 and 0.9 beat all three.
    assert sum(pairs) == 7.5
    assert compute_roc_auc(labels, np.stack([-scores, scores], 1)) == 7.5 / 9


def test_the_auc_of_more_classes_is_the_mean_of_each_against_the_rest():
    rng = np.random.default_rng(3)
    labels, values = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    expected = sk.roc_auc_score(labels, values, multi_class="ovr")
    assert compute_roc_auc(labels, values) == pytest.approx(expected, abs=1e-12)


def test_curves_of_resamples_are_taken_at_the_grid():
    ranking = rank_rows(POSITIVE, SCORES, np.arange(4), np.ones((1, 4)))
    at = np.searchsorted(CURVE_GRID, [0.0, 0.5, 0.75, 1.0])
    assert ranking.sensitivity[0, at].tolist() == [0.5, 1.0, 1.0, 1.0]
    # Recall 0.5 is reached with the first row, more only with the third.
    assert ranking.precision[0, at].tolist() == [1.0, 1.0, 2 / 3, 2 / 3]


def test_blocks_of_resamples_give_what_one_block_gives(monkeypatch):
    rng = np.random.default_rng(0)
    counts = rng.multinomial(5, [0.2] * 5, size=20).astype(float)
    is_positive, scores = rng.random(50) < 0.5, rng.random(50)
    arguments = (is_positive, scores, rng.integers(0, 5, 50), counts)
    whole = rank_rows(*arguments)
    monkeypatch.setattr("eosin.evaluation.ranking._BLOCK_VALUES", 150)
    parts = rank_rows(*arguments)
    np.testing.assert_array_equal(whole.roc_auc, parts.roc_auc)
    np.testing.assert_array_equal(whole.precision, parts.precision)


@pytest.mark.parametrize("n_steps", [4, 1000])
def test_curves_are_those_of_scikit_learn(n_steps):
    rng = np.random.default_rng(n_steps)
    is_positive = rng.random(300) < 0.4
    scores = rng.integers(0, n_steps, 300) / n_steps
    roc, precision = find_curves(is_positive, scores, "tumour")
    x, y, _ = sk.roc_curve(is_positive, scores, drop_intermediate=False)
    # Fewer points, none of which are missed: the lines are the same.
    points = set(zip(x.round(9), y.round(9), strict=True))
    assert set(zip(roc.x.round(9), roc.y.round(9), strict=True)) <= points
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(np.trapezoid(y, x), abs=1e-12)
    assert roc.area == pytest.approx(sk.roc_auc_score(is_positive, scores), abs=1e-12)
    y, x, _ = sk.precision_recall_curve(is_positive, scores)
    np.testing.assert_allclose(precision.x, x[::-1], atol=1e-12)
    np.testing.assert_allclose(precision.y, y[::-1], atol=1e-12)
    assert precision.area == pytest.approx(
        sk.average_precision_score(is_positive, scores), abs=1e-12
    )
    assert precision.chance == is_positive.mean()


def test_a_roc_curve_steps_through_the_rows():
    band = Band(np.zeros(101), np.ones(101))
    curve, _ = find_curves(POSITIVE, SCORES, "tumour", (band, None))
    assert (curve.class_name, curve.band, curve.chance) == ("tumour", band, None)
    points = list(zip(curve.x, curve.y, strict=True))
    assert points == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    # Three of four pairs are in order.
    assert curve.area == 0.75


def test_long_curves_are_thinned_and_keep_their_ends():
    rng = np.random.default_rng(0)
    is_positive, scores = rng.random(20_000) < 0.4, rng.random(20_000)
    for curve in find_curves(is_positive, scores, "tumour"):
        assert len(curve.x) <= 500
        assert curve.x[0] == 0
        assert curve.x[-1] == 1


def test_curves_of_one_class_do_not_exist():
    roc, precision = find_curves(np.ones(4, bool), SCORES, "x")
    assert roc is None
    assert precision.area == 1
    assert find_curves(np.zeros(4, bool), SCORES, "x") == (None, None)
