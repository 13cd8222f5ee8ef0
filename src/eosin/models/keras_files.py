"""Keras models as files."""

from pathlib import Path
from typing import Any

from eosin.core import ModelError, atomic_path
from eosin.models.keras_backend import keras


def save_keras_model(model: Any, path: Path) -> None:
    """Write a model as a `.keras` file, whole or not at all.

    Raises:
        RunError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        model.save(temporary)


def load_keras_model(path: Path) -> Any:
    """Read a model that `save_keras_model` wrote.

    Raises:
        ModelError: The file is missing, or is no Keras model of this version.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{path}: not a Keras model that this version reads ({first_line})"
        ) from error
