"""What long work tells about itself; silent unless somebody listens."""

from collections.abc import Iterator
from contextlib import contextmanager


class Task:
    """One piece of long work. This one tells nobody."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Say that `n` more units are done, with a few words such as a metric."""


class Progress:
    """A listener to long work. The base class is silent."""

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        """Open a task for the length of a block; `total` is None where nobody knows it.

        Its name says what is done in two or three words, the last of which says what is
        counted, such as `Tiling slides`.
        """
        del name, total
        yield Task()

    def say(self, text: str) -> None:
        """Pass on one line for the user."""
