"""Running a finished model over tiles of a tile folder."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import Progress, RunError, SlideError
from eosin.evaluation import compute_probabilities
from eosin.inference.sessions import Head, Session, open_session
from eosin.inference.store import EncodedTiles, find_encoded, open_encoded
from eosin.inference.tile_scores import score_tiles
from eosin.settings import Device
from eosin.tiles import TileFolder

_BLOCK = 4096


@dataclass(frozen=True)
class ScoredTiles:
    """Tiles with what a model says of them.

    Attributes:
        tiles: The rows that could be read.
        logits: `(tiles, 1)` or `(tiles, classes)`.
        probabilities: `(tiles, classes)`.
        n_unreadable: Rows that were left out because their pixels are damaged.
    """

    tiles: pd.DataFrame
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.floating[Any]]
    n_unreadable: int


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
    """Score as `score_rows` does, by features that were encoded before if they can be.

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
        SlideError: Not one of the tiles can be read.
        ModelError: A model is missing, or fails.
    """
    tiles = tiles.reset_index(drop=True)
    sessions = [open_session(path, device=device) for path in models]
    options: dict[str, Any] = {"views": views, "temperature": temperature}
    encoded = _find_features(folder, sessions)
    if encoded is None:
        return score_rows(folder, tiles, sessions, **options, progress=progress)
    rows = pd.Index(folder.tiles["tile_id"]).get_indexer(tiles["tile_id"])
    # One tile that cannot be read costs itself only, and a disk that is full nothing:
    # what is missing then is scored below.
    with suppress(SlideError, RunError):
        encoded.encode(rows, views, lambda: sessions[0], progress=progress)
    is_known = np.zeros(len(rows), bool)
    # Another command may have deleted them.
    with suppress(RunError):
        features = encoded.read(views)
        is_known = encoded.is_done(rows, views)
    if not is_known.any():
        return score_rows(folder, tiles, sessions, **options, progress=progress)
    logits, probabilities = _run_heads(
        [session.open_head() for session in sessions],
        features,
        np.where(is_known, rows, -1),
        temperature,
    )
    with suppress(SlideError):
        if not is_known.all():
            others = np.flatnonzero(~is_known)
            found = score_rows(folder, tiles.iloc[others], sessions, **options)
            is_found = tiles["tile_id"].iloc[others].isin(found.tiles["tile_id"])
            logits[others[is_found]] = found.logits
            probabilities[others[is_found]] = found.probabilities
    return _keep_read(tiles, logits, probabilities)


def score_rows(
    folder: TileFolder,
    tiles: pd.DataFrame,
    sessions: Sequence[Session],
    *,
    views: int = 1,
    temperature: float = 1.0,
    progress: Progress | None = None,
) -> ScoredTiles:
    """Score some rows of a manifest with a model, or with an ensemble's mean."""
    tiles = tiles.reset_index(drop=True)
    with (
        folder.open_reader(tiles) as reader,
        (progress or Progress()).task("Scoring tiles", len(tiles)) as task,
    ):
        scores = score_tiles(
            reader.read,
            len(tiles),
            sessions,
            views=views,
            temperature=temperature,
            task=task,
        )
    return _keep_read(tiles, scores.logits, scores.probabilities)


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
        # A cohort that somebody else owns may not be written to.
        with suppress(OSError, RunError):
            encoded = open_encoded(
                folder,
                encoder="encoder",
                graph=graph,
                dimension=sessions[0].outputs["features"][0],
            )
    return encoded


def _run_heads(
    heads: Sequence[Head],
    features: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    temperature: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Average over views and models as `score_tiles` does; NaN for rows below 0."""
    logits, probabilities = [], []
    for start in range(0, len(rows), _BLOCK):
        own = features[:, np.maximum(rows[start : start + _BLOCK], 0)]
        found = [np.mean([head.run(view) for view in own], axis=0) for head in heads]
        said = [compute_probabilities(part, temperature) for part in found]
        logits.append(np.mean(found, axis=0))
        probabilities.append(np.mean(said, axis=0))
    is_known = (rows >= 0)[:, None]
    return (
        np.where(is_known, np.concatenate(logits), np.float32(np.nan)),
        np.where(is_known, np.concatenate(probabilities), np.nan),
    )


def _keep_read(
    tiles: pd.DataFrame,
    logits: npt.NDArray[np.float32],
    probabilities: npt.NDArray[np.floating[Any]],
) -> ScoredTiles:
    is_read = np.isfinite(probabilities).all(axis=1)
    return ScoredTiles(
        tiles.iloc[np.flatnonzero(is_read)].reset_index(drop=True),
        logits[is_read],
        probabilities[is_read],
        int((~is_read).sum()),
    )
