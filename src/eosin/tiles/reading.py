"""Reading the pixels of tiles, wherever they lie."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ManifestError, SlideError
from eosin.settings import TileSpec
from eosin.slides import Slide, open_slide
from eosin.tiles.grid import add_flag, find_boxes
from eosin.tiles.patches import Patch, PatchReader
from eosin.tiles.quality import MEASURES, measure_plainly

_OPEN_SLIDES = 16
_BLOCK = 64
# The flag of tiles that hold a damaged part; they get no label.
DAMAGED = "damaged"


@dataclass
class _OpenSlide:
    """A slide that is open, and how many threads read from it now."""

    slide: Slide
    n_users: int = 0


class TileReader:
    """Reads tiles of many slides by their row in a manifest.

    A bounded number of slides is held open. Reading is safe from many threads.

    Args:
        tiles: Columns `slide_id`, `x_px0`, `y_px0` and `size_px0`; patches have
            `source` and `source_index` besides, and are read from there.
        slides: Columns `slide_id`, `path` and `mpp_used`; of patches `path` is the
            folder that `source` is relative to.
        tile_px: Side of a tile as read, in its own pixels.
        context: Side of what is read for a tile over the tile's own.

    Raises:
        ManifestError: `slides` lacks a slide that `tiles` names.
    """

    def __init__(
        self,
        tiles: pd.DataFrame,
        slides: pd.DataFrame,
        tile_px: int,
        *,
        context: float = 1.0,
    ) -> None:
        self._boxes = find_boxes(tiles, context)
        self._slide_ids = tiles["slide_id"].astype(str).to_numpy(object)
        self._places = {
            str(row["slide_id"]): (row["path"], float(row["mpp_used"]))
            for row in slides.to_dict("records")
        }
        if unknown := sorted(set(self._slide_ids) - set(self._places)):
            raise ManifestError(
                "the tile table names slides that the slide table lacks: "
                f"{', '.join(unknown[:5])}; both must come from one `eosin tile`"
            )
        self._tile_px = tile_px
        self._open: OrderedDict[str, _OpenSlide] = OrderedDict()
        self._lock = threading.Lock()
        self._patches: PatchReader | None = None
        if "source" in tiles:
            roots = [self._places[slide_id][0] for slide_id in self._slide_ids]
            self._patches = PatchReader(
                roots,
                tiles["source"].to_numpy(object),
                tiles["source_index"].to_numpy(np.int64),
                tile_px,
            )

    @property
    def n_tiles(self) -> int:
        """How many rows there are."""
        return len(self._boxes)

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Read tiles, `(rows, tile_px, tile_px, 3)`, in the order of `rows`.

        Args:
            rows: Row numbers, in any order, repeats allowed.

        Raises:
            SlideError: A slide cannot be opened, or is damaged in a tile.
        """
        if self._patches is not None:
            return self._patches.read(rows)
        out = np.empty((len(rows), self._tile_px, self._tile_px, 3), np.uint8)
        owners = self._slide_ids[rows]
        for slide_id in dict.fromkeys(owners):
            places = np.flatnonzero(owners == slide_id)
            own = np.empty((len(places), *out.shape[1:]), np.uint8)
            try:
                with self._borrow_slide(slide_id) as slide:
                    slide.read_tiles(self._boxes[rows[places]], own)
            except SlideError as error:
                raise SlideError(f"slide {slide_id}: {error}") from error
            out[places] = own
        return out

    def read_each(self, rows: npt.NDArray[np.int64]) -> list[Patch | SlideError]:
        """Read tiles, or find for each why it cannot be read, in the order of `rows`.

        Tiles are read together, and one by one only where that fails.
        """
        try:
            return [Patch(pixels, "rgb") for pixels in self.read(rows)]
        except SlideError as error:
            if len(rows) == 1:
                return [error]
        return [tile for row in rows for tile in self.read_each(np.array([row]))]

    def close(self) -> None:
        """Close the slides that are open."""
        with self._lock:
            for entry in self._open.values():
                entry.slide.close()
            self._open.clear()
        if self._patches is not None:
            self._patches.close()

    @contextmanager
    def _borrow_slide(self, slide_id: str) -> Iterator[Slide]:
        """Give an open slide; the one not used for longest makes room."""
        with self._lock:
            entry = self._open.get(slide_id)
            if entry is None:
                path, mpp = self._places[slide_id]
                entry = self._open[slide_id] = _OpenSlide(open_slide(path, mpp=mpp))
            self._open.move_to_end(slide_id)
            entry.n_users += 1
            idle = [name for name, other in self._open.items() if not other.n_users]
            for name in idle[: max(0, len(self._open) - _OPEN_SLIDES)]:
                self._open.pop(name).slide.close()
        try:
            yield entry.slide
        finally:
            with self._lock:
                entry.n_users -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def measure_tiles(
    slide: Slide, tiles: pd.DataFrame, spec: TileSpec, *, skip: bool = False
) -> pd.DataFrame:
    """Read every tile once, for its sharpness, its mean colour and its damage.

    Returns:
        A copy with `MEASURES`, float32, NaN where reading is skipped. A tile that is
        damaged in part has the flag `damaged`, no label and no measures.

    Raises:
        SlideError: Every tile is damaged, or the file can no longer be read.
    """
    is_damaged = np.zeros(len(tiles), bool)
    values = np.full((len(tiles), len(MEASURES)), np.nan, np.float32)
    boxes = find_boxes(tiles)
    block = np.empty((_BLOCK, spec.tile_px, spec.tile_px, 3), np.uint8)
    for start in range(0, 0 if skip else len(tiles), _BLOCK):
        part = boxes[start : start + _BLOCK]
        pixels = block[: len(part)]
        damaged = is_damaged[start : start + _BLOCK]
        slide.read_tiles(part, pixels, damaged=damaged)
        values[start : start + len(part)] = measure_plainly(pixels)
    if len(tiles) and is_damaged.all():
        # Read once more without leave to go on, for the reason.
        slide.read_tiles(boxes[:1], block[:1])
    values[is_damaged] = np.nan
    result = tiles.copy()
    if is_damaged.any():
        flags = add_flag(result["flags"][is_damaged], DAMAGED)
        result.loc[is_damaged, "flags"] = flags
        if "label" in result:
            result.loc[is_damaged, "label"] = pd.NA
    result[list(MEASURES)] = values
    return result
