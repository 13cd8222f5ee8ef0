"""Bounds on what a TIFF's directories ask for, held before anything parses them.

A few bytes can name a directory as its own successor, or one text a thousand times;
parsers believe both.

Source: TIFF 6.0, section 2, and BigTIFF's design (awaresystems.be).
"""

import functools
import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import tifffile

from eosin.core import SlideError
from eosin.slides.byte_sources import LocalFile

# Slides have some 20 directories; files of many planes, which are no slides, more.
MOST_DIRECTORIES = 1000
# Parsers take more for a mistake.
_MOST_TAGS = 4096
# 4 million tiles, of 262 Gpx, have 64 MB of places and lengths.
_MOST_VALUE_BYTES = 256 << 20

_SUB_DIRECTORIES = 330
# Bytes of one value, by the number of its type.
_SIZES = np.zeros(65_536, np.int64)
_SIZES[[1, 2, 6, 7]] = 1
_SIZES[[3, 8]] = 2
_SIZES[[4, 9, 11, 13]] = 4
_SIZES[[5, 10, 12, 16, 17, 18]] = 8

# Returns so many bytes from a place on, fewer at the end.
Read = Callable[[int, int], bytes]


@contextmanager
def open_tiff(path: Any) -> Iterator[Any]:
    """Open a TIFF with `tifffile`, once its directories are known to end.

    Args:
        path: The file, or a file object as `RemoteFile.open` gives it.

    Raises:
        SlideError: As `check_directories`, or the file cannot be read.
    """
    if isinstance(path, str | Path):
        source = LocalFile(Path(path))
        check_directories(source.name, source.size, source.read)
    else:
        # Far away; its blocks are kept.
        size = path.seek(0, io.SEEK_END)
        check_directories(path.name, size, functools.partial(_read_at, path))
        path.seek(0)
    with tifffile.TiffFile(path) as file:
        yield file


def _read_at(stream: BinaryIO, offset: int, count: int) -> bytes:
    stream.seek(offset)
    return stream.read(count)


def check_directories(name: str, size: int, read: Read) -> None:
    """Check that the directories of a TIFF end, and are not too large.

    Those that its chain and its SubIFDs lead to are walked, and no values are read.

    Args:
        name: What messages call the file.
        size: Its length in bytes.
        read: Reads from it.

    Raises:
        SlideError: A directory names an earlier one as the next, there are over 1000,
            or their values take over 256 MB.
    """
    directories = _Directories(size, read)
    seen: set[int] = set()
    branches: set[int] = set()
    at, n_bytes = directories.first, 0
    while at or branches:
        # The chain first, whose end is known; a branch is one directory.
        is_chain = bool(at)
        here = at if is_chain else branches.pop()
        if here in seen and is_chain:
            raise SlideError(
                f"{name}: its TIFF directory at byte {here} is named as the next of a "
                "later one, so that they never end; the file is damaged"
            )
        if here not in seen:
            seen.add(here)
            entries, following = directories.read_entries(here)
            branches.update(directories.iter_branches(entries))
            n_bytes += directories.count_bytes(entries)
            _check_amount(name, len(seen | branches), n_bytes)
        at = following if is_chain else 0


def _check_amount(name: str, n_directories: int, n_bytes: int) -> None:
    if n_directories > MOST_DIRECTORIES:
        raise SlideError(
            f"{name}: a slide has at most {MOST_DIRECTORIES} TIFF directories, this "
            "file has more; it is damaged, or a stack of another kind"
        )
    if n_bytes > _MOST_VALUE_BYTES:
        raise SlideError(
            f"{name}: the values of its TIFF directories may take "
            f"{_MOST_VALUE_BYTES >> 20} MB, they take {n_bytes >> 20}; the file is "
            "damaged"
        )


class _Directories:
    """The directories of one file, as they stand.

    Attributes:
        first: Where the first one is; 0 where there is none.
    """

    def __init__(self, size: int, read: Read) -> None:
        self._size, self._read = size, read
        head = read(0, 16).ljust(16, b"\0")
        self._order = ">" if head.startswith(b"MM") else "<"
        is_big = head[2:4] in (b"+\0", b"\0+")
        self._width = 8 if is_big else 4
        self._count = struct.Struct(f"{self._order}{'Q' if is_big else 'H'}")
        self._offset = struct.Struct(f"{self._order}{'Q' if is_big else 'I'}")
        kinds = {"tag": "u2", "type": "u2", "count": f"u{self._width}"}
        kinds = {name: self._order + kind for name, kind in kinds.items()}
        kinds["value"] = f"V{self._width}"
        self._kind = np.dtype([*kinds.items()])
        self.first = self._place(head[8:] if is_big else head[4:])

    def read_entries(self, at: int) -> tuple[npt.NDArray[Any], int]:
        """Read a directory's entries, and where the next one is; 0 for nowhere."""
        start = self._read(at, self._count.size)
        n_tags = self._count.unpack(start)[0] if len(start) == self._count.size else 0
        length = n_tags * self._kind.itemsize
        data = b""
        if 0 < n_tags <= _MOST_TAGS:
            data = self._read(at + self._count.size, length + self._width)
        if len(data) < length + self._width:
            return np.zeros(0, self._kind), 0
        return np.frombuffer(data, self._kind, n_tags), self._place(data[length:])

    def count_bytes(self, entries: npt.NDArray[Any]) -> int:
        """Count the bytes of all values that can be read, those inside entries too."""
        # As floats: a count of 64 bits times 8 may be more than 64 bits hold.
        sizes = entries["count"].astype(np.float64) * _SIZES[entries["type"]]
        return int(sizes[sizes <= self._size].sum())

    def iter_branches(self, entries: npt.NDArray[Any]) -> Iterator[int]:
        """Yield where the SubIFDs of a directory are."""
        for entry in entries[entries["tag"] == _SUB_DIRECTORIES]:
            width, data = int(_SIZES[entry["type"]]), entry["value"].tobytes()
            if width not in (4, 8):
                continue
            # One more than there may be is enough to say so.
            count = min(int(entry["count"]), MOST_DIRECTORIES + 1)
            if count * width > len(data):
                data = self._read(self._place(data), count * width)
            count = min(count, len(data) // width)
            places = np.frombuffer(data, f"{self._order}u{width}", count)
            yield from (at for at in places.tolist() if 0 < at < self._size)

    def _place(self, data: bytes) -> int:
        """Read an offset; 0 where it leads out of the file."""
        at = int(self._offset.unpack_from(data)[0])
        return at if at < self._size else 0
