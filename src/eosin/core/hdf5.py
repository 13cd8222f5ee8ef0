"""HDF5 files that anybody may have written, read without believing them.

Such a file can name other files as parts of itself, and can say that it holds far more
than it does. Here a name is followed within the file alone, and what a data set says of
its size is held against what it stores, before memory is taken for it.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eosin.core.errors import EosinError, raising
from eosin.core.files import require_regular

_MOST_LINKS = 16
# One chunk is in memory as a whole, whatever is read of it.
_MOST_CHUNK_BYTES = 1 << 29
# What is larger than this may be so many times as large as what is stored of it.
_PLAIN_BYTES, _MOST_TIMES = 1 << 28, 200
# Of an attribute; none that says what numbers are has more.
_MOST_VALUES = 1024


class HDF5File:
    """An open file, whose items are looked for in itself alone."""

    def __init__(self, file: Any, path: Path, kind: type[EosinError]) -> None:
        """Take an open `h5py.File`; `kind` is the error of what it must not hold."""
        self._file, self._path, self._kind = file, path, kind

    @property
    def names(self) -> list[str]:
        """What lies at its root."""
        return list(self._file)

    def find(self, name: str, *, is_checked: bool = False) -> Any:
        """Find a group, or a data set that is what it says; None where there is none.

        An error where it lies in another file, or is larger than what is stored of it;
        the latter was seen to before where it `is_checked`.
        """
        item, todo, n_links = self._file, _split(name), 0
        while todo:
            part = todo.pop()
            if not isinstance(item, h5py.Group) or part not in item:
                return None
            link = item.get(part, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise self._refuse(name, f"lies in another file ({link.filename})")
            if not isinstance(link, h5py.SoftLink):
                item = item[part]
                continue
            n_links += 1
            if n_links > _MOST_LINKS:
                raise self._refuse(name, "is a link that leads round in a circle")
            todo += _split(link.path)
            item = self._file if link.path.startswith("/") else item
        if isinstance(item, h5py.Dataset):
            problem = _find_outside(item) or ("" if is_checked else _find_lie(item))
            if problem:
                raise self._refuse(name, problem)
        return item

    def read_attributes(self, name: str = "/", *keys: str) -> dict[str, Any]:
        """Read an item's attributes, all or some, as Python's values.

        Long ones are left out, and those of types that Python has not.
        """
        found: dict[str, Any] = {}
        attributes: Any = getattr(self.find(name, is_checked=True), "attrs", {})
        for key in keys or attributes:
            if key not in attributes:
                continue
            # One of a type that NumPy has not says nothing that is asked for.
            with suppress(TypeError, ValueError, OSError):
                if math.prod(attributes.get_id(key).shape or ()) <= _MOST_VALUES:
                    found[key] = _to_python(attributes[key])
        return found

    def _refuse(self, name: str, problem: str) -> EosinError:
        return self._kind(
            f"{self._path}: its '{name}' {problem}; make the file again, with all of "
            "its numbers in it"
        )


@contextmanager
def open_hdf5(
    path: Path,
    kind: type[EosinError],
    failure: str,
    *,
    remedy: str = "",
    data: bytes | None = None,
) -> Iterator[HDF5File]:
    """Open a file, or its unpacked bytes where there are any, in a `with` block.

    Whatever goes wrong in the block becomes an error of `kind`, as by `raising`, that
    says `failure` of the file.
    """
    failure = f"{path}: {failure}"
    with raising(kind, failure, remedy=remedy):
        require_regular(path)
        with h5py.File(path if data is None else io.BytesIO(data), "r") as file:
            yield HDF5File(file, Path(path), kind)


def can_map(data: Any) -> bool:
    """Say whether a data set's numbers lie in one piece, as NumPy knows them.

    HDF5 has types that it turns into others while it reads, such as bfloat16.
    """
    return bool(
        data.size
        and data.id.get_offset() is not None
        and data.id.get_type().equal(h5py.h5t.py_create(data.dtype))
    )


def _split(name: str) -> list[str]:
    """Split a path into its parts, the last one first."""
    return [part for part in reversed(name.split("/")) if part not in ("", ".")]


def _find_outside(data: Any) -> str:
    """Say that a data set takes its numbers from elsewhere; an empty text if not."""
    storage = data.id.get_create_plist()
    is_outside = (
        storage.get_layout() == h5py.h5d.VIRTUAL or storage.get_external_count()
    )
    return "takes its numbers from other files" if is_outside else ""


def _find_lie(data: Any) -> str:
    """Say why a data set is not what it says; an empty text where it is."""
    shape, stored = data.shape or (), data.id.get_storage_size()
    if data.chunks:
        size = math.prod(data.chunks) * data.dtype.itemsize
        if size > _MOST_CHUNK_BYTES:
            return f"has chunks of {size / 1e9:.1f} GB"
        pairs = zip(shape, data.chunks, strict=True)
        n_chunks = math.prod(-(-length // step) for length, step in pairs)
        if data.id.get_num_chunks() < n_chunks:
            return f"says {shape}, of which only a part was ever written"
    elif data.size and not stored:
        return f"says {shape}, of which nothing was ever written"
    if data.nbytes > max(_PLAIN_BYTES, _MOST_TIMES * stored):
        return f"says {shape}, {data.nbytes / 1e9:.1f} GB, and stores {stored:,} bytes"
    return ""


def _to_python(value: Any) -> Any:
    """Turn a single value of NumPy's into Python's, and bytes into text."""
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = value.reshape(()).item()
    return value.decode(errors="replace") if isinstance(value, bytes) else value
