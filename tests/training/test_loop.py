import contextlib
from dataclasses import replace

import numpy as np
import pytest

from eosin.core import ConfigError, ModelError, Progress, RunError, Task
from eosin.models import split_model
from eosin.training import CachedViews, FineTuneConfig, HeadConfig, PixelTiles
from eosin.training.loop import Listeners, run_epochs

CONFIG = HeadConfig(epochs=4, batch=32, learning_rate=0.01, patience=None, seed=5)


def _run(classifier, features, tiles, config=CONFIG, **listeners):
    _, head = split_model(classifier, "head")
    result = run_epochs(
        head,
        CachedViews(features),
        tiles,
        config,
        stage="head",
        listeners=Listeners(**listeners),
    )
    return result, classifier.get_layer("logits").get_weights()


def _forget_seconds(result):
    return [replace(row, seconds=0.0) for row in result.epochs]


def _assert_same(first, second):
    assert _forget_seconds(first[0]) == _forget_seconds(second[0])
    assert first[0].best.epoch == second[0].best.epoch
    for a, b in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_seed_gives_one_result(make_classifier, features, tiles):
    first = _run(make_classifier(), features, tiles)
    again = _run(make_classifier(), features, tiles)
    other = _run(make_classifier(), features, tiles, replace(CONFIG, seed=6))
    _assert_same(first, again)
    assert not np.array_equal(first[1][0], other[1][0])


@pytest.mark.parametrize("epoch", [1, 3, 4])
@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": "adam"},
        {"optimiser": "adamw"},
        {"mixup": 0.4, "ema_decay": 0.95},
    ],
    ids=["adam", "adamw", "mixup-ema"],
)
def test_a_resumed_training_equals_an_unbroken_one(
    make_classifier,
    features,
    tiles,
    tmp_path,
    stop_after,
    interrupted,
    epoch,
    settings,
):
    config = replace(CONFIG, **settings)
    unbroken = _run(make_classifier(), features, tiles, config)
    path = tmp_path / "head.npz"
    with pytest.raises(interrupted):
        _run(
            make_classifier(),
            features,
            tiles,
            config,
            checkpoint=path,
            on_epoch=stop_after(epoch),
        )
    # Another start: all that counts must come from the checkpoint.
    resumed = _run(make_classifier(seed=8), features, tiles, config, checkpoint=path)
    _assert_same(unbroken, resumed)


def test_a_training_killed_within_an_epoch_resumes_before_it(
    make_classifier, features, tiles, tmp_path, interrupted
):
    class Killer(Task):
        steps = 0

        def advance(self, n=1, note=""):
            self.steps += n
            if self.steps == 7:
                raise interrupted

    class Killing(Progress):
        def task(self, name, total):
            import contextlib

            return contextlib.nullcontext(Killer())

    path = tmp_path / "head.npz"
    with pytest.raises(interrupted):
        _run(make_classifier(), features, tiles, checkpoint=path, progress=Killing())
    resumed = _run(make_classifier(seed=8), features, tiles, checkpoint=path)
    _assert_same(_run(make_classifier(), features, tiles), resumed)


def test_a_finished_training_is_not_run_again(
    make_classifier, features, tiles, tmp_path
):
    path = tmp_path / "head.npz"
    first = _run(make_classifier(), features, tiles, checkpoint=path)
    heard = []
    again = _run(
        make_classifier(seed=8),
        features,
        tiles,
        checkpoint=path,
        on_epoch=heard.append,
    )
    _assert_same(first, again)
    assert heard == []


def test_a_checkpoint_of_other_settings_is_refused(
    make_classifier, features, tiles, tmp_path
):
    path = tmp_path / "head.npz"
    _run(make_classifier(), features, tiles, checkpoint=path)
    with pytest.raises(RunError, match="other settings"):
        _run(
            make_classifier(),
            features,
            tiles,
            replace(CONFIG, epochs=9),
            checkpoint=path,
        )


def test_the_best_epochs_weights_are_kept(make_classifier, features, tiles):
    # So high a learning rate makes late epochs worse than early ones.
    config = replace(CONFIG, learning_rate=3.0, schedule="constant", epochs=6)
    result, weights = _run(make_classifier(), features, tiles, config)
    best = result.best
    assert best.val_roc_auc == max(row.val_roc_auc for row in result.epochs)
    kept, _ = _run(
        make_classifier(),
        features,
        tiles,
        replace(config, epochs=best.epoch),
    )
    assert kept.epochs[-1].val_roc_auc == best.val_roc_auc
    shown = features[0, tiles.val_rows] @ weights[0] + weights[1]
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(tiles.labels[tiles.val_rows], shown) == pytest.approx(
        best.val_roc_auc
    )


class _Steps(Progress):
    """Counts the steps of a training."""

    def __init__(self):
        self.n_steps = self.n_foreseen = 0

    def task(self, name, total):
        self.n_foreseen = total
        return contextlib.nullcontext(self)

    def advance(self, n=1, note=""):
        self.n_steps += n


@pytest.mark.parametrize(
    ("min_steps", "passes"), [(0, 1), (1, 1), (20, 1), (21, 2), (41, 3)]
)
def test_a_small_set_is_passed_over_until_the_steps_are_enough(
    make_classifier, features, tiles, min_steps, passes
):
    """Five steps of 32 of the training tiles, four epochs: 20 steps in one pass."""
    counter = _Steps()
    config = replace(CONFIG, balance="none", min_steps=min_steps)
    assert round(len(tiles.train_rows) / config.batch) == 5
    result, _ = _run(make_classifier(), features, tiles, config, progress=counter)
    assert counter.n_steps == counter.n_foreseen == 20 * passes
    assert len(result.epochs) == 4


def test_a_large_set_is_trained_as_without_a_least_number(
    make_classifier, features, tiles
):
    first = _run(make_classifier(), features, tiles)
    second = _run(make_classifier(), features, tiles, replace(CONFIG, min_steps=16))
    _assert_same(first, second)


def test_passes_of_one_epoch_are_in_different_orders(make_classifier, features, tiles):
    seen = []

    class Listening(CachedViews):
        def read_training(self, rows, rng):
            seen.append(np.sort(rows))
            return super().read_training(rows, rng)

    _, head = split_model(make_classifier(), "head")
    config = replace(CONFIG, epochs=1, min_steps=10, balance="none")
    run_epochs(
        head, Listening(features), tiles, config, stage="head", listeners=Listeners()
    )
    half = len(seen) // 2
    for part in (seen[:half], seen[half:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(part)), tiles.train_rows)
    assert not np.array_equal(seen[0], seen[half])


def test_patience_ends_a_training(make_classifier, features, shuffled):
    config = replace(CONFIG, epochs=30, patience=2, monitor="val_loss")
    result, _ = _run(make_classifier(), features, shuffled, config)
    assert result.stopped_early
    assert len(result.epochs) == result.best.epoch + 2


def test_a_class_absent_from_val_falls_to_the_loss_and_says_so(
    make_classifier, features, tiles
):
    labels = tiles.labels.copy()
    labels[tiles.val_rows] = 0
    changed = replace(tiles, labels=labels)
    result, _ = _run(make_classifier(), features, changed)
    assert result.monitor == "val_loss"
    assert "no tile of 'tumour'" in result.warnings[0]
    assert result.best.val_loss == min(row.val_loss for row in result.epochs)
    by_loss, _ = _run(
        make_classifier(), features, changed, replace(CONFIG, monitor="val_loss")
    )
    assert by_loss.warnings == ()


def test_features_that_are_not_finite_stop_with_the_reason(
    make_classifier, features, tiles
):
    features[:, tiles.train_rows[3]] = np.nan
    with pytest.raises(ModelError, match=r"epoch 1, step \d of 5.*features in this"):
        _run(make_classifier(), features, tiles)


def test_a_diverging_loss_stops_with_the_learning_rate(
    make_classifier, features, tiles
):
    config = replace(CONFIG, learning_rate=1e38, schedule="constant")
    with pytest.raises(ModelError, match=r"lower --set learning_rate \(now 1e\+38\)"):
        _run(make_classifier(), features, tiles, config)


def test_as_many_tiles_as_labels_are_needed(make_classifier, features, tiles):
    with pytest.raises(ConfigError, match=r"\(239\) must be as many as.*\(240\)"):
        _run(make_classifier(), features[:, 1:], tiles)


def test_progress_hears_of_every_step(make_classifier, features, tiles):
    heard = []

    class Ear(Task):
        def advance(self, n=1, note=""):
            heard.append((n, note))

    class Listening(Progress):
        def task(self, name, total):
            import contextlib

            heard.append((name, total))
            return contextlib.nullcontext(Ear())

    _run(make_classifier(), features, tiles, progress=Listening())
    assert heard[0] == ("head steps", 20)
    assert sum(n for n, _ in heard[1:]) == 20
    assert heard[-1][1].startswith("epoch 4 loss 0.")


def test_the_callers_model_is_not_compiled(make_classifier, features, tiles):
    classifier = make_classifier()
    _, head = split_model(classifier, "head")
    run_epochs(
        head,
        CachedViews(features),
        tiles,
        replace(CONFIG, epochs=1),
        stage="head",
        listeners=Listeners(),
    )
    assert not head.compiled
    assert not classifier.compiled


def test_mixup_trains_otherwise_and_still_learns(make_classifier, features, tiles):
    plain = _run(make_classifier(), features, tiles)
    mixed = _run(make_classifier(), features, tiles, replace(CONFIG, mixup=0.4))
    again = _run(make_classifier(), features, tiles, replace(CONFIG, mixup=0.4))
    _assert_same(mixed, again)
    assert not np.array_equal(plain[1][0], mixed[1][0])
    # Blends keep part of the other class: their loss cannot reach that of wholes.
    assert mixed[0].epochs[-1].loss > plain[0].epochs[-1].loss
    long = replace(CONFIG, mixup=0.4, epochs=20)
    assert _run(make_classifier(), features, tiles, long)[0].best.val_roc_auc > 0.85


def test_mixup_blends_pixels(make_classifier, pixels, tiles):
    seen = []
    config = FineTuneConfig(epochs=1, batch=50, mixup=0.3, batch_norm="trained")
    classifier = make_classifier()
    source = PixelTiles(lambda rows: seen.append(rows) or pixels[rows], len(pixels))
    result = run_epochs(
        classifier, source, tiles, config, stage="fine_tune", listeners=Listeners()
    )
    assert np.isfinite(result.best.loss)
    assert len(seen) == 3 + 1


def test_an_average_validates_and_is_what_is_kept(make_classifier, features, tiles):
    config = replace(CONFIG, learning_rate=0.3, schedule="constant", ema_decay=0.9)
    result, weights = _run(make_classifier(), features, tiles, config)
    plain, last = _run(make_classifier(), features, tiles, replace(config, ema_decay=0))
    # The steps are the same; what is shown of them is not.
    assert [e.loss for e in result.epochs] == [e.loss for e in plain.epochs]
    assert [e.val_loss for e in result.epochs] != [e.val_loss for e in plain.epochs]
    assert not np.array_equal(weights[0], last[0])
    shown = features[0, tiles.val_rows] @ weights[0] + weights[1]
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(tiles.labels[tiles.val_rows], shown) == pytest.approx(
        result.best.val_roc_auc
    )


def test_an_average_is_that_of_every_step(make_classifier, features, tiles):
    config = replace(CONFIG, epochs=1, schedule="constant", batch=50)
    classifier = make_classifier()
    steps = [classifier.get_layer("logits").get_weights()[0]]
    from eosin.training import loop

    class Recording(loop.WeightAverage):
        def follow(self):
            super().follow()
            steps.append(classifier.get_layer("logits").get_weights()[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "WeightAverage", Recording)
        _, weights = _run(classifier, features, tiles, replace(config, ema_decay=0.9))
    assert len(steps) == 1 + 3
    expected = steps[0]
    for n, step in enumerate(steps[1:], start=1):
        kept = n / (n + 9)
        expected = kept * expected + (1 - kept) * step
    np.testing.assert_allclose(weights[0], expected, atol=1e-6)


def _run_slowed(classifier, features, tiles, factors, config=CONFIG):
    _, head = split_model(classifier, "head")
    run_epochs(
        head,
        CachedViews(features),
        tiles,
        config,
        stage="head",
        listeners=Listeners(),
        learning_rate_factors=factors,
    )
    return classifier.get_layer("logits").get_weights()


def test_factors_of_the_learning_rate_are_those_learning_rates(
    make_classifier, features, tiles
):
    for optimiser in ("adam", "adamw"):
        config = replace(CONFIG, optimiser=optimiser)
        slowed = _run_slowed(
            make_classifier(),
            features,
            tiles,
            (0.25, 0.25),
            replace(config, learning_rate=0.04),
        )
        _, expected = _run(make_classifier(), features, tiles, config)
        for a, b in zip(slowed, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_factor_of_one_changes_nothing(make_classifier, features, tiles):
    _, expected = _run(make_classifier(), features, tiles)
    for a, b in zip(
        _run_slowed(make_classifier(), features, tiles, (1.0, 1.0)),
        expected,
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
