from dataclasses import replace

import numpy as np
import pytest

from eosin.core import ConfigError
from eosin.models import split_model
from eosin.settings import HeadFit, TuneFit
from eosin.training import (
    CachedViews,
    Listeners,
    PixelTiles,
    TrainingTiles,
    fine_tune,
    fit_head,
    plan_unfreezing,
)

CONFIG = TuneFit(epochs=2, batch=30, learning_rate=1e-3, patience=None)

HEAD = HeadFit(epochs=15, batch=32, learning_rate=0.01)


@pytest.fixture
def pixel_source(pixels):
    return PixelTiles(lambda rows: pixels[rows], len(pixels))


def _encode(classifier, pixels):
    trunk, _ = split_model(classifier, "last")
    return trunk.predict(pixels, verbose=0)[None]


def _flip(batch, rng):
    return batch[:, :, ::-1] if rng.random() < 0.5 else batch


def _forget_seconds(result):
    return [replace(row, seconds=0.0) for row in result.epochs]


def test_cached_activations_equal_the_whole_model_with_a_frozen_trunk(
    make_classifier, pixels, pixel_source, tiles
):
    cached, whole = make_classifier(), make_classifier()
    trunk_before = split_model(whole, "last")[0].get_weights()
    activations = CachedViews(_encode(cached, pixels))
    from_cache = fine_tune(cached, activations, tiles, CONFIG)
    from_pixels = fine_tune(whole, pixel_source, tiles, CONFIG)
    for a, b in zip(from_cache.epochs, from_pixels.epochs, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-4)
        assert a.val_loss == pytest.approx(b.val_loss, rel=1e-4)
    for a, b in zip(cached.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    trunk_after = split_model(whole, "last")[0].get_weights()
    for a, b in zip(trunk_before, trunk_after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_trained_tail_is_in_the_whole_classifier(make_classifier, pixels, tiles):
    classifier = make_classifier()
    before = classifier.predict_on_batch(pixels[:4])
    activations = _encode(classifier, pixels).astype(np.float16)
    fine_tune(classifier, CachedViews(activations), tiles, CONFIG)
    after = classifier.predict_on_batch(pixels[:4])
    assert not np.allclose(before, after)
    _, tail = split_model(classifier, "last")
    exact = _encode(classifier, pixels)[0, :4]
    np.testing.assert_array_equal(tail.predict_on_batch(exact), after)


def test_a_small_network_learns_from_scratch(make_classifier, pixel_source, tiles):
    config = replace(
        CONFIG, depth="all", batch_norm="trained", epochs=6, learning_rate=3e-3
    )
    result = fine_tune(make_classifier(), pixel_source, tiles, config)
    assert result.best.val_roc_auc > 0.9
    assert not result.warnings


@pytest.mark.parametrize("batch_norm", ["frozen", "trained"])
def test_batch_normalisation_moves_only_when_trained(
    make_classifier, pixel_source, tiles, batch_norm
):
    classifier = make_classifier()
    norm = classifier.get_layer("block2_norm")
    before = norm.get_weights()
    config = replace(CONFIG, depth="all", batch_norm=batch_norm, epochs=1)
    fine_tune(classifier, pixel_source, tiles, config)
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(before, norm.get_weights(), strict=True)
    ]
    assert moved == [batch_norm == "trained"] * 4
    assert norm.trainable


@pytest.mark.parametrize("batch_norm", ["frozen", "trained"])
@pytest.mark.parametrize(
    "settings", [{}, {"mixup": 0.3, "ema_decay": 0.9, "layer_decay": 0.5}]
)
def test_a_resumed_fine_tuning_equals_an_unbroken_one(
    make_classifier,
    pixels,
    tiles,
    tmp_path,
    stop_after,
    interrupted,
    batch_norm,
    settings,
):
    source = PixelTiles(lambda rows: pixels[rows], len(pixels), augment=_flip)
    config = replace(CONFIG, depth="all", batch_norm=batch_norm, epochs=3, **settings)
    unbroken = make_classifier()
    expected = fine_tune(unbroken, source, tiles, config)
    path = tmp_path / "fine_tune.npz"
    with pytest.raises(interrupted):
        fine_tune(
            make_classifier(),
            source,
            tiles,
            config,
            Listeners(path, None, stop_after(1)),
        )
    resumed = make_classifier(seed=8)
    actual = fine_tune(resumed, source, tiles, config, Listeners(path))
    assert _forget_seconds(actual) == _forget_seconds(expected)
    for a, b in zip(resumed.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fine_tuning_that_does_harm_is_taken_back(make_classifier, pixel_source, tiles):
    classifier = make_classifier()
    good = replace(CONFIG, depth="all", batch_norm="trained", epochs=6)
    fine_tune(classifier, pixel_source, tiles, replace(good, learning_rate=3e-3))
    before = classifier.get_weights()
    harmful = replace(CONFIG, depth="all", learning_rate=10.0)
    result = fine_tune(classifier, pixel_source, tiles, harmful)
    assert len(result.warnings) == 1
    assert "weights from before were kept" in result.warnings[-1]
    for a, b in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_half_precision_trains_float32_weights(make_classifier, pixel_source, tiles):
    classifier = make_classifier()
    config = replace(CONFIG, precision="mixed_bfloat16", depth="all", epochs=1)
    result = fine_tune(classifier, pixel_source, tiles, config)
    assert np.isfinite(result.best.loss)
    assert all(a.dtype == np.float32 for a in classifier.get_weights())
    assert classifier.get_layer("block4_conv").compute_dtype == "float32"


def test_the_whole_encoder_needs_pixels(make_classifier, pixels, tiles):
    classifier = make_classifier()
    source = CachedViews(_encode(classifier, pixels))
    with pytest.raises(ConfigError, match="give PixelTiles for 'all'"):
        fine_tune(classifier, source, tiles, replace(CONFIG, depth="all"))


def test_activations_of_another_trunk_are_refused(make_classifier, tiles):
    source = CachedViews(np.zeros((1, 240, 4, 4, 8), np.float16))
    with pytest.raises(ConfigError, match=r"got \(4, 4, 8\)"):
        fine_tune(make_classifier(), source, tiles, CONFIG)


def _find_moves(classifier, pixel_source, tiles, config):
    """Tell how far a block's convolution and the head moved in one step."""
    layers = [classifier.get_layer(n) for n in ("block1_conv", "block4_conv", "logits")]
    before = [layer.get_weights()[0] for layer in layers]
    moves = []

    def on_epoch(metrics):
        # Before anything is put back.
        after = [layer.get_weights()[0] for layer in layers]
        moves.extend(np.abs(b - a).max() for a, b in zip(before, after, strict=True))

    fine_tune(classifier, pixel_source, tiles, config, Listeners(on_epoch=on_epoch))
    return moves


def test_early_layers_move_less_by_their_decay(make_classifier, pixel_source, tiles):
    config = replace(CONFIG, depth="all", epochs=1, batch=150, schedule="constant")
    plain = _find_moves(make_classifier(), pixel_source, tiles, config)
    slow = _find_moves(
        make_classifier(), pixel_source, tiles, replace(config, layer_decay=0.3)
    )
    # Adam's first step is the learning rate, whatever the gradient.
    np.testing.assert_allclose(plain, 1e-3, rtol=1e-2)
    np.testing.assert_allclose(slow, [9e-5, 3e-4, 1e-3], rtol=1e-2)


def test_a_stage_that_rests_keeps_its_weights(make_classifier, pixel_source, tiles):
    classifier = make_classifier()
    config = replace(CONFIG, depth="all", trunk_stages=1, epochs=1)
    names = ("block1_conv", "block2_conv", "block3_conv", "block4_conv")
    before = [classifier.get_layer(name).get_weights()[0] for name in names]
    after = []
    fine_tune(
        classifier,
        pixel_source,
        tiles,
        config,
        Listeners(
            on_epoch=lambda _: after.extend(
                classifier.get_layer(name).get_weights()[0] for name in names
            )
        ),
    )
    moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert moved == [False, False, True, True]
    assert all(layer.trainable for layer in classifier.layers)


def test_unfreezing_goes_from_the_last_block_to_all_ever_more_slowly(make_classifier):
    first = replace(CONFIG, learning_rate=1e-3)
    plan = plan_unfreezing(make_classifier(), first, n_steps=3, factor=0.3)
    assert [(step.depth, step.trunk_stages) for step in plan] == [
        ("last", None),
        ("all", 1),
        ("all", None),
    ]
    np.testing.assert_allclose([s.learning_rate for s in plan], [1e-3, 3e-4, 9e-5])


def test_there_are_no_more_steps_than_stages(make_classifier):
    # Maps of 16, 8 and 4 px before the last block.
    plan = plan_unfreezing(make_classifier(), CONFIG, n_steps=9, factor=1.0)
    assert [step.trunk_stages for step in plan] == [None, 1, 2, None]
    assert plan[-1].depth == "all"


def test_shuffled_labels_are_not_learnt(make_classifier, features, shuffled):
    config = replace(HEAD, monitor="val_loss", patience=None)
    result = fit_head(make_classifier(), features, shuffled, config)
    # 90 validation tiles: 0.5 with a standard error of 0.06.
    assert abs(result.epochs[-1].val_roc_auc - 0.5) < 0.15


def test_the_encoder_stays_as_it_was(make_classifier, features, tiles):
    classifier = make_classifier()
    before = classifier.get_weights()
    fit_head(classifier, features, tiles, HEAD)
    after = classifier.get_weights()
    changed = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert changed == [False] * (len(before) - 2) + [True, True]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_decay": 0.01},
        {"schedule": "cosine", "label_smoothing": 0.1},
        {"schedule": "constant", "balance": "none", "class_weights": "balanced"},
    ],
)
def test_every_setting_learns(make_classifier, features, tiles, settings):
    result = fit_head(make_classifier(), features, tiles, replace(HEAD, **settings))
    assert result.best.val_roc_auc > 0.9


def test_three_classes_are_learnt(make_classifier):
    rng = np.random.default_rng(0)
    rows = np.arange(180)
    labels = rows % 3
    features = rng.normal(size=(2, 180, 192)).astype(np.float16)
    for i in range(4):
        features[:, rows, 4 * labels + i] += 3
    tiles = TrainingTiles(labels, rows // 20, rows[:120], rows[120:], ("a", "b", "c"))
    result = fit_head(make_classifier(n_classes=3), features, tiles, HEAD)
    assert result.best.val_roc_auc > 0.9


def test_features_of_another_encoder_are_refused(make_classifier, features, tiles):
    with pytest.raises(ConfigError, match=r"smallcnn needs features.*\(192,\)"):
        fit_head(make_classifier(), features[..., :-1], tiles, HEAD)


def test_another_dropout_than_the_configs_is_refused(make_classifier, features, tiles):
    with pytest.raises(ConfigError, match=r"dropout of 0\.1, the config says 0\.5"):
        fit_head(make_classifier(dropout=0.1), features, tiles, HEAD)
