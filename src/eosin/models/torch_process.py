"""Exports in a process of their own on torch, where Keras computes with another.

Keras' exporter of each backend needs a package of its own, and writes another graph. On
torch alone all files are of one kind, whatever a model was trained with.
"""

import functools
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from eosin.core import EosinError, ModelError, atomic_path
from eosin.models.keras_backend import keras
from eosin.models.keras_files import load_keras_model, save_model

Made = TypeVar("Made")

_CODE = "from eosin.models.torch_process import work; import sys; work(*sys.argv[1:])"


def on_torch(export: Callable[[Any, Path], Made]) -> Callable[[Any, Path], Made]:
    """Let a function that exports a Keras model to a path run on torch always."""

    @functools.wraps(export)
    def run(model: Any, path: Path) -> Made:
        if keras.config.backend() == "torch":
            return export(model, path)
        with tempfile.TemporaryDirectory() as folder:
            save_model(model, Path(folder) / "model.keras")
            names = (export.__module__, export.__name__, folder, str(path))
            done = subprocess.run(
                [sys.executable, "-c", _CODE, *names],
                env={
                    **os.environ,
                    "KERAS_BACKEND": "torch",
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
                capture_output=True,
                text=True,
                check=False,
            )
            answer = Path(folder) / "answer"
            if not answer.exists():
                lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
                raise ModelError(
                    f"{path.name}: the model could not be exported by PyTorch, which "
                    f"it has to be ({lines[-1]})"
                )
            made = pickle.loads(answer.read_bytes())
        if isinstance(made, EosinError):
            raise made
        return made  # type: ignore[no-any-return] # as the export made it

    return run


def work(module: str, name: str, folder: str, path: str) -> None:
    """Export what lies in a folder, and leave there what came of it."""
    try:
        export = getattr(import_module(module), name)
        made = export(load_keras_model(Path(folder) / "model.keras"), Path(path))
    except EosinError as error:
        made = error
    with atomic_path(Path(folder) / "answer") as temporary:
        temporary.write_bytes(pickle.dumps(made))
