import numpy as np
import pytest
import torch

from eosin.models.keras_backend import keras
from eosin.training import torch_adam

SHAPES = [(30, 7), (7,), (4, 3, 2)]


def _train(optimiser, *, n_steps=60, dtype="float32", order="C"):
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=s).astype(dtype, order=order) for s in SHAPES]
    variables = [keras.Variable(start, dtype=dtype) for start in starts]
    optimiser.build(variables)
    for step in range(n_steps):
        optimiser.learning_rate = 1e-2 / (1 + step % 5)
        gradients = [
            # The first lies transposed in memory.
            torch.tensor(
                rng.normal(size=shape[::-1]), dtype=variables[0].value.dtype
            ).permute(*range(len(shape))[::-1])
            for shape in SHAPES
        ]
        optimiser.apply(gradients, variables)
    state = [*variables, *optimiser.variables]
    return [keras.ops.convert_to_numpy(variable) for variable in state]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Adam", {}),
        ("AdamW", {"weight_decay": 0.1}),
        ("Adam", {"amsgrad": True}),
        ("Adam", {"gradient_accumulation_steps": 3, "clipnorm": 0.1}),
    ],
)
def test_steps_are_keras_own(name, options, order):
    ours = _train(getattr(torch_adam, name)(1e-2, **options), order=order)
    theirs = _train(getattr(keras.optimizers, name)(1e-2, **options), order=order)
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)


def test_float32_goes_through_the_kernel_and_all_else_through_keras(monkeypatch):
    calls, kernel = [], torch._fused_adam_
    monkeypatch.setattr(
        torch,
        "_fused_adam_",
        lambda *args, **kw: calls.append(1) or kernel(*args, **kw),
    )
    _train(torch_adam.AdamW(1e-2), n_steps=3)
    assert len(calls) == 3
    _train(torch_adam.AdamW(1e-2), n_steps=3, dtype="float64")
    assert len(calls) == 3
