import contextlib
import math

import numpy as np
import pytest

from eosin.core import ConfigError, ModelError, Progress
from eosin.settings import HeadFit, RangeTest, TuneFit
from eosin.training import PixelTiles, find_fine_tuning_curve, find_head_curve
from eosin.training.lr_range_test import run_range_test


def _valley(rate):
    """Falls by 1 around 1e-3, as a logistic of the logarithm; explodes above 0.1."""
    if rate > 0.1:
        return 50.0
    return 2 - 1 / (1 + math.exp(-2 * (math.log(rate) - math.log(1e-3))))


def test_rates_rise_by_one_factor():
    heard = []
    sweep = RangeTest(lowest=1e-4, highest=1e-2, n_steps=21)
    run_range_test(lambda rate: heard.append(rate) or 1.0, sweep)
    assert heard[0] == pytest.approx(1e-4)
    assert heard[10] == pytest.approx(1e-3)
    assert heard[-1] == pytest.approx(1e-2)
    assert len(heard) == 21


def test_the_steepest_place_of_a_known_curve_is_found():
    curve = run_range_test(_valley, RangeTest(n_steps=200))
    step = 1e6 ** (1 / 199)
    assert 1e-3 / step < curve.steepest < 1e-3 * step
    # The lowest is where it explodes, but for the smoothing.
    assert 0.02 < curve.minimum <= 0.1
    assert curve.suggested == curve.steepest
    assert list(curve.table.columns) == ["learning_rate", "loss", "smoothed"]
    np.testing.assert_allclose(
        curve.losses[:50], [_valley(r) for r in curve.learning_rates[:50]]
    )


def test_a_suggestion_is_at_most_a_tenth_of_the_minimum():
    def late(rate):
        return _valley(rate / 30) if rate < 0.1 else 100.0

    curve = run_range_test(late, RangeTest(n_steps=200, smoothing=0.0))
    assert curve.steepest > curve.minimum / 10
    assert curve.suggested == curve.minimum / 10


def test_noise_where_nothing_moves_is_not_the_steepest_place():
    def rough(rate):
        return _valley(rate) + rng.normal(0, 0.15)

    for seed in range(20):
        rng = np.random.default_rng(seed)
        curve = run_range_test(rough, RangeTest(n_steps=150))
        assert 1e-4 < curve.steepest < 1e-2


def test_noise_alone_suggests_nothing():
    n_suggested = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        step = lambda _: rng.normal(1, 0.15)  # noqa: B023, E731 - called at once
        n_suggested += run_range_test(step, RangeTest()).suggested is not None
    assert n_suggested <= 1


def test_gradient_descent_on_a_parabola_is_kept_below_where_it_diverges():
    # With a curvature of 10 it diverges above 0.2, and is quickest at 0.1.
    place = np.array([3.0])

    def step(rate):
        loss = 5 * float(place[0]) ** 2
        place[0] -= rate * 10 * place[0]
        return loss

    curve = run_range_test(step, RangeTest(highest=10.0))
    assert 1e-3 < curve.suggested < 0.2
    assert len(curve.losses) < 100


def test_a_loss_that_is_not_finite_ends_the_test_and_is_left_out():
    curve = run_range_test(
        lambda rate: math.nan if rate > 1e-3 else 1 - rate, RangeTest()
    )
    assert np.isfinite(curve.losses).all()
    assert curve.learning_rates[-1] <= 1e-3


def test_smoothing_does_not_shift_a_straight_line():
    sweep = RangeTest(n_steps=50, smoothing=0.2)
    curve = run_range_test(lambda rate: -math.log(rate), sweep)
    np.testing.assert_allclose(curve.smoothed, curve.losses, rtol=1e-12)
    rough = run_range_test(lambda rate: -math.log(rate) + hash(rate) % 2, sweep)
    np.testing.assert_allclose(rough.smoothed[25], rough.losses[20:31].mean())


def test_no_finite_loss_is_an_error_that_says_where():
    with pytest.raises(ModelError, match=r"rate of 1e-06, in step 1 .*lower --set low"):
        run_range_test(lambda rate: math.inf, RangeTest())


def test_a_heads_curve_leaves_the_head_as_it_was(make_classifier, features, tiles):
    classifier = make_classifier()
    before = classifier.get_weights()
    config = HeadFit(batch=32)
    curves = [find_head_curve(classifier, features, tiles, config) for _ in range(2)]
    for a, b in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not classifier.compiled
    # One seed, one curve; more steps than an epoch of 5 has.
    np.testing.assert_array_equal(curves[0].losses, curves[1].losses)
    assert len(curves[0].losses) > 50
    assert 1e-4 < curves[0].suggested < 1


def test_pixels_are_swept_too_and_statistics_come_back(make_classifier, pixels, tiles):
    classifier = make_classifier()
    before = classifier.get_weights()
    heard = []

    class Listening(Progress):
        def task(self, name, total):
            heard.append((name, total))
            return contextlib.nullcontext(self)

        def advance(self, n=1, note=""):
            heard.append(note)

    curve = find_fine_tuning_curve(
        classifier,
        PixelTiles(lambda rows: pixels[rows], len(pixels)),
        tiles,
        TuneFit(mixup=0.2, ema_decay=0.9, depth="all", batch_norm="trained"),
        sweep=RangeTest(lowest=1e-4, highest=1e-2, n_steps=12),
        progress=Listening(),
    )
    for a, b in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert heard[0] == ("Range test steps", 12)
    assert len(heard) == 13
    assert heard[1].startswith("learning rate 0.0001 loss 0.")
    assert len(curve.losses) == 12


def test_weights_come_back_after_an_error(make_classifier, features, tiles):
    classifier = make_classifier()
    before = classifier.get_weights()
    config = HeadFit(batch=32)
    with pytest.raises(ConfigError, match=r"\(239\) must be as many as.*\(240\)"):
        find_head_curve(classifier, features[:, 1:], tiles, config)
    features[:] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        find_head_curve(classifier, features, tiles, config)
    for a, b in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fine_tuning_is_swept_with_what_it_freezes_and_slows(
    make_classifier, pixels, tiles
):
    source = PixelTiles(lambda rows: pixels[rows], len(pixels))
    sweep = RangeTest(lowest=1e-3, highest=1e-2, n_steps=10)

    def sweep_losses(**changes):
        classifier = make_classifier()
        before = classifier.get_weights()
        config = TuneFit(**changes)
        curve = find_fine_tuning_curve(classifier, source, tiles, config, sweep=sweep)
        for a, b in zip(before, classifier.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert all(layer.trainable for layer in classifier.layers)
        return curve.losses

    last, everything = sweep_losses(depth="last"), sweep_losses(depth="all")
    slow = sweep_losses(depth="all", layer_decay=0.1)
    # The first loss is from before any step.
    assert last[0] == everything[0] == slow[0]
    assert not np.allclose(last, everything)
    assert not np.allclose(slow, everything)
