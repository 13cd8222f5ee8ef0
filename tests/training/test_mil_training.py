from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eosin.bags import Bag, fit_clinical
from eosin.core import ConfigError, ModelError, Progress, RunError, Task
from eosin.models import (
    AGGREGATORS,
    build_mil_model,
    build_pixel_mil_model,
    predict_bags,
)
from eosin.training import MILConfig, TrainingBags, train_mil
from eosin.training.bag_data import find_statistics

DIMENSION = 12
N_TRAIN, N_VAL, N_TEST = 120, 40, 100
CONFIG = MILConfig(epochs=4, batch=16, patience=None, seed=5)
LEARNING = [name for name in AGGREGATORS if name not in ("linear_probe", "concat40")]


def _draw(n, seed, *, n_witnesses=6, n_classes=2, sizes=(20, 40)):
    """Bags of noise in which every class but 0 has witnesses of its own."""
    rng = np.random.default_rng(seed)
    bags = []
    for i in range(n):
        label = i % n_classes
        features = rng.normal(size=(rng.integers(*sizes, endpoint=True), DIMENSION))
        if label:
            features[:n_witnesses, 2 * label : 2 * label + 2] += 3
        features = rng.permutation(features)
        bags.append(Bag(bag_id=f"{seed}-{i}", features=features, label=label))
    return bags


def _split(bags, n_train=N_TRAIN, n_classes=2):
    names = ("normal", "tumour", "metastasis")[:n_classes]
    rows = np.arange(len(bags))
    return TrainingBags(bags, rows[:n_train], rows[n_train:], names)


def _shuffle(bags):
    """Give the same bags labels that have nothing to do with them."""
    labels = np.random.default_rng(99).permutation([bag.label for bag in bags])
    pairs = zip(bags, labels.tolist(), strict=True)
    return [replace(bag, label=label) for bag, label in pairs]


@pytest.fixture(scope="module")
def bags():
    return _split(_draw(N_TRAIN + N_VAL, seed=1))


def _build(name="gated_attention", seed=3, **options):
    return build_mil_model(
        name, dimension=DIMENSION, widths=(32,), seed=seed, **options
    )


def _train(bags, config=CONFIG, model=None, **listeners):
    model = model or _build()
    result = train_mil(model, bags, config, **listeners)
    return result, model.get_weights()


def _assert_same(first, second):
    def forget(result):
        return [replace(row, seconds=0.0) for row in result.epochs]

    assert forget(first[0]) == forget(second[0])
    for a, b in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(a, b)


def _score(model, bags):
    logits = np.stack([found.logits for found in predict_bags(model, bags)])
    return roc_auc_score([bag.label for bag in bags], logits[:, -1])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "gated_attention" else pytest.mark.slow)
        for name in LEARNING
    ],
)
def test_a_planted_signal_is_learnt(bags, name):
    model = _build(name)
    config = MILConfig(epochs=25, learning_rate=2e-3, seed=1)
    result = train_mil(model, bags, config)
    assert result.best.val_roc_auc > 0.9
    assert _score(model, _draw(N_TEST, seed=2)) > 0.9


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "gated_attention" else pytest.mark.slow)
        for name in AGGREGATORS
    ],
)
def test_shuffled_labels_teach_nothing(name):
    model = _build(name)
    shuffled = _split(_shuffle(_draw(N_TRAIN + N_VAL, seed=1, sizes=(40, 40))))
    train_mil(model, shuffled, MILConfig(epochs=8, learning_rate=2e-3, seed=1))
    # 300 bags with labels of their own: a standard deviation of 0.033.
    found = _score(model, _shuffle(_draw(300, seed=2, sizes=(40, 40))))
    assert abs(found - 0.5) < 0.1


def _draw_three(name, n, seed):
    """Small bags, half of whose instances are witnesses where there are any."""
    size = AGGREGATORS[name].n_instances or 12
    return _draw(n, seed, n_witnesses=size // 2, n_classes=3, sizes=(size, size))


def _train_three(name, bags):
    model = _build(name, n_classes=3)
    config = MILConfig(epochs=25, learning_rate=1e-2, seed=1)
    train_mil(model, _split(bags, n_train=90, n_classes=3), config)
    return model


def _find_accuracy(model, bags):
    called = np.array([found.logits.argmax() for found in predict_bags(model, bags)])
    return np.mean(called == [bag.label for bag in bags])


@pytest.mark.parametrize("name", AGGREGATORS)
def test_three_classes_are_learnt(name):
    model = _train_three(name, _draw_three(name, 120, seed=1))
    # One that minds the order needs more bags.
    least = 0.9 if AGGREGATORS[name].is_order_free else 0.6
    assert _find_accuracy(model, _draw_three(name, 150, seed=2)) > least


@pytest.mark.parametrize("name", AGGREGATORS)
def test_three_shuffled_classes_teach_nothing(name):
    model = _train_three(name, _shuffle(_draw_three(name, 120, seed=1)))
    # 300 bags with labels of their own: a standard deviation of 0.027.
    found = _find_accuracy(model, _shuffle(_draw_three(name, 300, seed=2)))
    assert abs(found - 1 / 3) < 0.1


def test_attention_finds_the_witnesses(bags):
    model = _build()
    train_mil(model, bags, MILConfig(epochs=15, learning_rate=3e-3))
    positives = [bag for bag in _draw(20, seed=4) if bag.label]
    aucs = [
        roc_auc_score(bag.features[:, 2:4].sum(axis=1) > 3, found.attention)
        for bag, found in zip(positives, predict_bags(model, positives), strict=True)
    ]
    assert np.mean(aucs) > 0.9


def test_one_seed_gives_one_result(bags):
    first, again = _train(bags), _train(bags)
    other = _train(bags, replace(CONFIG, seed=6))
    _assert_same(first, again)
    assert not np.array_equal(first[1][-1], other[1][-1])


@pytest.mark.parametrize("epoch", [1, 3, 4])
@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_a_resumed_training_equals_an_unbroken_one(
    bags, tmp_path, stop_after, interrupted, epoch, optimiser
):
    decay = 0.0 if optimiser == "adam" else 0.01
    config = replace(CONFIG, optimiser=optimiser, weight_decay=decay, max_instances=15)
    unbroken = _train(bags, config)
    path = tmp_path / "mil.npz"
    with pytest.raises(interrupted):
        _train(bags, config, checkpoint=path, on_epoch=stop_after(epoch))
    # Another start: all that counts must come from the checkpoint.
    other = _build(seed=3)
    other.set_weights([weight + 1 for weight in other.get_weights()])
    _assert_same(unbroken, _train(bags, config, other, checkpoint=path))


def test_a_finished_training_is_not_run_again(bags, tmp_path):
    path = tmp_path / "mil.npz"
    first = _train(bags, checkpoint=path)
    heard = []
    _assert_same(first, _train(bags, checkpoint=path, on_epoch=heard.append))
    assert heard == []


def test_a_checkpoint_of_another_training_is_refused(bags, tmp_path):
    path = tmp_path / "mil.npz"
    _train(bags, replace(CONFIG, epochs=1), checkpoint=path)
    with pytest.raises(RunError, match="other settings"):
        _train(bags, replace(CONFIG, epochs=2), checkpoint=path)
    with pytest.raises(RunError, match="other settings"):
        _train(bags, replace(CONFIG, epochs=1), _build("mean"), checkpoint=path)


def test_the_best_epochs_weights_are_kept(bags):
    config = replace(CONFIG, learning_rate=0.3, schedule="constant", epochs=5)
    model = _build()
    result, _ = _train(bags, config, model)
    assert result.best.val_roc_auc == max(row.val_roc_auc for row in result.epochs)
    val = [bags.bags[row] for row in bags.val_rows]
    assert _score(model, val) == pytest.approx(result.best.val_roc_auc)


def test_patience_ends_a_training(bags):
    shuffled = replace(bags, bags=_shuffle(bags.bags))
    config = replace(CONFIG, epochs=40, patience=2, monitor="val_loss")
    result, _ = _train(shuffled, config)
    assert result.stopped_early
    assert len(result.epochs) == result.best.epoch + 2
    assert len(result.history) == len(result.epochs)


def test_without_validation_the_last_epoch_is_kept(bags, tmp_path):
    alone = replace(bags, val_rows=np.array([], int))
    config = replace(CONFIG, patience=1)
    unbroken = train_mil(_build(), alone, config)
    assert unbroken.monitor is None
    assert unbroken.best is unbroken.epochs[-1]
    assert len(unbroken.epochs) == config.epochs
    assert unbroken.history["val_loss"].isna().all()
    path = tmp_path / "mil.npz"
    train_mil(_build(), alone, config, checkpoint=path)
    again = train_mil(_build(), alone, config, checkpoint=path)
    assert again.best.loss == unbroken.best.loss


def test_a_class_absent_from_val_falls_to_the_loss_and_says_so(bags):
    one = replace(bags, val_rows=bags.val_rows[bags.labels[bags.val_rows] == 0])
    result, _ = _train(one)
    assert result.monitor == "val_loss"
    assert "no bag of 'tumour'" in result.warnings[0]
    by_loss, _ = _train(one, replace(CONFIG, monitor="val_loss"))
    assert by_loss.warnings == ()


def test_scaling_knows_the_training_bags_only(bags):
    spoilt = [
        replace(bag, features=bag.features + (100 if row >= N_TRAIN else 0))
        for row, bag in enumerate(bags.bags)
    ]
    model = _build()
    train_mil(model, replace(bags, bags=spoilt), replace(CONFIG, epochs=1))
    mean, deviation = find_statistics(bags.bags, bags.train_rows)
    np.testing.assert_allclose(model.scaling.mean, mean, atol=1e-6)
    np.testing.assert_allclose(model.scaling.deviation, deviation, rtol=1e-6)
    assert model.scaling.scale.clip == np.inf


def test_the_limit_of_the_features_goes_with_the_model(bags):
    model = _build()
    train_mil(model, bags, replace(CONFIG, epochs=1, clip=2.5))
    assert model.scaling.scale.clip == 2.5
    with pytest.raises(ConfigError, match="clip must be above 0, or none, got 0"):
        MILConfig(clip=0.0)


def test_class_weights_shift_a_model_towards_the_rare_class(bags):
    rare = bags.train_rows[(bags.labels[bags.train_rows] == 0) | (np.arange(120) < 20)]
    few = replace(bags, train_rows=rare, val_rows=np.array([], int))

    def mean_logit(class_weights):
        model = _build("linear_probe")
        train_mil(model, few, replace(CONFIG, class_weights=class_weights, epochs=10))
        return np.mean([p.logits for p in predict_bags(model, few.bags)])

    assert mean_logit("balanced") > mean_logit("none")
    assert mean_logit((1.0, 20.0)) > mean_logit("balanced")


def test_a_step_never_sees_more_than_the_config_allows(bags, monkeypatch):
    import eosin.training.mil_training as module

    shapes = []

    def spy(*arguments, **named):
        batch = read(*arguments, **named)
        shapes.append(batch.features.shape)
        return batch

    read = module.read_batch
    monkeypatch.setattr(module, "read_batch", spy)
    config = replace(CONFIG, max_instances=15, max_padded=60, epochs=1)
    result, _ = _train(bags, config)
    assert max(shape[1] for shape in shapes) == 15
    assert max(shape[0] * shape[1] for shape in shapes) <= 60
    assert sum(shape[0] for shape in shapes) == N_TRAIN
    assert np.isfinite(result.best.loss)


def test_concat40_trains_on_bags_of_40():
    forty = _split(_draw(40, seed=1, sizes=(30, 40)), n_train=30)
    result, _ = _train(forty, replace(CONFIG, epochs=1), _build("concat40"))
    assert np.isfinite(result.best.val_loss)


def test_a_diverging_loss_stops_with_the_learning_rate(bags):
    config = replace(CONFIG, learning_rate=1e38, schedule="constant")
    with pytest.raises(ModelError, match=r"lower --set learning_rate \(now 1e\+38\)"):
        _train(bags, config)


def test_a_model_for_other_bags_is_refused(bags):
    with pytest.raises(
        ConfigError, match=r"12 features and gives 3 classes.* 12 and 2"
    ):
        _train(bags, model=_build(n_classes=3))


@pytest.mark.parametrize("field", ["max_instances", "max_padded"])
def test_limits_are_at_least_1(field):
    with pytest.raises(ConfigError, match="must be 1 or more"):
        MILConfig(**{field: 0})


def test_progress_hears_of_every_epoch(bags):
    heard = []

    class Ear(Task):
        def advance(self, n=1, note=""):
            heard.append((n, note))

    class Listening(Progress):
        def task(self, name, total):
            import contextlib

            heard.append((name, total))
            return contextlib.nullcontext(Ear())

    _train(bags, progress=Listening())
    assert heard[0] == ("mil epochs", 4)
    assert sum(n for n, _ in heard[1:]) == 4
    assert " val 0." in heard[-1][1]


def test_the_callers_model_is_not_compiled(bags):
    model = _build()
    _train(bags, replace(CONFIG, epochs=1), model)
    assert not model.compiled


def _make_tiles(n=4):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 3, 3 * 32**2), np.uint8)
    return _split(
        [Bag(bag_id=f"{i}", features=pixels[i], label=i % 2) for i in range(n)], n
    )


@pytest.mark.parametrize(
    ("options", "is_moved"),
    [
        ({}, {"block1_conv": True, "block4_conv": True, "block4_norm": True}),
        (
            {"depth": "last", "batch_norm": "frozen"},
            {"block1_conv": False, "block4_conv": True, "block4_norm": False},
        ),
    ],
)
def test_pixels_train_as_much_of_the_encoder_as_is_asked_for(options, is_moved):
    model = build_pixel_mil_model("mean", "smallcnn", tile_px=32, weights="none")
    layers = {name: model.encoder.get_layer(name) for name in is_moved}
    before = {name: layer.get_weights() for name, layer in layers.items()}
    train_mil(model, _make_tiles(), MILConfig(epochs=1, **options))
    for name, layer in layers.items():
        pairs = zip(before[name], layer.get_weights(), strict=True)
        assert is_moved[name] == any(not np.array_equal(a, b) for a, b in pairs), name
        # What was still for a while can be trained again.
        assert layer.trainable


def test_other_clinical_values_are_another_training(tmp_path):
    bags = [
        replace(bag, clinical={"age": str(i)}) for i, bag in enumerate(_draw(8, seed=1))
    ]
    clinical = fit_clinical([bag.clinical for bag in bags], {"age": "number"})
    config = replace(CONFIG, epochs=1)
    path = tmp_path / "checkpoint.npz"
    _train(_split(bags, 8), config, _build(clinical=clinical), checkpoint=path)
    other = [replace(bag, clinical={"age": "1"}) for bag in bags]
    with pytest.raises(RunError, match="checkpoint of a training with other settings"):
        _train(_split(other, 8), config, _build(clinical=clinical), checkpoint=path)
