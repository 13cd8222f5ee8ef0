"""Where tiles lie on a slide."""

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import SlideError
from eosin.settings import TileSpec
from eosin.slides import Slide
from eosin.tiles.tissue import TissueMap

# A tile is flagged where a fault covers at least this share of it.
_FLAG_SHARE = 0.1
# Of 300,000 x 200,000 px in tiles of 256 px that overlap by half there are 3.7 million.
_MOST_PLACES = 5_000_000


def find_boxes(tiles: pd.DataFrame, context: float = 1.0) -> npt.NDArray[np.int64]:
    """Return what is read for each tile, the tile in its middle.

    Returns:
        `(tiles, 4)`, x, y, width and height in the level-0 frame.
    """
    boxes = tiles[["x_px0", "y_px0", "size_px0", "size_px0"]].to_numpy(np.int64)
    if context == 1:
        return boxes
    sides = np.rint(boxes[:, 2:] * context).astype(np.int64)
    return np.concatenate([boxes[:, :2] - (sides - boxes[:, 2:]) // 2, sides], axis=1)


def place_tiles(
    slide: Slide, spec: TileSpec, tissue: TissueMap, *, min_tissue: float
) -> pd.DataFrame:
    """Lay a grid over a slide and keep the tiles with at least `min_tissue` of tissue.

    The grid starts at level-0 pixel 0 where its step fits the file's own tiles,
    so that a tile costs as few of them as it can; otherwise where the scan
    starts. Every tile lies wholly inside the slide: a rest at the right or at
    the bottom that is narrower than a tile is left out.

    Returns:
        One row per tile, by row and then column of the grid: `x_px0`, `y_px0`
        (top-left corner, level-0 frame) and `size_px0` (side), int64;
        `tissue_fraction`, 0 to 1; `flags`, the names of the faults that cover a
        tenth of the tile or more, joined by `;`.

    Raises:
        SlideError: The slide is smaller than one tile, has no mpp, or is coarser
            than the tiles are to be.
    """
    factor = slide.downsample_at(spec.mpp)
    size = round(spec.tile_px * factor)
    width, height = slide.dimensions
    if size > min(width, height):
        raise SlideError(
            f"{slide.path.name}: a tile of {spec.tile_px} px at {spec.mpp:g} mpp "
            f"covers {size} px of level 0, and the slide has {width} x {height}; "
            "ask for smaller tiles or a finer mpp"
        )
    step = max(1, size - round(spec.overlap_px * factor))
    x_px0, y_px0 = _find_starts(slide, size, step)
    if len(x_px0) * len(y_px0) > _MOST_PLACES:
        raise SlideError(
            f"{slide.path.name}: a grid may have {_MOST_PLACES:,} places, this one has "
            f"{len(x_px0)} x {len(y_px0)} on {width} x {height} px; ask for larger "
            "tiles, less overlap or a coarser mpp"
        )
    fraction = _mean_in_boxes(tissue.mask, tissue.downsample, x_px0, y_px0, size)
    rows, columns = np.nonzero(fraction >= min_tissue)
    table = pd.DataFrame(
        {
            "x_px0": x_px0[columns],
            "y_px0": y_px0[rows],
            "size_px0": np.full(len(rows), size, np.int64),
            "tissue_fraction": fraction[rows, columns],
        }
    )
    flags = np.full(len(rows), "", dtype=object)
    for name, mask in tissue.artefacts.items():
        share = _mean_in_boxes(mask, tissue.downsample, x_px0, y_px0, size)
        is_hit = share[rows, columns] >= _FLAG_SHARE
        flags[is_hit] = add_flag(flags[is_hit], name)
    table["flags"] = pd.Series(flags, dtype=object)
    return table


def add_flag(flags: Iterable[str], name: str) -> list[str]:
    """Put one more name behind the flags of tiles."""
    return [f"{text};{name}" if text else name for text in flags]


def _find_starts(
    slide: Slide, size: int, step: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the left edges of the grid's columns and the top edges of its rows."""
    native = slide.native_tile_px
    is_aligned = native is not None and all(
        length > 0 and (step % length == 0 or length % step == 0) for length in native
    )
    bounds = slide.bounds
    starts = []
    for first, end, length in (
        (bounds.x_px0, bounds.right_px0, slide.dimensions[0]),
        (bounds.y_px0, bounds.bottom_px0, slide.dimensions[1]),
    ):
        begin = max(0, first // step * step if is_aligned else first)
        # A scanned part near the slide's end may leave no room for a tile.
        begin = min(begin, length - size)
        last = min(length - size, max(begin, end - 1))
        starts.append(np.arange(begin, last + 1, step, dtype=np.int64))
    return starts[0], starts[1]


def _mean_in_boxes(
    mask: npt.NDArray[np.bool_],
    downsample: float,
    x_px0: npt.NDArray[np.int64],
    y_px0: npt.NDArray[np.int64],
    size_px0: int,
) -> npt.NDArray[np.float64]:
    """Return the share of a mask that is True in each box, `(rows, columns)`.

    Inside a mask pixel the integral image is bilinear, so interpolation gives
    the exact area, cut pixels included. Beyond the mask nothing is True.
    """
    integral = np.asarray(
        cv2.integral(mask.astype(np.uint8), sdepth=cv2.CV_64F), np.float64
    )
    top = _sample_rows(integral, y_px0 / downsample)
    bottom = _sample_rows(integral, (y_px0 + size_px0) / downsample)
    between = (bottom - top).T
    left = _sample_rows(between, x_px0 / downsample)
    right = _sample_rows(between, (x_px0 + size_px0) / downsample)
    share = (right - left).T * (downsample / size_px0) ** 2
    # Sums of fractions of pixels end a few units of the last place off 0 and 1.
    return np.asarray(np.clip(np.round(share, 9), 0, 1))


def _sample_rows(
    table: npt.NDArray[np.float64], places: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Interpolate between the rows of a table at fractional row numbers."""
    places = np.clip(places, 0, len(table) - 1)
    lower = np.minimum(places.astype(np.int64), len(table) - 2)
    weight = (places - lower)[:, None]
    return np.asarray(table[lower] * (1 - weight) + table[lower + 1] * weight)
