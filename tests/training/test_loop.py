from dataclasses import replace

import numpy as np
import pytest

from eosin.core import ConfigError, ModelError, Progress, RunError, Task
from eosin.models import split_model
from eosin.training import CachedViews, HeadConfig
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
@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_a_resumed_training_equals_an_unbroken_one(
    make_classifier,
    features,
    tiles,
    tmp_path,
    stop_after,
    interrupted,
    epoch,
    optimiser,
):
    config = replace(CONFIG, optimiser=optimiser)
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
    assert heard[0] == ("head", 20)
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
