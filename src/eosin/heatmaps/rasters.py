"""From tile values to a raster of the slide."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# 16 million cells are 64 MB; finer grids than that are coarsened.
_MAX_CELLS = 16_000_000


@dataclass(frozen=True)
class Heatmap:
    """A raster of values over a slide.

    Attributes:
        values: `(height, width)`, float32; NaN where no tile was.
        cell_px0: Side of a cell in level-0 pixels.
        origin_px0: (x, y) of the raster's top-left corner in the level-0 frame.
    """

    values: npt.NDArray[np.float32]
    cell_px0: float
    origin_px0: tuple[int, int] = (0, 0)


def rasterise_tiles(
    x_px0: npt.NDArray[np.integer[Any]],
    y_px0: npt.NDArray[np.integer[Any]],
    size_px0: int,
    values: npt.NDArray[np.floating[Any]],
) -> Heatmap:
    """Lay tiles on a raster, averaging where they overlap.

    A cell is the tiles' step, so that without overlap one tile is one cell; with
    overlap a tile covers several. Tiles whose value is NaN leave no trace.

    Args:
        x_px0: Left edges, `(tiles,)`, level-0 pixels.
        y_px0: Top edges, `(tiles,)`.
        size_px0: Side of every tile in level-0 pixels.
        values: `(tiles,)`.

    Raises:
        ValueError: There are no tiles.
    """
    if len(values) == 0:
        raise ValueError("a heatmap needs at least one tile")
    left, top = int(x_px0.min()), int(y_px0.min())
    cell = _find_cell(x_px0 - left, y_px0 - top, size_px0)
    columns = np.rint((x_px0 - left) / cell).astype(np.int64)
    rows = np.rint((y_px0 - top) / cell).astype(np.int64)
    span = max(1, round(size_px0 / cell))
    shape = (int(rows.max()) + span, int(columns.max()) + span)
    total = np.zeros(shape, np.float64)
    count = np.zeros(shape, np.int32)
    is_known = np.isfinite(values)
    for down, right in _iter_offsets(span):
        place = (rows[is_known] + down, columns[is_known] + right)
        np.add.at(total, place, values[is_known])
        np.add.at(count, place, 1)
    mean = np.full(shape, np.nan, np.float32)
    np.divide(total, count, out=mean, where=count > 0, casting="unsafe")
    return Heatmap(mean, cell, (left, top))


def _find_cell(
    x: npt.NDArray[np.integer[Any]], y: npt.NDArray[np.integer[Any]], size_px0: int
) -> float:
    """Find the grid's step, as a whole part of the tile where tiles overlap."""
    steps = np.concatenate([np.diff(np.unique(x)), np.diff(np.unique(y))])
    step = int(steps.min()) if len(steps) else size_px0
    parts = max(1, round(size_px0 / min(step, size_px0)))
    cell = size_px0 / parts
    width, height = float(x.max()) + size_px0, float(y.max()) + size_px0
    return max(cell, math.sqrt(width * height / _MAX_CELLS))


def _iter_offsets(span: int) -> Iterator[tuple[int, int]]:
    for down in range(span):
        for right in range(span):
            yield down, right
