"""A command's folder: its record, its outputs, and what a killed run left in it."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from eosin.core.errors import RunError
from eosin.core.files import read_json

RUN_FILE = "run.json"
# What a record holds, and what stands for it where it lacks.
_FIELDS: Mapping[str, type] = {
    **dict.fromkeys(("settings", "inputs", "notes"), dict),
    "failures": list,
    "wall_seconds": float,
    "status": str,
}
_JSON_NAMES = {dict: "object", list: "list", float: "number", str: "text"}
# What a command may have left before it had a result.
_WORTHLESS = {RUN_FILE, "splits.csv", "encoder.onnx"}
# What `atomic_path` calls a file while it is written.
_LEFTOVER = re.compile(r"\..*-[a-z0-9_]{8}\.part(\.[^.]*)?", re.DOTALL)


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record that a command left in its folder; empty where there is none.

    Raises:
        RunError: It is damaged; the message says what to do.
    """
    path = Path(folder) / RUN_FILE
    if not path.is_file():
        return {}
    record: dict[str, Any] = read_json(path)
    for name, kind in _FIELDS.items():
        value = record.setdefault(name, kind())
        if not isinstance(value, (int, float) if kind is float else kind):
            raise RunError(
                f"{path}: is damaged: '{name}' must be a JSON {_JSON_NAMES[kind]}, is "
                f"{shorten_value(value)}; do the work again that wrote it, with "
                "--overwrite"
            )
    return record


def require_none_of_others(folder: Path, outputs: Sequence[str]) -> None:
    """Stop where what would be written is there, and no record says that eosin did it.

    It may be the very input, such as a slide table in its own folder.
    """
    found = sorted(path for pattern in outputs for path in folder.glob(pattern))
    if found:
        raise RunError(
            f"{folder}: holds {', '.join(path.name for path in found[:3])}, which this "
            "command would replace and has not written; choose another folder"
        )


def is_void(older: Mapping[str, Any], folder: Path, outputs: Sequence[str]) -> bool:
    """Whether a command failed here before it had any result worth keeping."""
    written = [path for pattern in outputs for path in folder.glob(pattern)]
    inside = [path for place in written for path in place.rglob("*")]
    return older.get("status") == "failed" and not any(
        path.is_file() and path.name not in _WORTHLESS and not _is_failure(path)
        for path in (*written, *inside)
    )


def _is_failure(path: Path) -> bool:
    """Whether a part only says why there is none."""
    try:
        return path.suffix == ".json" and "failure" in read_json(path)
    except RunError:
        # Damaged: nobody knows what it held.
        return False


def remove_outputs(folder: Path, outputs: Sequence[str]) -> None:
    """Remove what a command wrote, by glob patterns, but for its record."""
    for pattern in outputs:
        for path in sorted(folder.glob(pattern), reverse=True):
            if path == folder / RUN_FILE:
                continue
            try:
                # A link goes, and what it points at stays.
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise RunError(
                    f"{path}: cannot be removed ({error.strerror or error})"
                ) from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a run that was killed while writing.

    Folders below that have a record of their own may be at work just now.
    """
    for place, folders, files in os.walk(folder):
        parent = Path(place)
        if parent != folder and RUN_FILE in files:
            folders.clear()
            continue
        for name in filter(_LEFTOVER.fullmatch, files):
            with suppress(OSError):
                (parent / name).unlink()
        for name in filter(_LEFTOVER.fullmatch, tuple(folders)):
            shutil.rmtree(parent / name, ignore_errors=True)
            folders.remove(name)


def shorten_value(value: Any) -> str:
    """Write a value in 60 characters at most."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
