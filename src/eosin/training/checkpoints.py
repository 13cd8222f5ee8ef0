"""The state of a training after an epoch, on disk, whole or not at all."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.core import RunError, atomic_path
from eosin.models.keras_backend import keras
from eosin.training.history import EpochMetrics

_FORMAT = 1
_SEED_STATE = "seed_generator_state"

Arrays = list[NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that the rest of a training depends on.

    Dropout's seeds are not in it: they are set from the seed and the epoch
    when an epoch begins.

    Attributes:
        fingerprint: Hash of the settings and the data it belongs to.
        epochs: The epochs that ran.
        weights: The model's weights and statistics.
        optimiser: The optimiser's variables.
        best: The weights of the best epoch so far.
    """

    fingerprint: str
    epochs: tuple[EpochMetrics, ...]
    weights: Arrays
    optimiser: Arrays
    best: Arrays


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint.

    Raises:
        RunError: The file cannot be written.
    """
    meta = {
        "format": _FORMAT,
        "fingerprint": checkpoint.fingerprint,
        "epochs": [asdict(row) for row in checkpoint.epochs],
    }
    arrays = {
        f"{group}_{i:05d}": array
        for group in ("weights", "optimiser", "best")
        for i, array in enumerate(getattr(checkpoint, group))
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
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            groups: dict[str, Arrays] = {"weights": [], "optimiser": [], "best": []}
            for name in sorted(set(file.files) - {"meta"}):
                groups[name.rsplit("_", 1)[0]].append(file[name])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RunError(
            f"{path}: not a checkpoint that can be read ({error}); delete it to "
            "start this stage anew"
        ) from error
    if meta["format"] != _FORMAT or meta["fingerprint"] != fingerprint:
        raise RunError(
            f"{path}: is the checkpoint of a training with other settings, tiles or "
            "version; add --overwrite to start anew, or choose another folder"
        )
    epochs = tuple(EpochMetrics(**row) for row in meta["epochs"])
    return Checkpoint(fingerprint, epochs, **groups)


def take_arrays(variables: Sequence[Any]) -> Arrays:
    """Copy variables' values."""
    # A copy, because on a CPU the array may be the variable's own memory.
    return [np.array(keras.ops.convert_to_numpy(v), copy=True) for v in variables]


def put_arrays(variables: Sequence[Any], arrays: Arrays) -> None:
    """Set variables to values that `take_arrays` copied."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def reset_dropout(model: Any, *, seed: int, epoch: int) -> None:
    """Set the seed of every dropout from the training's seed and the epoch.

    A dropout that was built without any seed may draw from elsewhere, as it
    does in Keras' torch backend; no model of eosin holds one.
    """
    states = [v for v in model.variables if v.path.endswith(_SEED_STATE)]
    for i, state in enumerate(states):
        (drawn,) = np.random.SeedSequence((seed, epoch, i)).generate_state(1)
        state.assign(np.array([drawn >> 1, 0], dtype="uint32"))
