"""From tiles to probabilities, with reading and the model overlapped."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eosin.core import ModelError, SlideError, Task
from eosin.evaluation import compute_probabilities
from eosin.inference.encoding import find_views
from eosin.inference.read_ahead import (
    ReadTiles,
    Rows,
    Tiles,
    iter_read_ahead,
    require_every_tile,
)
from eosin.inference.sessions import DEFAULT_BATCH, Session
from eosin.tiles import apply_view

_AHEAD = 2


@dataclass(frozen=True)
class TileScores:
    """What a model says of tiles.

    Attributes:
        logits: Mean over views and models, `(tiles, 1)` or `(tiles, classes)`; NaN
            where a tile could not be read.
        probabilities: `(tiles, classes)`; NaN where a tile could not be read.
            With one model they follow from the logits; with several they are the
            mean of each model's own.
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
    readers: int = 1,
    task: Task | None = None,
) -> TileScores:
    """Score tiles with one model, or with the mean of several.

    Batches are read by other threads, a few ahead of the model. A tile that cannot
    be read costs itself only.

    Args:
        read: From rows to `(rows, px, px, 3)` uint8.
        n_tiles: Rows 0 to n_tiles - 1 are scored.
        sessions: Models with an output `logits`, at least one.
        views: 1, 2, 4 or 8 turns and flips that are averaged.
        temperature: Logits are divided by it.
        batch: Tiles per call.
        readers: Threads that read; one keeps up with a model on a CPU.
        task: Advanced by the tiles done.

    Raises:
        SlideError: Not one of the tiles can be read.
        ModelError: A model has no output `logits`, the models disagree in their
            number of classes or in their tiles' size, or one fails.
        ValueError: `views` is another number, there is no model, or `read` gives
            another number of tiles than it was asked for.
    """
    n_logits = _count_logits(sessions)
    logits = np.full((n_tiles, n_logits), np.nan, np.float32)
    probabilities = np.full((n_tiles, max(2, n_logits)), np.nan, np.float64)
    numbers = find_views(views)
    guarded = _GuardedReader(read)
    n_unreadable = 0
    batches = iter_read_ahead(
        guarded.read, range(n_tiles), batch, ahead=_AHEAD * readers, threads=readers
    )
    with closing(batches):
        for rows, (tiles, is_read) in batches:
            if len(tiles):
                # Of one model the mean logit over its views, as on validation, where
                # thresholds were chosen; of several models the mean probability.
                found = [
                    np.mean(
                        [
                            session.run(apply_view(tiles, view), batch=batch)["logits"]
                            for view in numbers
                        ],
                        axis=0,
                    )
                    for session in sessions
                ]
                logits[rows[is_read]] = np.mean(found, axis=0)
                probabilities[rows[is_read]] = np.mean(
                    [compute_probabilities(part, temperature) for part in found], axis=0
                )
            n_unreadable += int((~is_read).sum())
            if task is not None:
                task.advance(len(rows))
    if guarded.failure is not None and n_unreadable == n_tiles:
        raise guarded.failure
    return TileScores(logits, probabilities, n_unreadable)


def _count_logits(sessions: Sequence[Session]) -> int:
    """Return how many logits each of the models gives for a tile."""
    if not sessions:
        raise ValueError("scoring needs one model or more, got none")
    for session in sessions:
        if "logits" not in session.outputs:
            raise ModelError(
                "scoring needs a model with an output 'logits'; this one gives "
                f"{', '.join(session.outputs)}"
            )
    kinds = {(s.tile_px, *s.outputs["logits"]) for s in sessions}
    if len(kinds) > 1:
        raise ModelError(
            "models that are averaged need tiles of one size and the same classes; "
            f"these have (tile px, logits) {sorted(kinds, key=str)}"
        )
    return int(sessions[0].outputs["logits"][0])


class _GuardedReader:
    """Reads what can be read of each batch."""

    def __init__(self, read: ReadTiles) -> None:
        self._read = require_every_tile(read)
        self.failure: SlideError | None = None

    def read(self, rows: Rows) -> tuple[Tiles, npt.NDArray[np.bool_]]:
        """Return the readable tiles, and which of the rows they are."""
        try:
            return self._read(rows), np.ones(len(rows), bool)
        except SlideError:
            parts = [self._read_one(row) for row in rows]
        good = [part for part in parts if part is not None]
        tiles = np.concatenate(good) if good else np.empty((0, 0, 0, 3), np.uint8)
        return tiles, np.array([part is not None for part in parts])

    def _read_one(self, row: np.int64) -> Tiles | None:
        try:
            return self._read(np.array([row], np.int64))
        except SlideError as error:
            self.failure = error
            return None
