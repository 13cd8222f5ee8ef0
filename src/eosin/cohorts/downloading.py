"""Downloading large files: with resume, checksums and progress."""

import functools
import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from eosin.core import Progress, RunError, Task, require_free_space

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 60.0
# The largest file that is published has 6 GiB.
_MOST_BYTES = 64 << 30
_ATTEMPTS = 6
# Before a second attempt; each further one waits twice as long.
_WAIT_S = 2.0
# Answers that another attempt can change; others are final.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def download_file(
    url: str,
    path: Path,
    *,
    md5: str,
    progress: Progress | None = None,
) -> bool:
    """Download a file, or the rest of it, and hold it against its MD5.

    What has come so far lies beside it as `<name>.part`, and the next call goes on
    from there. A file that is there already is checked, and kept if it is right.

    Args:
        url: `http` or `https`.
        path: Where the file goes.
        md5: Its checksum, 32 hexadecimal digits.
        progress: Told of the bytes.

    Returns:
        Whether anything was downloaded.

    Raises:
        RunError: The server does not answer or has no such file, the checksum is
            another, or the disk is too small.
    """
    progress = progress or Progress()
    if path.exists():
        if _hash(path) == md5:
            return False
        raise RunError(
            f"{path}: is there already, and its MD5 is not {md5}; delete it to "
            "download it again"
        )
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with progress.task(f"Fetching {path.name}, bytes", None) as task:
        if part.exists():
            task.advance(part.stat().st_size)
        _download(url, part, task)
    found = _hash(part)
    if found != md5:
        part.unlink()
        raise RunError(
            f"{path}: the download is damaged or another file: its MD5 must be {md5}, "
            f"is {found}; it was deleted, try again"
        )
    part.replace(path)
    return True


def _download(url: str, part: Path, task: Task) -> None:
    """Ask for the rest of a file until all of it is there."""
    failed = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _fetch_rest(url, part, task):
                return
            problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            problem = f"the server answers {error.code} {error.reason}"
            if error.code not in _PASSING:
                raise RunError(f"{url}: {problem}") from error
        except ValueError as error:
            # Of an address, or of a length that is no number.
            raise RunError(f"{url}: cannot be downloaded ({error})") from error
        except (OSError, http.client.HTTPException) as error:
            problem = str(getattr(error, "reason", "") or error)
        # As long as something comes, it goes on.
        is_better = part.exists() and part.stat().st_size > before
        failed = 1 if is_better else failed + 1
        if failed >= _ATTEMPTS:
            raise RunError(
                f"{url}: cannot be downloaded ({problem}, {failed} times); what has "
                "come is kept, the same command goes on from there"
            )
        time.sleep(_WAIT_S * 2 ** (failed - 1))


def _fetch_rest(url: str, part: Path, task: Task) -> bool:
    """Ask once for what is missing; tell whether the file is whole now."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(
        url, headers={"User-Agent": "eosin", "Range": f"bytes={start}-"}
    )
    if request.type not in ("http", "https"):
        raise RunError(f"{url}: an address must begin with http:// or https://")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        # There is nothing beyond the end: the file is whole, or too long.
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            error.close()
            return True
        error.close()
        raise
    with answer:
        if answer.status != http.client.PARTIAL_CONTENT and start:
            # A server that cannot resume sends everything again.
            task.advance(-start)
            start = 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        if total is not None:
            require_free_space(part.parent, total - start, "downloading")
        with part.open("ab" if start else "wb") as out:
            while block := answer.read(_BLOCK_BYTES):
                # A server may send more than it says, or never say.
                require_free_space(part.parent, len(block), "downloading")
                if (start := start + len(block)) > _MOST_BYTES:
                    raise RunError(f"{url}: over {_MOST_BYTES >> 30} GiB; no such file")
                out.write(block)
                task.advance(len(block))
    return total is None or part.stat().st_size == total


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        # The published checksums are of this kind; nothing is kept secret by it.
        digest = functools.partial(hashlib.md5, usedforsecurity=False)
        return hashlib.file_digest(stream, digest).hexdigest()
