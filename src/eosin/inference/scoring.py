"""From tiles to probabilities: by reading a little ahead, or by known features."""

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ModelError, Progress, RunError, SlideError, Task
from eosin.evaluation import compute_probabilities
from eosin.inference.encoding import find_views
from eosin.inference.read_ahead import (
    ReadTiles,
    Rows,
    Tiles,
    iter_read_ahead,
    require_every_tile,
)
from eosin.inference.sessions import Session, count_at_once, open_session
from eosin.inference.store import EncodedTiles, find_encoded, open_encoded
from eosin.settings import Device
from eosin.tiles import TileFolder, apply_view

Logits = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]

# Tiles that are read together; two such chunks are at work.
_CHUNK = 64
_BLOCK = 4096


@dataclass(frozen=True)
class TileScores:
    """What a model says of tiles.

    Attributes:
        logits: Mean over views and models, `(tiles, 1)` or `(tiles, classes)`; NaN
            where a tile could not be read.
        probabilities: `(tiles, classes)`, likewise. With one model they follow from
            the logits; with several they are the mean of each model's own.
        n_unreadable: Tiles that could not be read.
    """

    logits: Logits
    probabilities: Probabilities
    n_unreadable: int


@dataclass(frozen=True)
class ScoredTiles(TileScores):
    """The rows of tiles that could be read, with what a model says of them."""

    tiles: pd.DataFrame


def score_tiles(
    read: ReadTiles,
    n_tiles: int,
    sessions: Sequence[Session],
    *,
    views: int = 1,
    temperature: float = 1.0,
    batch: int | None = None,
    task: Task | None = None,
) -> TileScores:
    """Score tiles with one model, or with the mean of several.

    The next tiles are read while the models run on these. A tile that cannot be read
    costs itself only.

    Args:
        read: From rows to `(rows, px, px, 3)` uint8; called on two threads.
        n_tiles: Rows 0 to n_tiles - 1 are scored.
        sessions: Models with an output `logits`, at least one.
        views: 1, 2, 4 or 8 turns and flips that are averaged.
        temperature: Logits are divided by it.
        batch: Tiles per call; None as for `Session.run`.
        task: Advanced by the tiles done.

    Raises:
        SlideError: Not one of the tiles can be read.
        ModelError: A model has no output `logits`, the models disagree in their
            number of classes or in their tiles' size, or one fails.
        ValueError: `views` is another number, there is no model, or `read` gives
            another number of tiles than it was asked for.
    """
    logits, probabilities = _make_empty(sessions, n_tiles)
    numbers, read_all = find_views(views), require_every_tile(read)
    n_unreadable = 0
    failure: SlideError | None = None

    def score(rows: Rows) -> tuple[int, SlideError | None]:
        tiles, is_read, error = _read_good(read_all, rows)
        if is_read.any():
            outputs = [
                [
                    session.run(apply_view(tiles, view), batch=batch)["logits"]
                    for view in numbers
                ]
                for session in sessions
            ]
            good = rows[is_read]
            logits[good], probabilities[good] = _average(outputs, temperature)
        return int((~is_read).sum()), error

    size = max(min(_CHUNK, count_at_once(sessions[0].tile_px)), batch or 0)
    chunks = iter_read_ahead(score, range(n_tiles), size, threads=2)
    with closing(chunks):
        for rows, (n_bad, error) in chunks:
            n_unreadable += n_bad
            failure = error or failure
            if task is not None:
                task.advance(len(rows))
    if failure is not None and n_unreadable == n_tiles:
        raise failure
    return TileScores(logits, probabilities, n_unreadable)


def score_rows(
    folder: TileFolder,
    tiles: pd.DataFrame,
    sessions: Sequence[Session],
    *,
    progress: Progress | None = None,
    **options: Any,
) -> TileScores:
    """Score some rows of a tile table; `options` are those of `score_tiles`."""
    with (
        folder.open_reader(tiles.reset_index(drop=True)) as reader,
        (progress or Progress()).task("Scoring tiles", len(tiles)) as task,
    ):
        return score_tiles(reader.read, len(tiles), sessions, task=task, **options)


def score_by_features(
    folder: TileFolder,
    tiles: pd.DataFrame,
    models: Sequence[Path],
    *,
    views: int = 1,
    temperature: float = 1.0,
    device: Device = "auto",
    progress: Progress | None = None,
) -> ScoredTiles:
    """Score tiles of a folder, by features that were encoded before if they can be.

    That is where all models compute the same up to their features, and this encoder
    ran over tiles of the folder before or has to for several models. Tiles that it did
    not see are encoded now, and kept. Other models run over every tile as they are.

    Args:
        folder: The tiles.
        tiles: Some rows of its table.
        models: ONNX files of one model, or of an ensemble.
        views: Turns and flips that are averaged.
        temperature: Logits are divided by it.
        device: Where models run.
        progress: Told how far it is.

    Raises:
        SlideError: Not one of the tiles can be read, or a slide was replaced after it
            was tiled.
        ModelError: A model is missing, or fails.
    """
    tiles = tiles.reset_index(drop=True)
    # A slide that was replaced is no slide with unreadable tiles.
    folder.require_unchanged(tiles["slide_id"].unique())
    sessions = [open_session(path, device=device) for path in models]
    logits, probabilities = _make_empty(sessions, len(tiles))
    rows = pd.Index(folder.tiles["tile_id"]).get_indexer(tiles["tile_id"])
    is_known = np.zeros(len(rows), bool)
    if (encoded := _find_features(folder, sessions)) is not None:
        # One tile that cannot be read costs itself only, and a disk that is full
        # nothing: what is missing then is scored below.
        with suppress(SlideError, RunError):
            encoded.encode(rows, views, lambda: sessions[0], progress=progress)
        # Another command may have deleted them.
        with suppress(RunError):
            features = encoded.read(views)
            is_known = encoded.is_done(rows, views)
    if is_known.any():
        known, heads = np.flatnonzero(is_known), [s.open_head() for s in sessions]
        for start in range(0, len(known), _BLOCK):
            block = known[start : start + _BLOCK]
            outputs = [[head(v) for v in features[:, rows[block]]] for head in heads]
            logits[block], probabilities[block] = _average(outputs, temperature)
    others = np.flatnonzero(~is_known)
    try:
        if len(others):
            options: dict[str, Any] = {"views": views, "temperature": temperature}
            scores = score_rows(
                folder, tiles.iloc[others], sessions, **options, progress=progress
            )
            logits[others], probabilities[others] = scores.logits, scores.probabilities
    except SlideError:
        if not is_known.any():
            raise
    is_read = np.isfinite(probabilities).all(axis=1)
    return ScoredTiles(
        tiles=tiles.iloc[np.flatnonzero(is_read)].reset_index(drop=True),
        logits=logits[is_read],
        probabilities=probabilities[is_read],
        n_unreadable=int((~is_read).sum()),
    )


def _find_features(
    folder: TileFolder, sessions: Sequence[Session]
) -> EncodedTiles | None:
    """Find where the features of one encoder lie, or are to lie."""
    graphs = {session.encoder_hash for session in sessions}
    (graph,) = graphs if len(graphs) == 1 else (None,)
    if graph is None:
        return None
    encoded = find_encoded(folder, graph=graph)
    if encoded is None and len(sessions) > 1:
        (dimension,) = sessions[0].outputs["features"]
        # A cohort that somebody else owns may not be written to.
        with suppress(OSError, RunError):
            encoded = open_encoded(
                folder, encoder="encoder", graph=graph, dimension=dimension
            )
    return encoded


def _make_empty(
    sessions: Sequence[Session], n_tiles: int
) -> tuple[Logits, Probabilities]:
    """Make arrays of NaN for what the models give of some tiles, if they agree."""
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
    n_logits = int(sessions[0].outputs["logits"][0])
    return (
        np.full((n_tiles, n_logits), np.nan, np.float32),
        np.full((n_tiles, max(2, n_logits)), np.nan, np.float64),
    )


def _average(
    outputs: Sequence[Sequence[Logits]], temperature: float
) -> tuple[Logits, Probabilities]:
    """Average the logits of each model's views, and the probabilities of models.

    Of one model it is the mean logit, as on validation, where thresholds were chosen.
    """
    logits = [np.mean(views, axis=0) for views in outputs]
    probabilities = [compute_probabilities(each, temperature) for each in logits]
    return np.mean(logits, axis=0), np.mean(probabilities, axis=0)


def _read_good(
    read: ReadTiles, rows: Rows
) -> tuple[Tiles, npt.NDArray[np.bool_], SlideError | None]:
    """Read what can be read: the tiles, which rows they are, and the last failure."""
    try:
        return read(rows), np.ones(len(rows), bool), None
    except SlideError as error:
        if len(rows) == 1:
            return np.empty((0, 0, 0, 3), np.uint8), np.zeros(1, bool), error
    parts = [_read_good(read, row[None]) for row in rows]
    tiles = [tile for tile, is_read, _ in parts if is_read.any()]
    failures = [error for _, _, error in parts if error is not None]
    return (
        np.concatenate(tiles) if tiles else parts[0][0],
        np.concatenate([is_read for _, is_read, _ in parts]),
        failures[-1] if failures else None,
    )
