"""From tile values to a raster of the slide."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# 16 million cells are 64 MB; finer rasters than that are coarsened.
MAX_CELLS = 16_000_000
_MAX_PARTS = 8


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

    A cell holds the mean of the tiles that its centre lies in. Cells are as large as
    the grid allows: one to a tile without overlap, two by two with half a tile's.
    Where the overlap is an odd share they are an eighth of the tile. Tiles whose
    value is NaN leave no trace. Left and top edges and values are `(tiles,)`.

    Raises:
        ValueError: There are no tiles, or the arrays differ in length.
    """
    if len(values) == 0:
        raise ValueError("a heatmap needs at least one tile")
    if not len(x_px0) == len(y_px0) == len(values) or size_px0 < 1:
        raise ValueError(
            f"a heatmap needs an x, a y and a value for each tile and a size above 0, "
            f"got {len(x_px0)}, {len(y_px0)} and {len(values)}, and {size_px0}"
        )
    left, top = int(x_px0.min()), int(y_px0.min())
    x, y = x_px0.astype(np.int64) - left, y_px0.astype(np.int64) - top
    width, height = int(x.max()) + size_px0, int(y.max()) + size_px0
    cell = max(_find_cell(x, y, size_px0), math.sqrt(width * height / MAX_CELLS))
    shape = (math.ceil(height / cell), math.ceil(width / cell))
    is_known = np.isfinite(values)
    rows = _find_cells(y[is_known], size_px0, cell)
    columns = _find_cells(x[is_known], size_px0, cell)
    mean = _average(rows, columns, values[is_known], shape)
    return Heatmap(mean, cell, (left, top))


def _find_cell(
    x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], size_px0: int
) -> float:
    """Find the largest cell whose edges all tiles' edges fall on, or nearly so."""
    common = int(np.gcd.reduce(np.concatenate([x, y, [size_px0]])))
    return size_px0 / min(size_px0 // common, _MAX_PARTS)


def _find_cells(
    starts: npt.NDArray[np.int64], size_px0: int, cell: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the first cell, and the one behind the last, whose centre is in a tile."""
    first = np.ceil(starts / cell - 0.5).astype(np.int64)
    behind = np.ceil((starts + size_px0) / cell - 0.5).astype(np.int64)
    # A tile smaller than a cell may lie between two centres: it goes where its own is.
    own = np.floor((starts + size_px0 / 2) / cell).astype(np.int64)
    first = np.where(behind > first, first, own)
    return first, np.maximum(behind, first + 1)


def _average(
    rows: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    columns: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    values: npt.NDArray[np.floating[Any]],
    shape: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """Average the values over the cells that their tiles cover."""
    (top, bottom), (left, right) = rows, columns
    n_cells = shape[0] * shape[1]
    total, count = np.zeros(n_cells), np.zeros(n_cells)
    for down in range(int((bottom - top).max(initial=0))):
        for across in range(int((right - left).max(initial=0))):
            is_inside = (top + down < bottom) & (left + across < right)
            place = (top + down)[is_inside] * shape[1] + (left + across)[is_inside]
            np.add.at(total, place, values[is_inside])
            np.add.at(count, place, 1)
    mean = np.full(n_cells, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.astype(np.float32).reshape(shape)
