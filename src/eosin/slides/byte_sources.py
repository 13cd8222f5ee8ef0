"""Where the bytes of a slide's tiles come from: a file here, or one far away."""

import io
import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from eosin.core import MissingExtraError, SlideError, raising, require_regular

# Where a slide may lie that is not here. Other file systems of fsspec read files of
# this machine by another name, run what they are told to, or keep copies.
SCHEMES = ("http", "https", "s3", "gs")

# An address begins with a scheme, of two letters or more as one is a drive, or with a
# chain of them; `data` has no slashes. Folders may be called `a:` too, after a slash.
_ADDRESS = re.compile(r"(?i)([a-z][a-z0-9+_-]+)(?:://|::.*://)|data:[\w./+-]*[;,]")

# Read at once of a file's index.
_BLOCK_BYTES = 1 << 20

# Seconds that a server may take to answer, and may fall silent.
_ANSWER_S, _SILENCE_S, _REQUEST_S = 20, 20, 120


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
        with raising(SlideError, f"{path}: cannot be read"):
            require_regular(path)
            self._descriptor = os.open(path, flags)
            self.size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, count: int) -> bytes:  # noqa: D102 - as ByteSource says
        try:
            if hasattr(os, "pread"):
                return os.pread(self._descriptor, count, offset)
            # Windows has no reading by place.
            with self._lock:
                os.lseek(self._descriptor, offset, os.SEEK_SET)
                return os.read(self._descriptor, count)
        except Exception as error:
            raise SlideError(
                f"{self.name}: {count} bytes at {offset} cannot be read ({error})"
            ) from error

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class RemoteFile(ByteSource):
    """A file behind an address of one of `SCHEMES`; each read is one range request."""

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
            if self.url[:4].lower() == "http":
                data = _fetch_http(self._files, self._path, offset, end)
            else:
                data = bytes(self._files.cat_file(self._path, start=offset, end=end))
        if len(data) > end - offset:
            raise SlideError(
                f"{self.url}: the server must answer range requests, and it sends the "
                "whole file instead; copy the file here"
            )
        return data

    def open(self) -> io.BufferedReader:
        """Open it as a file object, read in large blocks, for its index."""
        return io.BufferedReader(_Stream(self), _BLOCK_BYTES)

    @contextmanager
    def _saying(self, failure: str) -> Iterator[None]:
        """Turn whatever a file system raises into what failed, and why."""
        try:
            yield
        except Exception as error:
            raise SlideError(
                f"{self.url}: {failure} ({_find_reason(error)})"
            ) from error


class _Stream(io.RawIOBase):
    """A source as a file object."""

    def __init__(self, source: ByteSource) -> None:
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}
        self._at = max(0, starts[whence] + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _fetch_http(files: Any, url: str, start: int, end: int) -> bytes:
    """Fetch a range, and no more than a block beyond it of a server that goes on."""
    from fsspec.asyn import sync  # noqa: PLC0415 - an optional package

    async def fetch() -> bytes:
        session = await files.set_session()
        asked = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        data = bytearray()
        async with session.get(files.encode_url(url), headers=asked) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                raise FileNotFoundError(url)
            answer.raise_for_status()
            while len(data) <= end - start:
                block = await answer.content.readany()
                if not block:
                    break
                data += block
        return bytes(data)

    return bytes(sync(files.loop, fetch))


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
    """Tell whether a path is an address rather than a file of this machine.

    Of addresses those of `SCHEMES` alone are read. A `://` further on, behind a slash
    or a dot, is of a file's own name.
    """
    return _ADDRESS.match(str(path)) is not None


def _find_file_system(url: str) -> tuple[Any, str]:
    found = _ADDRESS.match(url)
    scheme = str(found and found[1]).lower()
    if scheme not in SCHEMES or "::" in url:
        raise SlideError(
            f"{url[:200]}: slides are read from files of this machine, by their paths, "
            f"and from addresses that begin with {'://, '.join(SCHEMES)}://, without "
            "'::'; copy the file here"
        )
    try:
        import fsspec  # noqa: PLC0415 - an optional package

        return fsspec.core.url_to_fs(  # type: ignore[no-any-return]
            scheme + url[len(scheme) :], **_limit_time(scheme)
        )
    except ImportError as error:
        raise MissingExtraError(
            f"{url}: slides behind a URL need the extra packages of "
            f"`pip install eosin[remote]` ({error})"
        ) from error
    except Exception as error:
        raise SlideError(f"{url}: not a URL that can be read ({error})") from error


def _limit_time(scheme: str) -> dict[str, Any]:
    """Give the time that a server may take; those of buckets limit it themselves."""
    if not scheme.startswith("http"):
        return {}
    import aiohttp  # noqa: PLC0415 - an optional package

    limits = aiohttp.ClientTimeout(
        total=_REQUEST_S, sock_connect=_ANSWER_S, sock_read=_SILENCE_S
    )
    return {"client_kwargs": {"timeout": limits}}
