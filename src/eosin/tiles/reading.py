"""Reading the pixels of tiles, wherever they lie."""

import threading
from collections import OrderedDict
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ManifestError, SlideError
from eosin.slides import Slide, open_slide
from eosin.tiles.grid import TileSpec
from eosin.tiles.quality import measure_sharpness

_OPEN_SLIDES = 16
_BLOCK = 64
_MEASURES = ("sharpness", "mean_red", "mean_green", "mean_blue")


class TileReader:
    """Reads tiles of many slides by their row in a manifest.

    A bounded number of slides is held open. Reading is safe from many threads.

    Args:
        tiles: Columns `slide_id`, `x_px0`, `y_px0` and `size_px0`.
        slides: Columns `slide_id`, `path` and `mpp_used`.
        tile_px: Side of a tile as read, in its own pixels.

    Raises:
        ManifestError: `slides` lacks a slide that `tiles` names.
    """

    def __init__(self, tiles: pd.DataFrame, slides: pd.DataFrame, tile_px: int) -> None:
        self._boxes = tiles[["x_px0", "y_px0", "size_px0", "size_px0"]].to_numpy(
            np.int64
        )
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
        self._open: OrderedDict[str, Slide] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def n_tiles(self) -> int:
        """How many rows there are."""
        return len(self._boxes)

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Read tiles in the order of `rows`.

        Args:
            rows: Row numbers, in any order, repeats allowed.

        Returns:
            `(rows, tile_px, tile_px, 3)`, RGB, uint8.

        Raises:
            SlideError: A slide cannot be opened, or is damaged in a tile.
        """
        out = np.empty((len(rows), self._tile_px, self._tile_px, 3), np.uint8)
        owners = self._slide_ids[rows]
        for slide_id in dict.fromkeys(owners):
            places = np.flatnonzero(owners == slide_id)
            own = np.empty((len(places), *out.shape[1:]), np.uint8)
            try:
                with self._lock:
                    slide = self._find_slide(slide_id)
                    slide.read_tiles(self._boxes[rows[places]], own)
            except SlideError as error:
                raise SlideError(f"slide {slide_id}: {error}") from error
            out[places] = own
        return out

    def close(self) -> None:
        """Close the slides that are open."""
        with self._lock:
            for slide in self._open.values():
                slide.close()
            self._open.clear()

    def _find_slide(self, slide_id: str) -> Slide:
        """Return an open slide; the one not used for longest makes room."""
        if slide_id in self._open:
            self._open.move_to_end(slide_id)
            return self._open[slide_id]
        path, mpp = self._places[slide_id]
        slide = self._open[slide_id] = open_slide(path, mpp=mpp)
        if len(self._open) > _OPEN_SLIDES:
            _, oldest = self._open.popitem(last=False)
            oldest.close()
        return slide

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def measure_tiles(
    slide: Slide, tiles: pd.DataFrame, spec: TileSpec, *, skip: bool = False
) -> pd.DataFrame:
    """Read every tile once, for its sharpness and its mean colour.

    Args:
        slide: The slide.
        tiles: `x_px0`, `y_px0` and `size_px0`, level-0 frame.
        spec: Size of the tiles as read.
        skip: Read nothing; the measures are NaN.

    Returns:
        A copy with `sharpness` (see `measure_sharpness`) and `mean_red`,
        `mean_green` and `mean_blue` (0 to 255), float32.

    Raises:
        SlideError: The slide is damaged in a tile.
    """
    values = np.full((len(tiles), len(_MEASURES)), np.nan, np.float32)
    boxes = tiles[["x_px0", "y_px0", "size_px0", "size_px0"]].to_numpy(np.int64)
    block = np.empty((_BLOCK, spec.tile_px, spec.tile_px, 3), np.uint8)
    for start in range(0, 0 if skip else len(tiles), _BLOCK):
        part = boxes[start : start + _BLOCK]
        pixels = block[: len(part)]
        slide.read_tiles(part, pixels)
        values[start : start + len(part), 0] = measure_sharpness(pixels)
        values[start : start + len(part), 1:] = pixels.mean(axis=(1, 2))
    result = tiles.copy()
    for index, name in enumerate(_MEASURES):
        result[name] = values[:, index]
    return result
