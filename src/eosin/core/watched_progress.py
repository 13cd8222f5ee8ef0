"""The default of calls from Python: progress is shown where somebody watches."""

from collections.abc import Iterator
from contextlib import contextmanager

from eosin.core.progress import Progress, Task


class _WatchedProgress(Progress):
    """Listens where somebody watches: in a terminal, and in a notebook."""

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        """Open a task for the length of a block."""
        with self._find().task(name, total) as task:
            yield task

    def say(self, text: str) -> None:
        """Show one line."""
        self._find().say(text)

    def _find(self) -> Progress:
        # What draws bars is imported where bars are drawn.
        from eosin.core.shown_progress import find_progress  # noqa: PLC0415

        return find_progress()


WATCHED = _WatchedProgress()
"""What a call from Python shows by default; `progress=None` is silent."""
