"""Writing files whole or not at all, and telling files apart."""

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eosin.core.errors import RunError, raising

# Two threads that each set it and put it back would leave the wrong one.
_UMASK_LOCK = threading.Lock()
_BLOCK_BYTES = 1 << 20
# Of the 255 bytes of most file systems; suffixes come behind it.
_LONGEST_NAME = 180


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block succeeds.

    The temporary file or folder lies beside `path`, so that the move is one rename,
    and keeps its suffix. Whatever the block raises, nothing half-written is left
    behind, and an older file at `path` stays as it was.

    Raises:
        RunError: The folder cannot be made or written, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem[:40]}-", suffix=f".part{path.suffix}", dir=path.parent
        )
        os.close(handle)
    except OSError as error:
        raise _write_error(path, error) from error
    temporary = Path(name)
    temporary.unlink()
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        if temporary.is_file():
            # mkstemp makes private files; results are for everybody's reading.
            temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: Any) -> None:
    """Write a data frame without its index, whole or not at all."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON; NaN is refused, not written."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; one that is missing or damaged is a `RunError`.

    So is one with a number that no computer holds, such as NaN or 1e999.
    """
    path = Path(path)
    if not path.exists():
        raise RunError(f"{path}: no such file")
    with raising(RunError, f"{path}: cannot be read as JSON"):
        text = path.read_text(encoding="utf-8")
        return json.loads(text, parse_float=_to_finite, parse_constant=_to_finite)


def _to_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that can be worked with")
    return number


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_files(**paths: str | None) -> dict[str, str]:
    """Hash those that are files, by name; words such as `imagenet` are none."""
    named = {name: Path(path) for name, path in paths.items() if path is not None}
    return {name: hash_file(path) for name, path in named.items() if path.is_file()}


def fingerprint_file(path: Path) -> str:
    """Return a hash of a file's size and of 1 MiB at its start and its end.

    Slides have gigabytes; this tells two of them apart without reading all.
    """
    path = Path(path)
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        digest.update(stream.read(_BLOCK_BYTES))
        if size > _BLOCK_BYTES:
            stream.seek(max(_BLOCK_BYTES, size - _BLOCK_BYTES))
            digest.update(stream.read(_BLOCK_BYTES))
    return digest.hexdigest()


def hash_object(content: Any) -> str:
    """Return the SHA-256 of anything JSON can write, whatever its key order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def require_free_space(folder: Path, n_bytes: int, purpose: str) -> None:
    """Stop before a large write for which the disk lacks room, or 64 MiB beside it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _write_error(folder, error) from error
    if free < n_bytes + (64 << 20):
        raise RunError(
            f"{folder}: {purpose} needs {n_bytes / 1e9:.2f} GB, "
            f"{free / 1e9:.2f} GB are free; free some space or choose another folder"
        )


def to_file_name(name: str) -> str:
    """Turn any id into a file name that every system allows, one to one.

    A very long one is cut, and told apart by a hash of all of it.
    """
    safe = re.sub(
        r'[%<>:"/\\|?*\x00-\x1f]', lambda match: f"%{ord(match[0]):02X}", name
    )
    # A first dot hides a file; Windows drops a last dot or space.
    safe = re.sub(r"^\.|[. ]\Z", lambda match: f"%{ord(match[0]):02X}", safe)
    if len(safe.encode()) <= _LONGEST_NAME:
        return safe
    start = safe.encode()[: _LONGEST_NAME - 13].decode(errors="ignore")
    return f"{start}~{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _umask() -> int:
    """Read the process's umask, which can only be read by setting it."""
    with _UMASK_LOCK:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


def _write_error(path: Path, error: OSError) -> RunError:
    """Turn an operating-system error into one that names the output."""
    return RunError(f"{path}: cannot be written ({error.strerror or error})")
