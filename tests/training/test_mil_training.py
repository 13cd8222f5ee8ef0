from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eosin.bags import Bag, fit_clinical
from eosin.core import ConfigError, RunError
from eosin.models import (
    AGGREGATORS,
    build_mil_model,
    build_pixel_mil_model,
    predict_bags,
)
from eosin.settings import BagFit, PixelTraining
from eosin.training import Listeners, TrainingBags, train_mil
from eosin.training.mil_training import find_statistics, start_clinical

DIMENSION = 12
N_TRAIN, N_VAL, N_TEST = 120, 40, 100
CONFIG = BagFit(epochs=4, batch=16, patience=None, seed=5)
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
    result = train_mil(model, bags, config, Listeners(**listeners))
    return result, model.get_weights()


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
    config = BagFit(epochs=25, learning_rate=2e-3, seed=1)
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
    train_mil(model, shuffled, BagFit(epochs=8, learning_rate=2e-3, seed=1))
    # 300 bags with labels of their own: a standard deviation of 0.033.
    found = _score(model, _shuffle(_draw(300, seed=2, sizes=(40, 40))))
    assert abs(found - 0.5) < 0.1


def _draw_three(name, n, seed):
    """Small bags, half of whose instances are witnesses where there are any."""
    size = AGGREGATORS[name].n_instances or 12
    return _draw(n, seed, n_witnesses=size // 2, n_classes=3, sizes=(size, size))


def _train_three(name, bags):
    model = _build(name, n_classes=3)
    config = BagFit(epochs=25, learning_rate=1e-2, seed=1)
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
    train_mil(model, bags, BagFit(epochs=15, learning_rate=3e-3))
    positives = [bag for bag in _draw(20, seed=4) if bag.label]
    aucs = [
        roc_auc_score(bag.features[:, 2:4].sum(axis=1) > 3, found.attention)
        for bag, found in zip(positives, predict_bags(model, positives), strict=True)
    ]
    assert np.mean(aucs) > 0.9


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


def test_class_weights_shift_a_model_towards_the_rare_class(bags):
    rare = bags.train_rows[(bags.labels[bags.train_rows] == 0) | (np.arange(120) < 20)]
    few = replace(bags, train_rows=rare, val_rows=np.array([], int))

    def mean_logit(class_weights):
        model = _build("linear_probe")
        train_mil(model, few, replace(CONFIG, class_weights=class_weights, epochs=10))
        return np.mean([p.logits for p in predict_bags(model, few.bags)])

    assert mean_logit("balanced") > mean_logit("none")
    assert mean_logit((1.0, 20.0)) > mean_logit("balanced")


def test_a_model_for_other_bags_is_refused(bags):
    with pytest.raises(
        ConfigError, match=r"12 features and gives 3 classes.* 12 and 2"
    ):
        _train(bags, model=_build(n_classes=3))


def _make_tiles(n=4):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 3, 3 * 32**2), np.uint8)
    return _split(
        [Bag(bag_id=f"{i}", features=pixels[i], label=i % 2) for i in range(n)], n
    )


@pytest.mark.parametrize(
    ("weights", "is_moved"),
    [
        ("none", {"block1_conv": True, "block4_conv": True, "block4_norm": True}),
        (
            "imagenet",
            {"block1_conv": False, "block4_conv": True, "block4_norm": False},
        ),
    ],
)
def test_pixels_train_as_much_of_the_encoder_as_is_asked_for(weights, is_moved):
    model = build_pixel_mil_model("mean", "smallcnn", tile_px=32, weights="none")
    layers = {name: model.encoder.get_layer(name) for name in is_moved}
    before = {name: layer.get_weights() for name, layer in layers.items()}
    # A pretrained encoder's statistics and early blocks rest unless asked for.
    train_mil(model, _make_tiles(), PixelTraining(epochs=1, weights=weights))
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


def test_statistics_are_numpys_over_all_instances_of_the_rows(monkeypatch):
    monkeypatch.setattr("eosin.bags.bag._BLOCK_NUMBERS", 6)
    rng = np.random.default_rng(1)
    bags = [
        Bag(bag_id=str(n), features=1e4 + rng.normal(size=(n, 2))) for n in (1, 8, 13)
    ]
    mean, deviation = find_statistics(bags, np.array([0, 2]))
    together = np.concatenate([bags[0].features, bags[2].features]).astype(float)
    np.testing.assert_allclose(mean, together.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(deviation, together.std(axis=0), rtol=1e-9)


KINDS = {"marker": "number", "noise": "number"}
N_CLINICAL, N_CHOOSING, N_HELD = 40, 16, 60
N_FEATURES = 200


@pytest.fixture
def patients():
    """Bags whose features say nothing, though they tell every training bag apart."""
    rng = np.random.default_rng(0)
    bags = []
    for i in range(N_CLINICAL + N_CHOOSING + N_HELD):
        values = {"marker": f"{2 * (i % 2) + rng.normal():.3f}", "noise": str(i % 7)}
        features = rng.normal(size=(5, N_FEATURES))
        bags.append(Bag(bag_id=str(i), features=features, label=i % 2, clinical=values))
    return bags


def split_clinical(bags):
    rows = np.arange(len(bags))
    return TrainingBags(
        bags,
        rows[:N_CLINICAL],
        rows[N_CLINICAL : N_CLINICAL + N_CHOOSING],
        ("normal", "tumour"),
    )


def build_clinical(bags, **options):
    clinical = fit_clinical([bag.clinical for bag in bags[:N_CLINICAL]], KINDS)
    return build_mil_model(
        "gated_attention", dimension=N_FEATURES, clinical=clinical, **options
    )


def score_held(model, bags):
    held = bags[-N_HELD:]
    logits = [found.logits[0] for found in predict_bags(model, held)]
    return roc_auc_score([bag.label for bag in held], logits)


def test_it_starts_where_the_columns_speak(patients):
    model = build_clinical(patients)
    start_clinical(model, split_clinical(patients))
    # A number, and whether it was missing, of each column.
    marker, was_missing, noise, _ = model.clinical_head.get_weights()[0][:, 0]
    assert marker > 1
    assert was_missing == 0
    assert abs(noise) < 0.5


def test_validation_and_labels_of_others_have_no_say(patients):
    first, second = build_clinical(patients), build_clinical(patients)
    start_clinical(first, split_clinical(patients))
    others = [replace(bag, label=0) for bag in patients[N_CLINICAL:]]
    start_clinical(second, split_clinical(patients[:N_CLINICAL] + others))
    np.testing.assert_array_equal(
        *(m.clinical_head.get_weights() for m in (first, second))
    )


def test_each_class_has_its_own_start(patients):
    three = [
        replace(b, label=i % 3, clinical={"marker": str(i % 3), "noise": "1"})
        for i, b in enumerate(patients)
    ]
    model = build_clinical(three, n_classes=3)
    rows = np.arange(len(three))
    start_clinical(model, TrainingBags(three, rows, rows[:0], ("a", "b", "c")))
    low, middle, high = model.clinical_head.get_weights()[0][0]
    assert low < middle < high


def test_a_marker_is_learnt_beside_features_that_fit_anything(patients):
    config = BagFit(epochs=15, batch=4, monitor="val_loss")
    model = build_clinical(patients)
    train_mil(model, split_clinical(patients), config)
    alone = roc_auc_score(
        [bag.label for bag in patients[-N_HELD:]],
        [float(bag.clinical["marker"]) for bag in patients[-N_HELD:]],
    )
    assert alone > 0.9
    assert score_held(model, patients) > alone - 0.05
    # Dealt to other patients, the same columns teach nothing.
    order = np.random.default_rng(1).permutation(len(patients))
    dealt = [
        replace(bag, clinical=patients[i].clinical)
        for bag, i in zip(patients, order, strict=True)
    ]
    model = build_clinical(dealt)
    train_mil(model, split_clinical(dealt), config)
    assert 0.3 < score_held(model, dealt) < 0.7
