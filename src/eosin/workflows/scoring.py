"""Running a finished model over tiles of a tile folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import Progress
from eosin.inference import Session, score_tiles
from eosin.workflows.tile_folder import TileFolder


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
    is_read = np.isfinite(scores.probabilities).all(axis=1)
    return ScoredTiles(
        tiles.iloc[np.flatnonzero(is_read)].reset_index(drop=True),
        scores.logits[is_read],
        scores.probabilities[is_read],
        int((~is_read).sum()),
    )
