import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from eosin.training.batches import score_validation
from eosin.training.optimisation import find_log_probabilities


def _score(labels, logits):
    return score_validation(labels, find_log_probabilities(np.array(logits)))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_loss_and_auc_are_scikit_learns(n_classes):
    rng = np.random.default_rng(0)
    labels = np.arange(30) % n_classes
    logs = find_log_probabilities(rng.normal(size=(30, 1 if n_classes == 2 else 3)))
    found = score_validation(labels, logs)
    shown = np.exp(logs)[:, 1] if n_classes == 2 else np.exp(logs)
    assert found.loss == pytest.approx(log_loss(labels, np.exp(logs)))
    expected = roc_auc_score(labels, shown, multi_class="ovr")
    assert found.roc_auc == pytest.approx(expected)


def test_an_absent_class_leaves_no_auc():
    found = _score(np.array([1, 1]), [[1.0], [2.0]])
    assert found.roc_auc is None
    assert found.loss == pytest.approx(np.log1p(np.exp([-1.0, -2.0])).mean())


def test_saturated_probabilities_keep_their_order():
    labels = np.array([0, 1, 0, 1])
    assert _score(labels, [[100.0], [110.0], [100.0], [120.0]]).roc_auc == 1


def test_logits_that_are_not_finite_leave_no_auc():
    logs = np.array([[np.nan, np.nan], [-1.0, -0.5]])
    found = score_validation(np.array([0, 1]), logs)
    assert found.roc_auc is None
    assert np.isnan(found.loss)
