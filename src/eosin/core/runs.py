"""The record that every command leaves beside what it wrote: `run.json`."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from eosin.core.errors import RunError, raising
from eosin.core.files import read_json, write_json
from eosin.core.plain import from_plain, to_plain

Result = TypeVar("Result")

RUN_FORMAT = 1
_FILE = "run.json"
# What a command may have left before it had a result.
_WORTHLESS = {_FILE, "splits.csv", "encoder.onnx"}
_LOCK = ".run.lock"
_AGAIN = "add --overwrite to do the work again"
# What `atomic_path` calls a file while it is written.
_LEFTOVER = re.compile(r"\..*-[a-z0-9_]{8}\.part(\.[^.]*)?", re.DOTALL)
_PACKAGES = ("eosin", "numpy", "keras", "torch", "onnxruntime", "openslide-python")


@dataclass(frozen=True)
class SlideFailure:
    """One slide that a command (`step`) gave up on; the others went on."""

    slide_id: str
    step: str
    message: str


@dataclass
class RunRecord:
    """One command's work in one folder, while it goes on.

    Attributes:
        folder: Where the command writes.
        command: The command's name, such as `tile`.
        settings: What the work depends on, as JSON can write it.
        inputs: Hash of each input, by a name that the user knows.
        seed: The seed of all randomness; None where there is none.
        is_done: True where the same work was finished here before, with no slide
            given up on; `reopen` takes it up again.
        failures: Slides that were given up on, in the order they failed.
        notes: Anything the command adds to its record.
    """

    folder: Path
    command: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    seed: int | None
    is_done: bool = False
    failures: list[SlideFailure] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    _seconds_before: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def reopen(self) -> None:
        """Take finished work up again, because an input has changed."""
        if self.is_done:
            self.is_done = False
            self.failures.clear()
            self.save("running")

    def once(
        self,
        kind: type[Result],
        work: Callable[[], Result],
        **read: Callable[[], Any],
    ) -> Result:
        """Do the work and note its result, or read what it was where it is done.

        The result's fields stand in `notes` under their names, and come back with
        their types: plain values, None, paths, tuples, lists, mappings (by text or
        number) and dataclasses of these. Its `folder` and `failures` are the record's.
        What no note can hold, such as a table, is given by a function of `read`.

        Raises:
            RunError: The work was done by a version that noted other fields.
            TypeError: A field can neither be noted nor read.
        """
        hints = typing.get_type_hints(kind)
        own: dict[str, Any] = {"folder": self.folder, "failures": tuple(self.failures)}
        noted = [name for name in hints if name not in own and name not in read]
        if self.is_done:
            unnoted = {name: get() for name, get in read.items()}
        else:
            result = work()
            own["failures"] = tuple(self.failures)
            unnoted = {name: getattr(result, name) for name in read}
            for name in noted:
                try:
                    self.notes[name] = to_plain(getattr(result, name), self.folder)
                except TypeError as error:
                    raise TypeError(f"{kind.__name__}.{name}: {error}") from error
        if missing := [name for name in noted if name not in self.notes]:
            raise RunError(
                f"{self.folder / _FILE}: lacks {', '.join(missing)}, since another "
                "version of eosin wrote it; add --overwrite to do the work again"
            )
        own = {name: value for name, value in own.items() if name in hints}
        with raising(RunError, f"{self.folder / _FILE}: is damaged", remedy=_AGAIN):
            values = {
                name: from_plain(self.notes[name], hints[name], self.folder)
                for name in noted
            }
        return kind(**own, **values, **unnoted)

    def save(self, status: str) -> None:
        """Write `run.json`.

        The status is `running`, `done`, `incomplete` (slides were given up on),
        `failed` or `interrupted`.
        """
        write_json(
            self.folder / _FILE,
            {
                "format": RUN_FORMAT,
                "command": self.command,
                "status": status,
                "settings": self.settings,
                "inputs": self.inputs,
                "seed": self.seed,
                "wall_seconds": round(self.wall_seconds, 3),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": find_versions(),
                "failures": [asdict(failure) for failure in self.failures],
                "notes": self.notes,
            },
        )

    @property
    def wall_seconds(self) -> float:
        """Seconds worked so far, those before an interruption included."""
        return self._seconds_before + time.monotonic() - self._started


@contextmanager
def open_run(
    folder: Path,
    command: str,
    *,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str] | None = None,
    seed: int | None = None,
    overwrite: bool = False,
    outputs: Sequence[str] = (),
) -> Iterator[RunRecord]:
    """Record one command's work in `folder` for the length of a block.

    The same settings and inputs as recorded there mean that the work is
    finished (`is_done`) or to be resumed. Others stop the command, unless
    `overwrite` allows to remove what it wrote.

    Args:
        folder: Where the command writes; made when missing.
        command: The command's name.
        settings: What the work depends on, as JSON can write it.
        inputs: Hash of each input file.
        seed: The seed of all randomness.
        overwrite: Start anew where other settings were used before.
        outputs: Glob patterns, relative to `folder`, of what the command
            writes; only these are ever removed.

    Raises:
        RunError: The folder holds other work, another command works in it just now,
            or it cannot be written.
    """
    folder = Path(folder)
    record = RunRecord(folder, command, dict(settings), dict(inputs or {}), seed)
    with _hold(folder):
        yield from _work(record, overwrite=overwrite, outputs=outputs)


@contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """Keep other commands out of a folder; its lock ends with the process."""
    lock = FileLock(folder / _LOCK, blocking=False)
    try:
        if not folder.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout as error:
        raise RunError(
            f"{folder}: another eosin command is at work in this folder; wait for it, "
            "or choose another folder"
        ) from error
    except (OSError, NotImplementedError):
        # A folder that cannot be written says so when something is to be written,
        # and some network disks know no locks.
        pass
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):
                (folder / _LOCK).unlink()
            lock.release()


def _work(
    record: RunRecord, *, overwrite: bool, outputs: Sequence[str]
) -> Iterator[RunRecord]:
    """Heed the older record, yield the new one, and keep it up to date."""
    folder = record.folder
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; name a folder to write to")
    if (folder / _FILE).exists() and overwrite:
        _remove_outputs(folder, outputs)
    elif (folder / _FILE).exists():
        _resume(record, _read_older(folder / _FILE), outputs)
    if not record.is_done:
        record.save("running")
        _remove_leftovers(folder)
    status = "failed"
    try:
        yield record
        status = "incomplete" if record.failures else "done"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        if not record.is_done:
            record.save(status)
        if status == "interrupted":
            # Threads that still wrote are not waited for.
            _remove_leftovers(folder)


def read_record(folder: Path) -> dict[str, Any]:
    """Read the `run.json` of a folder, whatever command wrote it.

    `settings`, `inputs` and `notes` are mappings, empty where the folder has no record;
    a damaged one is a `RunError`.
    """
    path = Path(folder) / _FILE
    record = read_json(path) if path.is_file() else {}
    parts: dict[str, Any] = {"settings": {}, "inputs": {}, "notes": {}}
    if not isinstance(record, dict) or not all(
        isinstance(record.get(name, {}), dict) for name in parts
    ):
        raise RunError(
            f"{path}: is damaged, or no record of eosin's; do the work again"
        )
    return parts | record


def _read_older(path: Path) -> dict[str, Any]:
    """Read the record that an earlier command left."""
    older = read_record(path.parent)
    if older.get("format") != RUN_FORMAT:
        raise RunError(
            f"{path}: was written by another version of eosin (record format "
            f"{older.get('format', 'unknown')}, this version reads {RUN_FORMAT}); add "
            "--overwrite or choose another folder"
        )
    return older


def _resume(
    record: RunRecord, older: Mapping[str, Any], outputs: Sequence[str]
) -> None:
    """Go on where an earlier command stood, if it did the same work."""
    differences = _find_differences(older, record)
    if differences and _is_void(older, record.folder, outputs):
        _remove_outputs(record.folder, outputs)
        return
    if differences:
        raise RunError(
            f"{record.folder}: holds the result of other settings "
            f"({'; '.join(differences)}); add --overwrite to replace it, or choose "
            "another folder"
        )
    record.is_done = older.get("status") == "done"
    seconds: Any = older.get("wall_seconds")
    is_number = isinstance(seconds, int | float)
    record._seconds_before = float(seconds) if is_number else 0.0
    if record.is_done:
        record.notes = dict(older.get("notes", {}))


def _is_void(older: Mapping[str, Any], folder: Path, outputs: Sequence[str]) -> bool:
    """Whether a command failed here before it had any result worth keeping."""
    written = [path for pattern in outputs for path in folder.glob(pattern)]
    inside = [path for place in written for path in place.rglob("*")]
    return older.get("status") == "failed" and not any(
        path.is_file() and path.name not in _WORTHLESS and not _is_failure(path)
        for path in (*written, *inside)
    )


def _is_failure(path: Path) -> bool:
    """Whether a part only says why there is none."""
    return path.suffix == ".json" and "failure" in read_json(path)


def _find_differences(older: Mapping[str, Any], record: RunRecord) -> list[str]:
    """Name what differs between a record and the work to be done, in words."""
    if older.get("command") != record.command:
        return [f"it was written by '{older.get('command')}', not '{record.command}'"]
    now: dict[str, Any] = {**record.settings, "seed": record.seed}
    then: dict[str, Any] = {**older.get("settings", {}), "seed": older.get("seed")}
    differences = [
        f"{name} was {_shorten(then.get(name))}, is {_shorten(now.get(name))}"
        for name in sorted(now.keys() | then.keys())
        if to_plain(now.get(name)) != to_plain(then.get(name))
    ]
    inputs_then = older.get("inputs", {})
    differences += [
        f"input {name} changed"
        for name in sorted(record.inputs.keys() | inputs_then.keys())
        if record.inputs.get(name) != inputs_then.get(name)
    ]
    return differences


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _remove_outputs(folder: Path, outputs: Sequence[str]) -> None:
    for pattern in outputs:
        for path in sorted(folder.glob(pattern), reverse=True):
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


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a run that was killed while writing.

    Folders below that have a record of their own may be at work just now.
    """
    for place, folders, files in os.walk(folder):
        parent = Path(place)
        if parent != folder and _FILE in files:
            folders.clear()
            continue
        for name in filter(_LEFTOVER.fullmatch, files):
            with suppress(OSError):
                (parent / name).unlink()
        for name in filter(_LEFTOVER.fullmatch, tuple(folders)):
            shutil.rmtree(parent / name, ignore_errors=True)
            folders.remove(name)


def find_versions() -> dict[str, str]:
    """Collect the versions that a result depends on, without importing them."""
    versions = {"python": sys.version.split()[0], "platform": platform.platform()}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
