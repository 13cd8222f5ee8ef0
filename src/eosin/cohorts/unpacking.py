"""Unpacking `.gz` files once, checked and with progress."""

import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from eosin.core import (
    CohortError,
    Progress,
    RunError,
    atomic_path,
    fingerprint_file,
    read_json,
    require_free_space,
    write_json,
)

_BLOCK_BYTES = 1 << 20
# HDF5 of images packs by a tenth or so; a margin more.
_GROWTH = 1.3
# What unpacks to more than this, and to so many times its size, is no file of images.
_PLAIN_BYTES, _MOST_TIMES = 1 << 30, 20


def unpack_once(
    path: Path, folder: Path, *, progress: Progress | None = None
) -> tuple[Path, str]:
    """Unpack a `.gz` file into a folder, unless it was unpacked there before.

    The checksum that the file ends with is held against its content. Returned are the
    unpacked file and the MD5 of the packed one.

    Raises:
        CohortError: The file is cut short or damaged, or unpacks to over 20 times its
            size.
        RunError: The disk is too small or cannot be written.
    """
    target = folder / path.name.removesuffix(".gz")
    record = folder / f"{target.name}.json"
    key = fingerprint_file(path)
    older = _read_record(record, target)
    if older.get("key") == key:
        return target, str(older["md5"])
    require_free_space(folder, int(path.stat().st_size * _GROWTH), "unpacking")
    digest = hashlib.md5(usedforsecurity=False)
    total = path.stat().st_size
    with (
        (progress or Progress()).task(f"Unpacking {path.name}, bytes", total) as task,
        path.open("rb") as packed,
        atomic_path(target) as temporary,
    ):

        def watch(block: bytes) -> None:
            digest.update(block)
            task.advance(len(block))

        _unpack(path, _Watched(packed, watch), temporary)
    md5, size = digest.hexdigest(), target.stat().st_size
    write_json(record, {"key": key, "md5": md5, "bytes": size})
    return target, md5


def _unpack(path: Path, packed: "_Watched", temporary: Path) -> None:
    try:
        with (
            gzip.GzipFile(fileobj=packed, mode="rb") as source,  # type: ignore[call-overload] # reads only
            temporary.open("wb") as out,
        ):
            written = 0
            while block := source.read(_BLOCK_BYTES):
                written += len(block)
                _check_growth(path, written)
                # Others write meanwhile, and it may hold more than was thought.
                require_free_space(temporary.parent, len(block), "unpacking")
                out.write(block)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CohortError(
            f"{path}: cannot be unpacked ({error}); it is cut short or damaged, "
            "download it again"
        ) from error


def _check_growth(path: Path, n_bytes: int) -> None:
    if n_bytes > max(_PLAIN_BYTES, _MOST_TIMES * path.stat().st_size):
        raise CohortError(
            f"{path}: cannot be unpacked, as it holds over {n_bytes / 1e9:.1f} GB, "
            f"more than {_MOST_TIMES} times its size; no file of images does"
        )


def _read_record(record: Path, target: Path) -> dict[str, Any]:
    """Read what was unpacked before; nothing where the file is not as it was."""
    try:
        content = read_json(record)
    except RunError:
        return {}
    is_whole = target.exists() and target.stat().st_size == content.get("bytes")
    return dict(content) if is_whole else {}


class _Watched:
    """A file that shows others each block as it is read."""

    def __init__(self, file: BinaryIO, watch: Callable[[bytes], None]) -> None:
        self._file, self._watch = file, watch

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._watch(block)
        return block
