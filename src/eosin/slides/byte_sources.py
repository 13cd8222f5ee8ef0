"""Where the bytes of a slide's tiles come from: a file here, or one far away."""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eosin.core import MissingExtraError, SlideError


class ByteSource(ABC):
    """Something that gives bytes by their place; safe from many threads.

    Attributes:
        name: What messages call it.
        size: Its length in bytes.
    """

    name: str
    size: int

    @abstractmethod
    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset` on, fewer only at the end."""


class LocalFile(ByteSource):
    """A file on a disk, read by place without a shared position.

    The descriptor is closed when nobody holds this object any longer, so that a
    slide closed in one thread never gives another thread somebody else's bytes.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        self.name = path.name
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        self._lock = threading.Lock()
        try:
            self._descriptor = os.open(path, flags)
            self.size = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise SlideError(
                f"{path}: cannot be read ({error.strerror or error})"
            ) from error

    def read(self, offset: int, count: int) -> bytes:  # noqa: D102 - as ByteSource says
        try:
            if hasattr(os, "pread"):
                return os.pread(self._descriptor, count, offset)
            # Windows has no reading by place.
            with self._lock:
                os.lseek(self._descriptor, offset, os.SEEK_SET)
                return os.read(self._descriptor, count)
        except (OSError, OverflowError) as error:
            raise SlideError(
                f"{self.name}: {count} bytes at {offset} cannot be read ({error})"
            ) from error

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class RemoteFile(ByteSource):
    """A file behind an fsspec URL; each read is one range request."""

    def __init__(self, url: str) -> None:
        self.name = url.rsplit("/", 1)[-1]
        self.url = url
        self._files, self._path = _find_file_system(url)
        with self._saying("cannot be reached"):
            size = self._files.info(self._path).get("size")
        if size is None:
            raise SlideError(
                f"{url}: the server must tell the file's size and answer range "
                "requests, and it does not; copy the file here"
            )
        self.size = int(size)

    def read(self, offset: int, count: int) -> bytes:  # noqa: D102 - as ByteSource says
        end = min(offset + count, self.size)
        if end <= offset:
            return b""
        with self._saying(f"{count} bytes at {offset} cannot be read"):
            data = bytes(self._files.cat_file(self._path, start=offset, end=end))
        if len(data) > end - offset:
            raise SlideError(
                f"{self.url}: the server must answer range requests, and it sends the "
                "whole file instead; copy the file here"
            )
        return data

    def open(self) -> Any:
        """Open it as a file object, read in large blocks, for its index."""
        with self._saying("cannot be opened"):
            return self._files.open(self._path, "rb", block_size=1 << 20)

    @contextmanager
    def _saying(self, failure: str) -> Iterator[None]:
        """Turn whatever a file system raises into what failed, and why."""
        try:
            yield
        except Exception as error:
            raise SlideError(
                f"{self.url}: {failure} ({_find_reason(error)})"
            ) from error


def _find_reason(error: BaseException) -> str:
    """Say what lies behind an error: an HTTP status, or the first error's own words.

    File systems answer many failures with the address alone, and keep the reason in
    the error that theirs came from.
    """
    while deeper := error.__cause__ or (
        None if error.__suppress_context__ else error.__context__
    ):
        error = deeper
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return f"HTTP status {status} {getattr(error, 'message', '')}".rstrip()
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def is_remote(path: str | Path) -> bool:
    """Tell whether a path is a URL rather than a file of this machine."""
    return "://" in str(path)


def _find_file_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec  # noqa: PLC0415 - an optional package

        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except ImportError as error:
        raise MissingExtraError(
            f"{url}: slides behind a URL need the extra packages of "
            f"`pip install eosin[remote]` ({error})"
        ) from error
    except ValueError as error:
        raise SlideError(f"{url}: not a URL that can be read ({error})") from error
