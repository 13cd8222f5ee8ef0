from dataclasses import replace

import numpy as np
import pytest

from eosin.core import ConfigError
from eosin.training import HeadConfig, TrainingTiles, fit_head

CONFIG = HeadConfig(epochs=15, batch=32, learning_rate=0.01)


def test_a_planted_signal_is_learnt(make_classifier, features, tiles):
    result = fit_head(make_classifier(), features, tiles, CONFIG)
    assert result.best.val_roc_auc > 0.9
    assert result.epochs[-1].loss < result.epochs[0].loss


def test_shuffled_labels_are_not_learnt(make_classifier, features, shuffled):
    config = replace(CONFIG, monitor="val_loss", patience=None)
    result = fit_head(make_classifier(), features, shuffled, config)
    # 90 validation tiles: 0.5 with a standard error of 0.06.
    assert abs(result.epochs[-1].val_roc_auc - 0.5) < 0.15


def test_the_encoder_stays_as_it_was(make_classifier, features, tiles):
    classifier = make_classifier()
    before = classifier.get_weights()
    fit_head(classifier, features, tiles, CONFIG)
    after = classifier.get_weights()
    changed = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert changed == [False] * (len(before) - 2) + [True, True]


def test_averaging_views_helps_validation(make_classifier, features, tiles):
    results = [
        fit_head(make_classifier(), features, tiles, CONFIG, n_validation_views=n)
        for n in (1, 2)
    ]
    assert results[1].best.val_loss < results[0].best.val_loss


@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": "adamw", "weight_decay": 0.01},
        {"schedule": "cosine", "label_smoothing": 0.1},
        {"schedule": "constant", "balance": "none", "class_weights": "balanced"},
    ],
)
def test_every_setting_learns(make_classifier, features, tiles, settings):
    result = fit_head(make_classifier(), features, tiles, replace(CONFIG, **settings))
    assert result.best.val_roc_auc > 0.9


def test_three_classes_are_learnt(make_classifier):
    rng = np.random.default_rng(0)
    rows = np.arange(180)
    labels = rows % 3
    features = rng.normal(size=(2, 180, 192)).astype(np.float16)
    for i in range(4):
        features[:, rows, 4 * labels + i] += 3
    tiles = TrainingTiles(labels, rows // 20, rows[:120], rows[120:], ("a", "b", "c"))
    result = fit_head(make_classifier(n_classes=3), features, tiles, CONFIG)
    assert result.best.val_roc_auc > 0.9


def test_features_of_another_encoder_are_refused(make_classifier, features, tiles):
    with pytest.raises(ConfigError, match=r"smallcnn needs features.*\(192,\)"):
        fit_head(make_classifier(), features[..., :-1], tiles, CONFIG)


def test_another_dropout_than_the_configs_is_refused(make_classifier, features, tiles):
    with pytest.raises(ConfigError, match=r"dropout of 0\.1, the config says 0\.5"):
        fit_head(make_classifier(dropout=0.1), features, tiles, CONFIG)
