import numpy as np
import pytest
from sklearn.metrics import log_loss

from eosin.core import ConfigError
from eosin.training.losses import (
    build_loss,
    encode_labels,
    find_class_weights,
    find_log_probabilities,
)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_loss_is_scikit_learns(n_classes):
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 1, 0, 1, n_classes - 1])
    logits = rng.normal(size=(6, 1 if n_classes == 2 else 4)).astype("float32")
    probabilities = np.exp(find_log_probabilities(logits))
    assert probabilities.shape == (6, n_classes)
    expected = log_loss(labels, probabilities, labels=range(n_classes))
    loss = build_loss(n_classes, label_smoothing=0.0)
    actual = float(loss(encode_labels(labels, n_classes), logits))
    assert actual == pytest.approx(expected, rel=1e-5)


def test_smoothing_mixes_in_the_other_label():
    # A logit of 2, label 1, smoothing 0.2: targets are 0.9 and 0.1.
    loss = build_loss(2, label_smoothing=0.2)
    actual = float(loss(encode_labels(np.array([1]), 2), np.array([[2.0]], "float32")))
    p = 1 / (1 + np.exp(-2))
    assert actual == pytest.approx(-0.9 * np.log(p) - 0.1 * np.log(1 - p), rel=1e-5)


def test_large_logits_keep_their_order():
    logs = find_log_probabilities(np.array([[800.0], [900.0]]))
    np.testing.assert_allclose(logs[:, 0], [-800, -900])


@pytest.mark.parametrize(
    ("class_weights", "expected"),
    [("none", [1, 1]), ("balanced", [4 / 6, 4 / 2]), ((1.0, 3.0), [1, 3])],
)
def test_class_weights(class_weights, expected):
    labels = np.array([0, 0, 0, 1])
    np.testing.assert_allclose(find_class_weights(class_weights, labels, 2), expected)


@pytest.mark.parametrize("class_weights", [(1.0,), (1.0, 0.0)])
def test_class_weights_must_fit_the_classes(class_weights):
    with pytest.raises(ConfigError, match="must be 2 numbers above 0"):
        find_class_weights(class_weights, np.array([0, 1]), 2)
