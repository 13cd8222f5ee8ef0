import numpy as np
import pytest
from sklearn.metrics import log_loss

from eosin.core import ConfigError
from eosin.models.keras_backend import keras
from eosin.settings import HeadFit
from eosin.training.optimisation import (
    build_loss,
    build_optimiser,
    encode_labels,
    find_class_weights,
    find_learning_rate,
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


def _list_rates(n, schedule, peak=0.1):
    return [find_learning_rate(i, n, peak=peak, schedule=schedule) for i in range(n)]


@pytest.mark.parametrize("n_steps", [2, 3, 7, 10, 100])
def test_one_cycle_is_that_of_pytorch(n_steps):
    torch = pytest.importorskip("torch")
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)
    oracle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=0.1, total_steps=n_steps
    )
    expected = []
    for _ in range(n_steps):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        oracle.step() if len(expected) < n_steps else None
    np.testing.assert_allclose(_list_rates(n_steps, "one_cycle"), expected, rtol=1e-9)


def test_one_cycle_of_a_single_step_learns():
    assert _list_rates(1, "one_cycle") == [0.1]


def test_cosine_falls_from_the_peak_through_its_half():
    rates = _list_rates(4, "cosine")
    half = np.sqrt(0.5) / 2
    np.testing.assert_allclose(
        rates, np.multiply(0.1, [1, 0.5 + half, 0.5, 0.5 - half]), rtol=1e-9
    )


def test_weight_decay_leaves_biases_alone(make_classifier):
    head = make_classifier().get_layer("logits")
    head.bias.assign([1.0])
    before = head.kernel.numpy().copy()
    optimiser = build_optimiser(HeadFit(weight_decay=0.5, learning_rate=0.1))
    gradients = [np.zeros(v.shape, "float32") for v in head.trainable_variables]
    optimiser.build(head.trainable_variables)
    optimiser.apply([keras.ops.convert_to_tensor(g) for g in gradients])
    np.testing.assert_allclose(head.bias.numpy(), [1.0])
    np.testing.assert_allclose(head.kernel.numpy(), before * (1 - 0.5 * 0.1), rtol=1e-5)
