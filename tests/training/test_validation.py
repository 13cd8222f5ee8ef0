from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from eosin.training import CachedViews, TrainingTiles
from eosin.training.validation import validate


class Echo:
    """A model that gives back what it gets."""

    def predict_on_batch(self, inputs):
        return inputs


def _make(n_classes, views=1, n=40):
    rng = np.random.default_rng(0)
    rows = np.arange(n)
    tiles = TrainingTiles(
        labels=rows % n_classes,
        slide_ids=rows,
        train_rows=rows[:12],
        val_rows=rows[12:],
        class_names=tuple("abc"[:n_classes]),
    )
    logits = rng.normal(size=(views, n, 1 if n_classes == 2 else n_classes))
    return tiles, logits.astype("float32")


def _find_probabilities(logits):
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    exponentials = np.exp(logits.astype("float64"))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_views", [1, 3])
def test_metrics_are_scikit_learns_on_mean_probabilities(n_classes, n_views):
    tiles, logits = _make(n_classes, views=3)
    source = CachedViews(logits, n_validation_views=n_views)
    actual = validate(Echo(), source, tiles, batch=5)
    expected = _find_probabilities(logits[:n_views]).mean(axis=0)[tiles.val_rows]
    labels = tiles.labels[tiles.val_rows]
    assert actual.loss == pytest.approx(log_loss(labels, expected), rel=1e-6)
    scores = expected[:, 1] if n_classes == 2 else expected
    auc = roc_auc_score(labels, scores, multi_class="ovr")
    assert actual.roc_auc == pytest.approx(auc)


def test_the_order_of_the_rows_does_not_matter():
    tiles, logits = _make(2)
    turned = replace(tiles, val_rows=tiles.val_rows[::-1])
    source = CachedViews(logits)
    assert validate(Echo(), source, tiles, batch=7) == validate(
        Echo(), source, turned, batch=7
    )


def test_an_absent_class_leaves_no_auc():
    tiles, logits = _make(2)
    tiles = replace(tiles, val_rows=np.arange(12, 40, 2))
    actual = validate(Echo(), CachedViews(logits), tiles, batch=7)
    assert actual.roc_auc is None
    assert np.isfinite(actual.loss)
