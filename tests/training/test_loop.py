"""The loop over epochs, run on tiles and on bags."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eosin.bags import Bag
from eosin.core import ModelError, Progress, RunError
from eosin.models import build_mil_model, predict_bags, split_model
from eosin.settings import BagFit, HeadFit
from eosin.training import CachedViews, Listeners, TrainingBags, fit_head, train_mil
from eosin.training.loop import run_epochs
from eosin.training.tile_training import TileBatches

CONFIG = HeadFit(epochs=4, batch=32, learning_rate=0.01, patience=None, seed=5)


class _Tiles:
    """A head on features of tiles."""

    noun, task, note = "tile", ("head steps", 20), "epoch 4 loss 0."
    config = CONFIG
    losing = replace(CONFIG, learning_rate=10.0, schedule="constant", epochs=6)

    def __init__(self, make_classifier, features, tiles):
        self.build, self._features, self.data = make_classifier, features, tiles

    def train(self, model=None, config=None, data=None, **listeners):
        model = model or self.build()
        result = fit_head(
            model,
            self._features,
            data or self.data,
            config or self.config,
            Listeners(**listeners),
        )
        return result, model.get_layer("logits").get_weights()

    def relabel(self, labels):
        return replace(self.data, labels=labels)

    def score(self, weights):
        rows = self.data.val_rows
        logits = self._features[0, rows] @ weights[0] + weights[1]
        return roc_auc_score(self.data.labels[rows], logits)


class _Bags:
    """A MIL model on features of bags, in which positive bags have six witnesses."""

    noun, task, note = "bag", ("mil epochs", 4), "loss 0."
    config = BagFit(
        epochs=4,
        batch=16,
        patience=None,
        monitor="val_roc_auc",
        seed=5,
        max_instances=15,
    )
    losing = replace(config, learning_rate=0.3, schedule="constant", epochs=6)

    def __init__(self):
        rng = np.random.default_rng(1)
        bags, rows = [], np.arange(100)
        for i in rows:
            features = rng.normal(size=(rng.integers(10, 20), 12))
            features[: 6 * (i % 2), 2:4] += 1.5
            bags.append(Bag(bag_id=f"{i}", features=features, label=int(i % 2)))
        self.data = TrainingBags(bags, rows[:60], rows[60:], ("normal", "tumour"))

    def build(self, seed=3):
        model = build_mil_model(
            "gated_attention", dimension=12, widths=(16,), dropout=0.25, seed=3
        )
        model.set_weights([weight + (seed - 3) for weight in model.get_weights()])
        return model

    def train(self, model=None, config=None, data=None, **listeners):
        model = model or self.build()
        result = train_mil(
            model, data or self.data, config or self.config, Listeners(**listeners)
        )
        return result, model.get_weights()

    def relabel(self, labels):
        pairs = zip(self.data.bags, labels.tolist(), strict=True)
        return replace(self.data, bags=[replace(b, label=label) for b, label in pairs])

    def score(self, weights):
        model = self.build()
        model.set_weights(weights)
        bags = [self.data.bags[row] for row in self.data.val_rows]
        logits = [prediction.logits[0] for prediction in predict_bags(model, bags)]
        return roc_auc_score([bag.label for bag in bags], logits)


@pytest.fixture(params=["tiles", "bags"])
def case(request, make_classifier, features, tiles):
    return (
        _Bags() if request.param == "bags" else _Tiles(make_classifier, features, tiles)
    )


@pytest.fixture
def head(make_classifier, features, tiles):
    return _Tiles(make_classifier, features, tiles)


def _forget_seconds(result):
    return [replace(row, seconds=0.0) for row in result.epochs]


def _assert_same(first, second):
    assert _forget_seconds(first[0]) == _forget_seconds(second[0])
    assert first[0].best.epoch == second[0].best.epoch
    for a, b in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(a, b)


class _Ear(Progress):
    """Notes what it hears, and fails after so many words if asked to."""

    def __init__(self, fail_after=None):
        self.heard, self._fail_after = [], fail_after

    def task(self, name, total):
        self.heard.append((name, total))
        return contextlib.nullcontext(self)

    def advance(self, n=1, note=""):
        self.heard.append((n, note))
        if len(self.heard) == self._fail_after:
            raise KeyboardInterrupt


def test_one_seed_gives_one_result(case):
    first, again = case.train(), case.train()
    other = case.train(config=replace(case.config, seed=6))
    _assert_same(first, again)
    assert not np.array_equal(first[1][-1], other[1][-1])


@pytest.mark.parametrize("epoch", [1, 3, 4])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_a_resumed_training_equals_an_unbroken_one(
    case, tmp_path, stop_after, interrupted, epoch, weight_decay
):
    config = replace(case.config, weight_decay=weight_decay)
    unbroken = case.train(config=config)
    path = tmp_path / "state.npz"
    with pytest.raises(interrupted):
        case.train(config=config, checkpoint=path, on_epoch=stop_after(epoch))
    # Another start: all that counts must come from the checkpoint.
    resumed = case.train(case.build(seed=8), config, checkpoint=path)
    _assert_same(unbroken, resumed)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_resumed_training_with_mixup_and_an_average_equals_an_unbroken_one(
    head, tmp_path, stop_after, interrupted, epoch
):
    config = replace(CONFIG, mixup=0.4, ema_decay=0.95)
    path = tmp_path / "state.npz"
    with pytest.raises(interrupted):
        head.train(config=config, checkpoint=path, on_epoch=stop_after(epoch))
    resumed = head.train(head.build(seed=8), config, checkpoint=path)
    _assert_same(head.train(config=config), resumed)


def test_a_training_killed_within_an_epoch_resumes_before_it(head, tmp_path):
    path = tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        head.train(checkpoint=path, progress=_Ear(fail_after=9))
    resumed = head.train(head.build(seed=8), checkpoint=path)
    _assert_same(head.train(), resumed)


def test_a_finished_training_is_not_run_again(case, tmp_path):
    path = tmp_path / "state.npz"
    first = case.train(checkpoint=path)
    heard = []
    again = case.train(case.build(seed=8), checkpoint=path, on_epoch=heard.append)
    _assert_same(first, again)
    assert heard == []


def test_a_checkpoint_of_another_training_is_refused(case, tmp_path):
    path = tmp_path / "state.npz"
    case.train(config=replace(case.config, epochs=1), checkpoint=path)
    others = [
        {"config": replace(case.config, epochs=2)},
        {
            "config": replace(case.config, epochs=1),
            "data": case.relabel(1 - case.data.labels),
        },
    ]
    for other in others:
        with pytest.raises(RunError, match="other settings, data or version"):
            case.train(checkpoint=path, **other)


def test_the_best_epochs_weights_are_kept(case):
    # So high a learning rate makes late epochs worse than early ones.
    result, weights = case.train(config=case.losing)
    assert result.best.val_roc_auc == max(row.val_roc_auc for row in result.epochs)
    assert result.best.epoch < len(result.epochs)
    assert case.score(weights) == pytest.approx(result.best.val_roc_auc)


def test_patience_ends_a_training(case):
    labels = np.random.default_rng(99).permutation(case.data.labels)
    config = replace(case.losing, epochs=40, patience=2, monitor="val_loss")
    result, _ = case.train(config=config, data=case.relabel(labels))
    assert len(result.epochs) == result.best.epoch + 2


def test_without_validation_the_last_epoch_is_kept(tmp_path):
    case, path = _Bags(), tmp_path / "state.npz"
    alone = replace(case.data, val_rows=np.array([], int))
    config = replace(case.config, patience=1)
    result, weights = case.train(config=config, data=alone, checkpoint=path)
    assert result.monitor is None
    assert result.best is result.epochs[-1]
    assert len(result.epochs) == config.epochs
    assert result.history["val_loss"].isna().all()
    again = case.train(case.build(seed=8), config, alone, checkpoint=path)
    for a, b in zip(weights, again[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_class_absent_from_val_falls_to_the_loss_and_says_so(case):
    labels = case.data.labels.copy()
    labels[case.data.val_rows] = 0
    changed = case.relabel(labels)
    result, _ = case.train(data=changed)
    assert result.monitor == "val_loss"
    assert f"no {case.noun} of 'tumour'" in result.warnings[0]
    assert result.best.val_loss == min(row.val_loss for row in result.epochs)
    by_loss, _ = case.train(
        data=changed, config=replace(case.config, monitor="val_loss")
    )
    assert by_loss.warnings == ()


def test_a_diverging_loss_stops_with_the_learning_rate(case):
    config = replace(case.config, learning_rate=1e38, schedule="constant")
    with pytest.raises(ModelError, match=r"lower --set learning_rate \(now 1e\+38\)"):
        case.train(config=config)


def test_features_that_are_not_finite_stop_with_the_reason(head, features, tiles):
    features[:, tiles.train_rows[3]] = np.nan
    with pytest.raises(ModelError, match=r"epoch 1, step \d, because features in"):
        head.train()


def test_progress_hears_of_every_step(case):
    ear = _Ear()
    case.train(progress=ear)
    assert ear.heard[0] == case.task
    assert sum(n for n, _ in ear.heard[1:]) == case.task[1]
    assert ear.heard[-1][1].startswith(case.note)


def test_the_callers_model_is_not_compiled(case):
    model = case.build()
    case.train(model, replace(case.config, epochs=1))
    assert not model.compiled


def test_each_best_epoch_is_told_before_its_checkpoint(case, tmp_path):
    path, heard = tmp_path / "state.npz", []
    result, _ = case.train(
        checkpoint=path,
        on_best=lambda metrics: heard.append((metrics.epoch, path.exists())),
    )
    assert heard[0] == (1, False)
    assert heard[-1][0] == result.best.epoch


@pytest.mark.parametrize(
    ("min_steps", "passes"), [(0, 1), (1, 1), (20, 1), (21, 2), (41, 3)]
)
def test_a_small_set_is_passed_over_until_the_steps_are_enough(
    head, tiles, min_steps, passes
):
    """Five steps of 32 of the training tiles, four epochs: 20 steps in one pass."""
    ear = _Ear()
    config = replace(CONFIG, balance="none", min_steps=min_steps)
    assert round(len(tiles.train_rows) / config.batch) == 5
    result, _ = head.train(config=config, progress=ear)
    assert ear.heard[0][1] == sum(n for n, _ in ear.heard[1:]) == 20 * passes
    assert len(result.epochs) == 4


def test_mixup_trains_otherwise_and_still_learns(head):
    plain, mixed = head.train(), head.train(config=replace(CONFIG, mixup=0.4))
    assert not np.array_equal(plain[1][0], mixed[1][0])
    # Blends keep part of the other class: their loss cannot reach that of wholes.
    assert mixed[0].epochs[-1].loss > plain[0].epochs[-1].loss
    long = replace(CONFIG, mixup=0.4, epochs=20)
    assert head.train(config=long)[0].best.val_roc_auc > 0.85


def test_an_average_validates_and_is_what_is_kept(head):
    config = replace(CONFIG, learning_rate=0.3, schedule="constant", ema_decay=0.9)
    result, weights = head.train(config=config)
    plain, last = head.train(config=replace(config, ema_decay=0))
    # The steps are the same; what is shown of them is not.
    assert [e.loss for e in result.epochs] == [e.loss for e in plain.epochs]
    assert [e.val_loss for e in result.epochs] != [e.val_loss for e in plain.epochs]
    assert not np.array_equal(weights[0], last[0])
    assert head.score(weights) == pytest.approx(result.best.val_roc_auc)


def _run_slowed(make_classifier, features, tiles, factors, config=CONFIG):
    classifier = make_classifier()
    _, head = split_model(classifier, "head")
    batches = TileBatches(head, CachedViews(features), tiles, config, factors)
    run_epochs(batches, "head")
    return classifier.get_layer("logits").get_weights()


def test_an_average_is_that_of_every_step(head):
    """The first epoch's three steps of 50, each kept as the bar moves on."""
    config = replace(CONFIG, epochs=1, schedule="constant", batch=50, ema_decay=0.9)
    model = head.build()
    steps = [model.get_layer("logits").get_weights()[0]]

    class Camera(_Ear):
        def advance(self, n=1, note=""):
            if n:
                steps.append(model.get_layer("logits").get_weights()[0])

    _, weights = head.train(model, config, progress=Camera())
    assert len(steps) == 1 + 3
    expected = steps[0]
    for n, step in enumerate(steps[1:], start=1):
        kept = n / (n + 9)
        expected = kept * expected + (1 - kept) * step
    np.testing.assert_allclose(weights[0], expected, atol=1e-6)


@pytest.mark.parametrize("weight_decay", [0.0, 1e-9])
def test_factors_of_the_learning_rate_are_those_learning_rates(
    head, make_classifier, features, tiles, weight_decay
):
    config = replace(CONFIG, weight_decay=weight_decay)
    quick = replace(config, learning_rate=0.04)
    slowed = _run_slowed(make_classifier, features, tiles, (0.25, 0.25), quick)
    for a, b in zip(slowed, head.train(config=config)[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
