"""From tiles to probabilities, with reading and the model overlapped."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eosin.core import SlideError, Task
from eosin.evaluation import compute_probabilities
from eosin.inference.encoding import VIEW_SETS, ReadTiles, Rows, Tiles
from eosin.inference.sessions import DEFAULT_BATCH, Session
from eosin.tiles import apply_view


@dataclass(frozen=True)
class TileScores:
    """What a model says of tiles.

    Attributes:
        logits: Mean over views and models, `(tiles, 1)` or `(tiles, classes)`.
        probabilities: `(tiles, classes)`; NaN where a tile could not be read.
            With one view and one model they follow from the logits; otherwise they
            are the mean of each view's and model's own.
        n_unreadable: Tiles that could not be read.
    """

    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float64]
    n_unreadable: int


def score_tiles(
    read: ReadTiles,
    n_tiles: int,
    sessions: Sequence[Session],
    *,
    views: int = 1,
    temperature: float = 1.0,
    batch: int = DEFAULT_BATCH,
    task: Task | None = None,
) -> TileScores:
    """Score tiles with one model, or with the mean of several.

    Batches are read by a second thread, two ahead of the model. A tile that cannot
    be read costs itself only.

    Args:
        read: From rows to `(rows, px, px, 3)` uint8.
        n_tiles: Rows 0 to n_tiles - 1 are scored.
        sessions: Models with an output `logits`, at least one.
        views: 1, 2, 4 or 8 turns and flips that are averaged.
        temperature: Logits are divided by it.
        batch: Tiles per call.
        task: Advanced by the tiles done.
    """
    logits: list[npt.NDArray[np.float32]] = []
    probabilities: list[npt.NDArray[np.float64]] = []
    n_unreadable = 0
    for tiles, is_read in _read_ahead(read, n_tiles, batch):
        found = [
            session.run(apply_view(tiles, view), batch=batch)["logits"]
            for view in VIEW_SETS[views]
            for session in sessions
        ]
        mean = np.mean([compute_probabilities(f, temperature) for f in found], axis=0)
        mean[~is_read] = np.nan
        logits.append(np.mean(found, axis=0))
        probabilities.append(mean)
        n_unreadable += int((~is_read).sum())
        if task is not None:
            task.advance(len(tiles))
    if not logits:
        n_logits = sessions[0].outputs["logits"][0]
        return TileScores(
            np.empty((0, n_logits), np.float32),
            np.empty((0, max(2, n_logits)), np.float64),
            0,
        )
    return TileScores(
        np.concatenate(logits), np.concatenate(probabilities), n_unreadable
    )


def _read_ahead(
    read: ReadTiles, n_tiles: int, batch: int
) -> Iterator[tuple[Tiles, npt.NDArray[np.bool_]]]:
    starts = range(0, n_tiles, batch)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        waiting: list[Future[tuple[Tiles, npt.NDArray[np.bool_]]]] = []
        for start in starts:
            rows = np.arange(start, min(start + batch, n_tiles), dtype=np.int64)
            waiting.append(pool.submit(_read_safely, read, rows))
            if len(waiting) > 2:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _read_safely(read: ReadTiles, rows: Rows) -> tuple[Tiles, npt.NDArray[np.bool_]]:
    """Read a batch; where it is damaged, tile by tile, white for the bad ones."""
    try:
        return read(rows), np.ones(len(rows), bool)
    except SlideError as error:
        if len(rows) == 1:
            raise
        failed = error
    tiles: list[Tiles | None] = []
    for row in rows:
        try:
            tiles.append(read(np.array([row])))
        except SlideError:
            tiles.append(None)
    good = next((tile for tile in tiles if tile is not None), None)
    if good is None:
        raise failed
    white = np.full_like(good, 255)
    stacked = np.concatenate([white if tile is None else tile for tile in tiles])
    return stacked, np.array([tile is not None for tile in tiles])
