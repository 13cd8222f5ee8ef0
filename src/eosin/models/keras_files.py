"""Keras models as files."""

from pathlib import Path
from typing import Any

from eosin.core import ModelError, atomic_path, raising
from eosin.models.keras_backend import keras


def save_model(model: Any, path: Path) -> None:
    """Write a model as a `.keras` file, whole or not at all.

    Raises:
        RunError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        model.save(temporary)


def load_keras_model(path: Path) -> Any:
    """Read a model that `save_model` wrote, of whatever kind.

    Raises:
        ModelError: The file is missing, or is no Keras model of this version.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model")
    with raising(ModelError, f"{path}: not a Keras model that this version reads"):
        return keras.models.load_model(path, compile=False)


def first_line(error: BaseException) -> str:
    """Give an error's first line, or its name; Keras' and PyTorch's run over pages."""
    return (str(error).splitlines() or [type(error).__name__])[0]
