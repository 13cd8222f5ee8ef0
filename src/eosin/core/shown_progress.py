"""Progress as it is shown: in a terminal, in a notebook, in a log file."""

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from eosin.core.progress import Progress, Task


def find_progress() -> Progress:
    """Find who watches: a notebook, a terminal, or nobody, who is told nothing."""
    shell = sys.modules.get("IPython")
    kernel = shell.get_ipython() if shell is not None else None
    if kernel is not None and type(kernel).__name__ == "ZMQInteractiveShell":
        return NotebookProgress()
    return TerminalProgress() if Console(stderr=True).is_terminal else Progress()


class _WatchedProgress(Progress):
    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        with find_progress().task(name, total) as task:
            yield task

    def say(self, text: str) -> None:
        find_progress().say(text)


WATCHED = _WatchedProgress()
"""What a call from Python shows by default; `progress=None` is silent."""


class TerminalProgress(Progress):
    """Shows tasks as bars on a terminal, and as lines elsewhere.

    It is the error stream unless told otherwise, so that results can be piped.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:  # noqa: D102
        if not self._console.is_terminal:
            task = _LineTask(self._console, name, total)
            yield task
            task.show(is_done=True)
            return
        bars = Bars(
            TextColumn("{task.description:<18}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self._console,
        )
        with bars:
            yield _BarTask(bars, bars.add_task(name, total=total, note=""))

    def say(self, text: str) -> None:  # noqa: D102
        self._console.print(text, markup=False, highlight=False)


class _TimedTask(Task):
    """Counts, and shows itself every so many seconds and at its end."""

    every_s = 0.0

    def __init__(self, name: str, total: int | None) -> None:
        self._name, self._total, self._done, self._note = name, total, 0, ""
        self._started = self._shown = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self._done += n
        self._note = note or self._note
        if time.monotonic() - self._shown >= self.every_s:
            self.show()

    def show(self, *, is_done: bool = False) -> None:
        self._shown = time.monotonic()
        self._write(self._shown - self._started, is_done=is_done)

    def _write(self, seconds: float, *, is_done: bool) -> None:
        raise NotImplementedError


class _BarTask(Task):
    def __init__(self, bars: Bars, task_id: TaskID) -> None:
        self._bars, self._id, self._note = bars, task_id, ""

    def advance(self, n: int = 1, note: str = "") -> None:
        self._note = note or self._note
        self._bars.update(self._id, advance=n, note=self._note)


class _LineTask(_TimedTask):
    every_s = 10.0

    def __init__(self, console: Console, name: str, total: int | None) -> None:
        super().__init__(name, total)
        self._console = console

    def _write(self, seconds: float, *, is_done: bool) -> None:
        total = "" if self._total is None else f"/{self._total:,}"
        # What is one piece has nothing to count.
        is_one = self._total is None and not self._done
        text = f"{self._name}: " + ("done" if is_one else f"{self._done:,}{total}")
        if is_done:
            text += f" in {seconds:.1f} s"
        elif self._note:
            text += f"  {self._note}"
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class NotebookProgress(Progress):
    """Shows each task as one line below its cell."""

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:  # noqa: D102
        task = _CellTask(name, total)
        yield task
        task.show(is_done=True)

    def say(self, text: str) -> None:  # noqa: D102
        _display(text)


class _CellTask(_TimedTask):
    every_s = 0.3

    def __init__(self, name: str, total: int | None) -> None:
        super().__init__(name, total)
        self._handle = _display(f"{name} …")

    def _write(self, seconds: float, *, is_done: bool) -> None:
        total = "" if self._total is None else f" of {self._total:,}"
        count = f": {self._done:,}{total}" if self._done or self._total else ""
        note = "" if is_done or not self._note else f" ({self._note})"
        _update(self._handle, f"{self._name}{count}, {seconds:.1f} s{note}")


def _display(text: str) -> Any:
    from IPython.display import HTML, display  # noqa: PLC0415 - notebooks have it

    page = HTML(_write_line(text))  # type: ignore[no-untyped-call]
    return display(page, display_id=True)  # type: ignore[no-untyped-call]


def _update(handle: Any, text: str) -> None:
    from IPython.display import HTML  # noqa: PLC0415 - as above

    handle.update(HTML(_write_line(text)))  # type: ignore[no-untyped-call]


def _write_line(text: str) -> str:
    return f"<small>{html.escape(text)}</small>"
