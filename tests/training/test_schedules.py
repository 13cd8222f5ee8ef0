import numpy as np
import pytest

from eosin.training import HeadConfig
from eosin.training.schedules import build_optimiser, find_learning_rate


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


def test_constant_stays():
    assert set(_list_rates(5, "constant")) == {0.1}


def test_weight_decay_leaves_biases_alone(make_classifier):
    head = make_classifier().get_layer("logits")
    head.bias.assign([1.0])
    before = head.kernel.numpy().copy()
    optimiser = build_optimiser(
        HeadConfig(optimiser="adamw", weight_decay=0.5, learning_rate=0.1)
    )
    gradients = [np.zeros(v.shape, "float32") for v in head.trainable_variables]
    optimiser.build(head.trainable_variables)
    from eosin.models.keras_backend import keras

    optimiser.apply([keras.ops.convert_to_tensor(g) for g in gradients])
    np.testing.assert_allclose(head.bias.numpy(), [1.0])
    np.testing.assert_allclose(head.kernel.numpy(), before * (1 - 0.5 * 0.1), rtol=1e-5)


def test_adam_has_no_weight_decay():
    assert build_optimiser(HeadConfig()).weight_decay is None
