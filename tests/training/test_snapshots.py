from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.models import load_classifier
from eosin.settings import HeadFit, TuneFit
from eosin.training import (
    CachedViews,
    EpochMetrics,
    Listeners,
    SnapshotKeeper,
    fine_tune,
    fit_head,
)


def make_metrics(epoch, auc, loss=0.5, stage="head"):
    return EpochMetrics(stage, epoch, 1e-3, 0.5, loss, auc, 1.0)


@pytest.fixture
def offer(make_classifier, tmp_path):
    keeper = SnapshotKeeper(tmp_path / "state", 2)

    def offer(*metrics):
        for row in metrics:
            keeper.offer(make_classifier(seed=row.epoch), row)
        return keeper

    return offer


def names(keeper):
    return [(row.stage, row.epoch) for row in keeper.list()]


def test_the_best_are_kept_and_the_others_deleted(offer, tmp_path):
    keeper = offer(
        make_metrics(1, 0.9),
        make_metrics(2, 0.7),
        make_metrics(1, 0.8, stage="fine_tune"),
    )
    assert names(keeper) == [("head", 1), ("fine_tune", 1)]
    kept = sorted(path.name for path in (tmp_path / "state").glob("*.keras"))
    assert kept == ["fine_tune_epoch_01.keras", "head_epoch_01.keras"]


def test_of_equal_aucs_the_lower_loss_is_better(offer):
    keeper = offer(
        make_metrics(1, 0.9, loss=0.3),
        make_metrics(2, 0.9, loss=0.1),
        make_metrics(3, 0.9, loss=0.2),
        make_metrics(4, None),
    )
    assert names(keeper) == [("head", 2), ("head", 3)]


def test_an_epoch_that_is_trained_again_replaces_itself(offer, tmp_path):
    offer(make_metrics(1, 0.9))
    again = SnapshotKeeper(tmp_path / "state", 2)
    assert names(again) == [("head", 1)]
    keeper = offer(make_metrics(1, 0.9), make_metrics(2, 0.95))
    assert names(keeper) == [("head", 2), ("head", 1)]


def test_snapshots_are_exported_with_what_validation_said(
    offer, make_classifier, pixels, tmp_path
):
    keeper = offer(make_metrics(1, 0.8), make_metrics(2, 0.9))
    keeper.export(tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "snapshots.csv")
    assert list(table["snapshot"]) == ["head_epoch_02", "head_epoch_01"]
    assert list(table["val_roc_auc"]) == [0.9, 0.8]
    assert (tmp_path / "out" / "head_epoch_01.onnx").stat().st_size > 0
    kept = load_classifier(tmp_path / "out" / "head_epoch_02.keras")
    np.testing.assert_array_equal(
        kept.predict_on_batch(pixels[:2]),
        make_classifier(seed=2).predict_on_batch(pixels[:2]),
    )


def test_each_best_epoch_is_offered_with_the_weights_that_validation_saw(
    make_classifier, features, tiles, tmp_path
):
    classifier = make_classifier()
    keeper = SnapshotKeeper(tmp_path, 1)
    config = HeadFit(
        epochs=4, batch=32, learning_rate=0.01, patience=None, ema_decay=0.9
    )
    result = fit_head(
        classifier,
        features,
        tiles,
        config,
        Listeners(on_best=lambda metrics: keeper.offer(classifier, metrics)),
    )
    # The head ends with the best epoch's average, and so does its snapshot.
    assert [row.epoch for row in keeper.list()] == [result.best.epoch]
    kept = load_classifier(tmp_path / f"head_epoch_{result.best.epoch:02d}.keras")
    for a, b in zip(kept.get_weights(), classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fine_tuning_offers_its_epochs_under_its_own_name(
    make_classifier, tiles, pixels
):
    heard = []
    classifier = make_classifier()
    activations = np.zeros((1, len(pixels), 2, 2, 96), np.float16)
    fine_tune(
        classifier,
        CachedViews(activations),
        tiles,
        replace(TuneFit(), epochs=1),
        Listeners(on_best=heard.append),
        stage="fine_tune_2",
    )
    assert [(row.stage, row.epoch) for row in heard] == [("fine_tune_2", 1)]
