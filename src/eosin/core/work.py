"""Working on many items at once, where one bad item stops nothing.

What is done is kept as a part of its own, so that a second call works only on items
that are new, were changed, or failed.
"""

import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from eosin.core.errors import RunError, raising
from eosin.core.files import read_json, require_own_files, to_file_name, write_json
from eosin.core.progress import Progress, Task
from eosin.core.runs import RunRecord, SlideFailure

Result = TypeVar("Result")

# Seconds that items in work may take to end after an interruption.
_GRACE_S = 1.0
# Microseconds of processor that a Linux container has of how many, or `max`.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def count_cores() -> int:
    """Count the processor cores that this process may use, as far as the system says.

    A batch system's binding and a container's quota count, one begun as a whole one.
    """
    n_cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        n_cores = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):
        quota, period = map(int, _QUOTA.read_text().split())
        n_cores = min(n_cores, math.ceil(quota / period))
    return max(1, n_cores)


class StoppedError(Exception):
    """Work was left off, as nobody waits for it any more."""


class Stop:
    """Whether what began some work on other threads still waits for it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Say that nobody waits any more."""
        self._event.set()

    def require_wanted(self) -> None:
        """Raise `StoppedError` where nobody waits; between two steps of long work."""
        if self._event.is_set():
            raise StoppedError

    def bind(self, work: Callable[..., Result]) -> Callable[..., Result]:
        """Let work find this as `find_stop` on whatever thread it is done."""

        def bound(*arguments: Any) -> Result:
            before, _thread.stop = find_stop(), self
            try:
                self.require_wanted()
                return work(*arguments)
            finally:
                _thread.stop = before

        return bound


def find_stop() -> Stop:
    """Find what the work on this thread is to heed; of none one that is never set."""
    stop: Stop = getattr(_thread, "stop", _NEVER)
    return stop


_thread = threading.local()
_NEVER = Stop()


class WorkItem(Protocol):
    """A slide, a patient's slides, a drawn bag, or whatever else is worked on."""

    @property
    def item_id(self) -> str:
        """What it leaves is named after it."""

    @property
    def key(self) -> str:
        """Hash of all that its result depends on."""

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """What tables list of it where it fails."""


Item = TypeVar("Item", bound=WorkItem)


class Items(Generic[Item]):
    """What a command is asked to work on, and the parts that earlier calls left.

    Attributes:
        asked: All that is asked for.
        todo: Those of them that have no part under their key.

    Args:
        record: Of the call. It takes the failures.
        asked: Each with an id of its own.

    Raises:
        RunError: Two ids would have one file on Windows and macOS.
    """

    def __init__(self, record: RunRecord, asked: Sequence[Item]) -> None:
        self._record, self.asked = record, asked
        require_own_files((item.item_id for item in asked), "ids")
        self.todo = [item for item in asked if not self._is_done(item)]

    def run(
        self,
        work: Callable[[Item], Mapping[str, Any]],
        progress: Progress,
        *,
        name: str,
        workers: int = 1,
    ) -> None:
        """Work on what is to be done, on threads.

        `work` gives what an item's part holds, as JSON can write it. An item whose work
        raises is recorded in the record's failures, and the others go on. An output
        that cannot be written (`RunError`) stops everything: it would stop every item.
        """

        def keep(item: Item) -> None:
            part = self.find_part(item.item_id)
            part.unlink(missing_ok=True)
            # Last of all: with its part, an item has all of its files.
            write_json(part, {"key": item.key, **work(item)})

        with progress.task(name, len(self.todo)) as task:
            for item, error in _work_on(keep, self.todo, task, workers):
                message = str(error) or type(error).__name__
                failure = SlideFailure(item.item_id, self._record.command, message)
                self._record.failures.append(failure)
                content = {"failure": asdict(failure), "rows": list(item.rows)}
                write_json(self.find_part(item.item_id), content)

    def gather(self) -> list[dict[str, Any]]:
        """Read the parts: of what was asked for, in its order, then of earlier calls.

        Failures of earlier calls, of items that nobody asked for again, are recorded
        once more: else a call for other items would call work done that is not.
        """
        asked = {self.find_part(item.item_id) for item in self.asked}
        others = [
            _read_part(path)
            for path in sorted(self._folder.glob("*.json"))
            if path not in asked
        ]
        failed = [part for part in others if "failure" in part]
        self._record.failures += [SlideFailure(**part["failure"]) for part in failed]
        parts = [part for _, part in self.read()]
        return [*parts, *(p for p in others if "failure" not in p), *failed]

    def read(self) -> Iterator[tuple[Item, dict[str, Any]]]:
        """Read the part of each item that was asked for; failed ones have `failure`."""
        for item in self.asked:
            yield item, _read_part(self.find_part(item.item_id))

    def find_part(self, item_id: str, suffix: str = ".json") -> Path:
        """Return where an item's part is kept, or another file beside it."""
        return self._folder / (to_file_name(item_id) + suffix)

    @property
    def _folder(self) -> Path:
        return self._record.folder / "parts"

    def _is_done(self, item: Item) -> bool:
        try:
            part = _read_part(self.find_part(item.item_id))
        except RunError:
            return False
        return bool(part.get("key") == item.key)


def _read_part(path: Path) -> dict[str, Any]:
    """Read a part; one that is damaged is a `RunError` that says what to do."""
    remedy = "it is damaged: delete it, and the same command does its work again"
    with raising(RunError, f"{path}: is no part of this work", remedy=remedy):
        part: dict[str, Any] = read_json(path)
        if "failure" in part:
            SlideFailure(**part["failure"])
        if not all(isinstance(row, dict) for row in part.get("rows", ())):
            raise TypeError("its rows must be JSON objects")
    return part


def _work_on(
    work: Callable[[Item], None], items: Sequence[Item], task: Task, workers: int
) -> Iterator[tuple[Item, Exception]]:
    """Work on each item on threads; yield those that fail."""
    executor = ThreadPoolExecutor(max(1, workers), thread_name_prefix="item")
    futures: dict[Future[None], Item] = {executor.submit(work, i): i for i in items}
    waits = True
    try:
        for future in as_completed(futures):
            item = futures[future]
            try:
                future.result()
            except RunError:
                raise
            except Exception as error:  # noqa: BLE001 - the one place; it is recorded
                yield item, error
                task.advance(note=f"{item.item_id} failed")
            else:
                task.advance(note=item.item_id)
    except KeyboardInterrupt:
        # Whoever interrupts does not want to wait for an item in the middle; one
        # that is about to be written may be.
        waits = False
        executor.shutdown(wait=False, cancel_futures=True)
        wait([f for f in futures if not f.cancelled()], timeout=_GRACE_S)
        raise
    finally:
        executor.shutdown(wait=waits, cancel_futures=True)
