"""Writing files whole or not at all, and telling files apart."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
import threading
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eosin.core.errors import RunError, raising

# Two threads that each set it and put it back would leave the wrong one.
_UMASK_LOCK = threading.Lock()
_BLOCK_BYTES = 1 << 20
# Of the 255 bytes of most file systems; suffixes come behind it.
_LONGEST_NAME = 180
# What systems forbid, nobody sees, or turns the direction of writing.
_FORBIDDEN = re.compile(
    r'[%<>:"/\\|?*\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069'
    r"\ufeff\ud800-\udfff]"
)
# Windows' devices, whatever their suffix.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_JSON_KINDS: dict[type, str] = {dict: "object", list: "list"}
# How a name ends that was cut.
_CUT = re.compile(r"~[0-9a-f]{12}\Z")
_CUT_LENGTH = 13


def require_other_file(path: Path, inputs: Iterable[Path | str]) -> None:
    """Stop where a file that is to be written is one of the inputs.

    Raises:
        RunError: It is; its name is told.
    """
    places = [Path(place) for place in inputs]
    if path.exists() and any(p.exists() and path.samefile(p) for p in places):
        raise RunError(f"{path}: is an input of this command; name another file")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block succeeds.

    The temporary file or folder lies beside `path`, so that the move is one rename,
    and keeps its suffix. Whatever the block raises, nothing half-written is left
    behind, and an older file at `path` stays as it was. The content is on the disk
    before the move, so that a loss of power leaves the older file or the whole new one.

    Raises:
        RunError: The folder cannot be made or written, the disk is full, a text holds
            half a character, or there is a pipe or a device of this name.
    """
    path = Path(path)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise RunError(f"{path}: is a pipe or a device; name a file to write to")
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
        for part in (temporary, *temporary.rglob("*")):
            _reach_disk(part)
        if temporary.is_file():
            # mkstemp makes private files; results are for everybody's reading.
            temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _reach_disk(path.parent)
    except OSError as error:
        raise _write_error(path, error) from error
    except UnicodeEncodeError as error:
        raise RunError(
            f"{path}: cannot hold {error.object[error.start : error.end]!r}, which is "
            "no character of Unicode; give the slide or class that has it in its name "
            "another name"
        ) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON; NaN is refused, not written."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(
    path: Path,
    kind: type = dict,
    *,
    remedy: str = "it is damaged: do the work again that wrote it, with --overwrite",
) -> Any:
    """Read a JSON file that holds an object, or what `kind` says.

    Raises:
        RunError: It is missing, damaged, or holds something else.
    """
    path = Path(path)
    try:
        with raising(RunError, f"{path}: cannot be read as JSON", remedy=remedy):
            require_regular(path)
            text = path.read_text(encoding="utf-8")
            content = json.loads(
                text, parse_float=_to_finite, parse_constant=_to_finite
            )
    except RunError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise RunError(f"{path}: no such file") from error.__cause__
        raise
    if not isinstance(content, kind):
        raise RunError(
            f"{path}: must hold a JSON {_JSON_KINDS[kind]}, holds a "
            f"{type(content).__name__}; {remedy}"
        )
    return content


def _to_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that can be worked with")
    return number


def require_regular(path: Path) -> None:
    """Raise `OSError` where a path is a pipe, a device or a socket.

    Opening or reading one may never end. A folder, or nothing, fails when it is opened.
    """
    mode = Path(path).stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(
            errno.EINVAL, "a pipe, a device or a socket, and not a file", str(path)
        )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    require_regular(path)
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
    require_regular(path)
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

    What a system forbids, hides or takes off is written as `%` and its bytes. A very
    long name is cut, and told apart by a hash of all of it. Whether two names are one
    file where a system does not tell capitals is for `require_own_files`.
    """
    safe = _FORBIDDEN.sub(_escape, name)
    # A first dot hides a file; Windows drops a last dot or space.
    safe = re.sub(r"^\.|[. ]\Z", _escape, safe)
    if not safe:
        return "%"
    if _DEVICE.fullmatch(safe):
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    # A name that looks like one that was cut must not be taken for it.
    if len(safe.encode()) <= _LONGEST_NAME and not _is_cut(safe):
        return safe
    start = safe.encode()[: _LONGEST_NAME - _CUT_LENGTH].decode(errors="ignore")
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return f"{start}~{digest[:12]}"


def from_file_name(stem: str) -> str:
    """Return the id whose file has this name, without its suffix.

    A name that `to_file_name` did not make, or that it cut, is taken as it is.
    """
    name = "" if stem == "%" else urllib.parse.unquote(stem, errors="surrogatepass")
    return name if to_file_name(name) == stem else stem


def match_file_name(stem: str) -> str:
    """Return what `to_file_name` makes of a file's id, whoever named the file."""
    return stem if _is_cut(stem) else to_file_name(from_file_name(stem))


def require_own_files(names: Iterable[str], noun: str) -> None:
    """Stop where two names are one file for Windows and macOS.

    These do not tell `a` from `A`, nor an accent from the same one written as two
    characters. `noun` says what is called so, such as `slides`.

    Raises:
        RunError: There are such names; two are named.
    """
    seen: dict[str, str] = {}
    for name in dict.fromkeys(names):
        file = unicodedata.normalize("NFD", to_file_name(name)).casefold()
        other = seen.setdefault(unicodedata.normalize("NFC", file), name)
        if other != name:
            raise RunError(
                f"the {noun} {other!a} and {name!a} would have one file on "
                "Windows and macOS, which do not tell capitals and spellings of "
                "accents apart; give one of them another id"
            )


def _is_cut(name: str) -> bool:
    """Whether a file's name is one that was cut, or looks like it."""
    # Less than a whole character may be missing.
    is_long = _LONGEST_NAME - 4 < len(os.fsencode(name)) <= _LONGEST_NAME
    return is_long and _CUT.search(name) is not None


def _escape(match: re.Match[str]) -> str:
    """Write a character as `%` and the hexadecimal digits of each of its bytes."""
    return "".join(f"%{byte:02X}" for byte in match[0].encode(errors="surrogatepass"))


def _reach_disk(path: Path) -> None:
    """Wait until a file or, where a system can, a folder is on the disk."""
    is_posix = os.name == "posix"
    if path.is_dir() and not is_posix:
        return
    handle = os.open(path, os.O_RDONLY if is_posix else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network disks cannot.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    """Read the process's umask, which can only be read by setting it."""
    with _UMASK_LOCK:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


def _write_error(path: Path, error: OSError) -> RunError:
    """Turn an operating-system error into one that names the output."""
    return RunError(f"{path}: cannot be written ({error.strerror or error})")
