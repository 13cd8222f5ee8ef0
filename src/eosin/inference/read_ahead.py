"""Reading or scoring batches on other threads, a little ahead of who takes them."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from eosin.core import Stop

Rows = npt.NDArray[np.int64]
Tiles = npt.NDArray[np.uint8]
ReadTiles = Callable[[Rows], Tiles]
Batch = TypeVar("Batch")


def iter_read_ahead(
    read: Callable[[Rows], Batch],
    rows: range,
    size: int,
    *,
    ahead: int = 1,
    threads: int = 1,
) -> Generator[tuple[Rows, Batch], None, None]:
    """Yield batches of rows with what was read for them, in order.

    Close the iterator (`contextlib.closing`) before closing what `read` reads from:
    that drops batches not begun, and waits for those on their way, which long work
    leaves off between two steps (`eosin.core.find_stop`). At most
    `ahead` + 1 batches are held at once.

    Args:
        read: From rows, `(rows,)`, to a batch, or to what is found of one; called on
            other threads. What it raises comes when its batch is due.
        rows: All the rows.
        size: Rows of a batch, at least 1; the last may have fewer.
        ahead: Batches read, or being read, beyond the one that was yielded.
        threads: Threads that read; more than one where `read` allows it.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
    waiting: deque[tuple[Rows, Future[Batch]]] = deque()
    stop = Stop()
    work = stop.bind(read)
    try:
        for start in range(0, len(rows), size):
            part = np.asarray(rows[start : start + size], np.int64)
            waiting.append((part, pool.submit(work, part)))
            if len(waiting) > ahead:
                due, batch = waiting.popleft()
                yield due, batch.result()
        while waiting:
            due, batch = waiting.popleft()
            yield due, batch.result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def require_every_tile(read: ReadTiles) -> ReadTiles:
    """Return `read`, but with a ValueError where it gives another number of tiles.

    NumPy would spread a single tile over all rows.
    """

    def read_all(rows: Rows) -> Tiles:
        tiles = read(rows)
        if len(tiles) != len(rows):
            raise ValueError(
                f"reading {len(rows)} rows must give as many tiles, got {len(tiles)}"
            )
        return tiles

    return read_all
