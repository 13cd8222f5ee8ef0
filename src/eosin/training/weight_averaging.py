"""The exponential moving average of a model's weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from eosin.models.keras_backend import keras
from eosin.training.checkpoints import Arrays, put_arrays, take_arrays

ops = keras.ops


class WeightAverage:
    """Weights that follow a model's slowly, statistics included.

    After the step n, from 1, an average keeps the smaller of `decay` and `n / (n +
    9)` of itself, so that it does not cling to where training began.

    Args:
        weights: The model's variables, which stay where they are.
        decay: How slowly the average follows, (0, 1).
    """

    def __init__(self, weights: Sequence[Any], decay: float) -> None:
        self._weights = list(weights)
        self._decay = decay
        self._averages = [copy_value(weight) for weight in self._weights]
        self._n_steps = 0

    def follow(self) -> None:
        """Take up the weights after a training step."""
        self._n_steps += 1
        share = 1 - min(self._decay, self._n_steps / (self._n_steps + 9))
        self._averages = [
            average + (copy_value(weight) - average) * share
            for average, weight in zip(self._averages, self._weights, strict=True)
        ]

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Let the model hold the averages for the length of a block."""
        before = take_arrays(self._weights)
        put_arrays(self._weights, self._take_averages())
        try:
            yield
        finally:
            put_arrays(self._weights, before)

    def take_state(self) -> Arrays:
        """Copy all that the rest of a training depends on."""
        return [*self._take_averages(), np.array(self._n_steps)]

    def put_state(self, state: Arrays) -> None:
        """Go on from a state that `take_state` gave."""
        *averages, n_steps = state
        self._averages = [ops.convert_to_tensor(average) for average in averages]
        self._n_steps = int(n_steps)

    def _take_averages(self) -> Arrays:
        return [np.array(ops.convert_to_numpy(average)) for average in self._averages]


def copy_value(variable: Any) -> Any:
    """Copy a variable's value where it lies, with no trace of it for gradients."""
    # A sum is new memory everywhere; a conversion may be the variable's own.
    return ops.stop_gradient(ops.convert_to_tensor(variable)) + 0
