import numpy as np
import pytest

from eosin.evaluation import Band, find_precision_curve, find_roc_curve

POSITIVE = np.array([True, False, True, False])
SCORES = np.array([0.9, 0.7, 0.5, 0.3])


def test_a_roc_curve_steps_through_the_rows():
    band = Band(np.zeros(101), np.ones(101))
    curve = find_roc_curve(POSITIVE, SCORES, class_name="tumour", band=band)
    assert (curve.class_name, curve.band, curve.chance) == ("tumour", band, None)
    points = set(zip(curve.x, curve.y, strict=True))
    assert {(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)} <= points
    # Three of four pairs are in order.
    assert curve.area == 0.75
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(curve.area)


def test_a_precision_curve_knows_the_share_of_positives():
    curve = find_precision_curve(POSITIVE, SCORES, class_name="tumour")
    assert curve.chance == 0.5
    assert (np.diff(curve.x) >= 0).all()
    # Precision 1 for the first half of the tumours, 2/3 for the second.
    assert curve.area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_long_curves_are_thinned_and_keep_their_ends():
    rng = np.random.default_rng(0)
    is_positive, scores = rng.random(20_000) < 0.4, rng.random(20_000)
    for find in (find_roc_curve, find_precision_curve):
        curve = find(is_positive, scores, class_name="tumour")
        assert len(curve.x) <= 500
        assert curve.x[0] == 0
        assert curve.x[-1] == 1


def test_curves_of_one_class_do_not_exist():
    assert find_roc_curve(np.ones(4, bool), SCORES, class_name="x") is None
    assert find_roc_curve(np.zeros(4, bool), SCORES, class_name="x") is None
    assert find_precision_curve(np.zeros(4, bool), SCORES, class_name="x") is None
