"""The state of a training: its variables, their average, and both on disk."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.core import RunError, atomic_path, raising
from eosin.models.keras_backend import keras
from eosin.training.history import EpochMetrics

ops = keras.ops

_FORMAT = 2
_SEED_STATE = "seed_generator_state"

Arrays = list[NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that the rest of a training depends on: its epochs, and variables' values.

    `arrays` holds the model's `weights`, the `optimiser`'s own, the `average` where one
    is kept, and the weights of the `best` epoch so far. Dropout's seeds are not in it:
    they are set from the seed and the epoch when an epoch begins.
    """

    epochs: tuple[EpochMetrics, ...]
    arrays: dict[str, Arrays]


def write_checkpoint(path: Path, checkpoint: Checkpoint, fingerprint: str) -> None:
    """Write a checkpoint, whole or not at all."""
    meta = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "epochs": [asdict(row) for row in checkpoint.epochs],
    }
    arrays: dict[str, Any] = {
        f"{group}_{i:05d}": array
        for group, held in checkpoint.arrays.items()
        for i, array in enumerate(held)
    }
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, meta=np.array(json.dumps(meta)), **arrays)


def read_checkpoint(path: Path, fingerprint: str) -> Checkpoint | None:
    """Read the checkpoint of an interrupted training, if there is one.

    Raises:
        RunError: It belongs to other settings or data, or cannot be read.
    """
    if not path.exists():
        return None
    arrays: dict[str, Arrays] = {}
    failure = f"{path}: not a checkpoint that can be read"
    remedy = "delete it to start this stage anew"
    with (
        raising(RunError, failure, remedy=remedy),
        np.load(path, allow_pickle=False) as file,
    ):
        meta = json.loads(str(file["meta"]))
        if meta["format"] != _FORMAT or meta["fingerprint"] != fingerprint:
            raise RunError(
                f"{path}: is the checkpoint of a training with other settings, data or "
                "version; add --overwrite to start anew, or choose another folder"
            )
        for name in sorted(set(file.files) - {"meta"}):
            arrays.setdefault(name.rsplit("_", 1)[0], []).append(file[name])
        return Checkpoint(tuple(EpochMetrics(**row) for row in meta["epochs"]), arrays)


def take_arrays(variables: Sequence[Any]) -> Arrays:
    """Copy variables' values."""
    # A copy, because on a CPU the array may be the variable's own memory.
    return [np.array(ops.convert_to_numpy(v), copy=True) for v in variables]


def put_arrays(variables: Sequence[Any], arrays: Arrays) -> None:
    """Set variables to values that `take_arrays` copied."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def copy_value(variable: Any) -> Any:
    """Copy a variable's value where it lies, with no trace of it for gradients."""
    # A sum is new memory everywhere; a conversion may be the variable's own.
    return ops.stop_gradient(ops.convert_to_tensor(variable)) + 0


def reset_dropout(model: Any, *, seed: int, epoch: int) -> None:
    """Set the seed of every dropout from the training's seed and the epoch.

    A dropout that was built without any seed may draw from elsewhere, as it
    does in Keras' torch backend; no model of eosin holds one.
    """
    states = [v for v in model.variables if v.path.endswith(_SEED_STATE)]
    for i, state in enumerate(states):
        (drawn,) = np.random.SeedSequence((seed, epoch, i)).generate_state(1)
        state.assign(np.array([drawn >> 1, 0], dtype="uint32"))


class WeightAverage:
    """The exponential average of a model's weights, statistics included.

    After the step n, from 1, it keeps the smaller of `decay` and `n / (n + 9)` of
    itself, so that it does not cling to where training began.
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
        put_arrays(self._weights, take_arrays(self._averages))
        try:
            yield
        finally:
            put_arrays(self._weights, before)

    def take_state(self) -> Arrays:
        """Copy all that the rest of a training depends on."""
        return [*take_arrays(self._averages), np.array(self._n_steps)]

    def put_state(self, state: Arrays) -> None:
        """Go on from a state that `take_state` gave."""
        *averages, n_steps = state
        self._averages = [ops.convert_to_tensor(average) for average in averages]
        self._n_steps = int(n_steps)
