"""Progress on the terminal: bars for people, plain lines for log files."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

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

from eosin.core import Progress, Task

# Seconds between two lines of the same task in a log file.
_LINE_EVERY_S = 10.0


class TerminalProgress(Progress):
    """Shows tasks as bars on a terminal, and as lines elsewhere.

    Args:
        console: Where to show them.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        """Open a task for the length of a block."""
        if not self._console.is_terminal:
            task = _LineTask(self._console, name, total)
            yield task
            task.close()
            return
        bars = Bars(
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self._console,
        )
        with bars:
            yield _BarTask(bars, bars.add_task(name, total=total, note=""))

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False, highlight=False)


class _BarTask(Task):
    def __init__(self, bars: Bars, task_id: TaskID) -> None:
        self._bars = bars
        self._id = task_id

    def advance(self, n: int = 1, note: str = "") -> None:
        if note:
            self._bars.update(self._id, advance=n, note=note)
        else:
            self._bars.update(self._id, advance=n)


class _LineTask(Task):
    def __init__(self, console: Console, name: str, total: int | None) -> None:
        self._console = console
        self._name = name
        self._total = total
        self._done = 0
        self._note = ""
        self._started = self._said = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self._done += n
        self._note = note or self._note
        if time.monotonic() - self._said >= _LINE_EVERY_S:
            self._said = time.monotonic()
            self._print("")

    def close(self) -> None:
        self._print(f" in {time.monotonic() - self._started:.1f} s")

    def _print(self, ending: str) -> None:
        total = "" if self._total is None else f"/{self._total:,}"
        # What is one piece has nothing to count.
        is_one = self._total is None and not self._done
        done = "done" if is_one else f"{self._done:,}{total}"
        note = f"  {self._note}" if self._note and not ending else ""
        self._console.print(
            f"{self._name}: {done}{ending}{note}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
