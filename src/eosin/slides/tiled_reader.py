"""Slides made of native tiles, each decoded by itself, at the decode limit.

A tile that lies exactly on the file's own is decoded straight into the caller's
array. Any other is put together from the native tiles it touches; these are kept
for a while, so that a scan off the grid decodes each of them once. Where a
magnification is missing, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size
(libjpeg's scaled DCT), and only the rest is shrunk by area.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.core import Box, SlideError
from eosin.slides.bounds import MAX_TILE_PX, check_dimensions
from eosin.slides.byte_sources import ByteSource
from eosin.slides.level_shapes import make_levels
from eosin.slides.resolution import Resolution
from eosin.slides.slide import (
    SAME_RESOLUTION,
    DamagedTileError,
    Slide,
    fit_pixels,
    is_same_length,
)
from eosin.slides.tile_codecs import Pixels, TileCodec

# Decoded tiles kept: two rows of the level, which a scan needs, and no more, as
# memory that is used again needs no new pages. Two rows of 100,000 px are 154 MB;
# one and a few tiles of the next do.
_CACHE_BYTES = (8 << 20, 88 << 20)

# Bytes of a native tile at most, over twice what its pixels take: a damaged count
# must not ask for gigabytes.
_MOST_BYTES_PER_PIXEL, _MORE_BYTES = 8, 1 << 16


@dataclass(frozen=True)
class TileGrid:
    """One level as the file stores it.

    Attributes:
        width_px: Width of the level in its own pixels.
        height_px: Height of the level.
        tile_width_px: Width of a native tile; those at the edge are padded.
        tile_height_px: Height of a native tile.
        offsets: Place of each tile's bytes, `(rows, columns)`, int64.
        byte_counts: Their length, `(rows, columns)`, int64; 0 is a tile that was
            never stored, which is white.
        codec: How the bytes become pixels.
        sources: Number of each tile's file, `(rows, columns)`; None where all lie
            in the first.
        is_wrapped: Whether the bytes are items of DICOM, which their reader takes off.
    """

    width_px: int
    height_px: int
    tile_width_px: int
    tile_height_px: int
    offsets: npt.NDArray[np.int64]
    byte_counts: npt.NDArray[np.int64]
    codec: TileCodec
    sources: npt.NDArray[np.int64] | None = None
    is_wrapped: bool = False

    def find_scale(self, factor: float) -> int:
        """Find the strongest scaled decoding that is at least as fine as `factor`."""
        if factor < 2 * (1 - SAME_RESOLUTION):
            return 1
        return max(
            scale
            for scale in self.codec.scales
            if scale <= factor * (1 + SAME_RESOLUTION)
            and self.tile_width_px % scale == 0
            and self.tile_height_px % scale == 0
        )


@dataclass(frozen=True, kw_only=True)
class TileIndex:
    """What the headers of a slide of native tiles say.

    Attributes:
        grids: One per level, finest first.
        sources: The files that their tiles lie in.
        vendor: As of `Slide`.
        resolution: Micrometres per level-0 pixel.
        properties: What the headers say, as text.
        associated: By the name of each image beside the pyramid, where it is.
        cautions: As of `Slide`.
    """

    grids: Sequence[TileGrid]
    sources: Sequence[ByteSource] = ()
    vendor: str
    resolution: Resolution = field(default_factory=Resolution)
    properties: Mapping[str, str] = field(default_factory=dict)
    associated: Mapping[str, Any] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()


class TileCache:
    """Decoded native tiles; the one not used for longest goes first. Thread-safe."""

    def __init__(self, n_bytes: int) -> None:
        self._room = n_bytes
        self._tiles: OrderedDict[tuple[int, ...], Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: tuple[int, ...]) -> Pixels | None:
        """Return a tile, or None where it is not kept."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def keep(self, key: tuple[int, ...], tile: Pixels) -> None:
        """Keep a tile that nobody writes to any longer."""
        with self._lock:
            if key in self._tiles:
                return
            self._tiles[key] = tile
            self._room -= tile.nbytes
            while self._room < 0 and len(self._tiles) > 1:
                _, oldest = self._tiles.popitem(last=False)
                self._room += oldest.nbytes


class TiledSlide(Slide):
    """A slide whose levels are grids of tiles that are decoded one by one.

    Attributes:
        grids: One per level, finest first.
    """

    reads_around_damage = True

    def __init__(self, path: Path, index: TileIndex) -> None:
        self.path, self.vendor = path, index.vendor
        self.resolution, self.properties = index.resolution, index.properties
        self.cautions = index.cautions
        self.grids = tuple(index.grids)
        finest = self.grids[0]
        width, height = finest.width_px, finest.height_px
        self.bounds = Box(0, 0, width, height)
        self.levels = make_levels([(g.width_px, g.height_px) for g in self.grids])
        self.native_tile_px = (finest.tile_width_px, finest.tile_height_px)
        self._associated = index.associated
        self._sources: tuple[ByteSource, ...] | None = tuple(index.sources)
        # Damage that one thread meets while it reads the whole slide.
        self._met = threading.local()
        two_rows = 6 * finest.tile_height_px * width
        self._cache = TileCache(min(max(two_rows, _CACHE_BYTES[0]), _CACHE_BYTES[1]))

    def close(self) -> None:  # noqa: D102 - as Slide says
        # Files close once no other thread reads from them any longer.
        self._sources = None
        self._cache = TileCache(0)

    def find_resampling(self, factor: float) -> str:  # noqa: D102 - as Slide says
        level = self._find_level(factor)
        rest = factor / self.levels[level].downsample
        scale = self.grids[level].find_scale(rest)
        steps = [f"dct 1/{scale}"] if scale > 1 else []
        if abs(rest / scale - 1) >= SAME_RESOLUTION:
            steps.append("area")
        return " + ".join(steps) or "none"

    def read_image(  # noqa: D102 - as Slide says
        self, mpp: float | None = None, *, downsample: float | None = None
    ) -> Pixels:
        self._met.damage = set()
        try:
            image = super().read_image(mpp, downsample=downsample)
            damaged: list[tuple[int, int, int]] = sorted(self._met.damage)
        finally:
            del self._met.damage
        if damaged:
            grid = self.grids[damaged[0][0]]
            # With so little left, whatever is found on it would mislead.
            if 2 * len(damaged) > np.count_nonzero(grid.byte_counts):
                raise self._damaged(*damaged[0], "as most of its tiles")
        return image

    def read_native(self, level: int, column: int, row: int) -> bytes:
        """Return a native tile's bytes as they are stored; empty where it is none."""
        grid = self.grids[level]
        count = int(grid.byte_counts[row, column])
        if count == 0:
            return b""
        sources = self._sources
        if sources is None:
            raise SlideError(f"{self.path.name}: the slide was closed")
        number = int(grid.sources[row, column]) if grid.sources is not None else 0
        offset = int(grid.offsets[row, column])
        source = sources[number]
        # Checked before reading.
        most = _MOST_BYTES_PER_PIXEL * grid.tile_width_px * grid.tile_height_px
        if count > most + _MORE_BYTES:
            raise self._damaged(level, column, row, f"{count} bytes are no tile")
        if offset < 0 or count < 0 or offset + count > source.size:
            raise self._damaged(level, column, row, "its bytes lie beyond the file")
        return source.read(offset, count)

    def _list_associated(self) -> Iterable[str]:
        return self._associated

    def _order(self, boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Order boxes by row and column of native tiles, so that each is read once."""
        width, height = self.native_tile_px or (1, 1)
        return np.lexsort((boxes[:, 0] // width, boxes[:, 1] // height))

    def _read_level(
        self, level: int, x_px0: int, y_px0: int, width_px: int, height_px: int
    ) -> Pixels:
        downsample = self.levels[level].downsample
        out = np.empty((height_px, width_px, 3), np.uint8)
        self._read_scaled(
            level, 1, round(x_px0 / downsample), round(y_px0 / downsample), out
        )
        return out

    def _read_box_into(
        self,
        x_px0: float,
        y_px0: float,
        width_px0: float,
        height_px0: float,
        out: Pixels,
    ) -> None:
        height_px, width_px = out.shape[:2]
        factor = min(width_px0 / width_px, height_px0 / height_px)
        level = self._find_level(factor)
        own = self.levels[level].downsample
        scale = self.grids[level].find_scale(factor / own)
        own *= scale
        left, top = round(x_px0 / own), round(y_px0 / own)
        width, height = max(1, round(width_px0 / own)), max(1, round(height_px0 / own))
        # A rounded downsample (4.0004) must not cost a resampling of one pixel.
        if is_same_length(width, width_px) and is_same_length(height, height_px):
            self._read_scaled(level, scale, left, top, out)
            return
        if self._is_empty(level, scale, (left, top, width, height)):
            out[:] = 255
            return
        source = np.empty((height, width, 3), np.uint8)
        try:
            self._read_scaled(level, scale, left, top, source)
        finally:
            fit_pixels(source, out)

    def _is_empty(self, level: int, scale: int, box: tuple[int, int, int, int]) -> bool:
        """Tell whether no native tile that is stored touches a box of scaled pixels."""
        grid, (left, top, width, height) = self.grids[level], box
        rows = slice_cells(top, height, grid.tile_height_px // scale)
        columns = slice_cells(left, width, grid.tile_width_px // scale)
        return not grid.byte_counts[rows, columns].any()

    def _count_stored(self, level: int) -> int:
        grid = self.grids[level]
        n_tiles = int(np.count_nonzero(grid.byte_counts))
        return n_tiles * grid.tile_width_px * grid.tile_height_px

    def _read_scaled(
        self, level: int, scale: int, left: int, top: int, out: Pixels
    ) -> None:
        """Fill `out` from the level shrunk by `scale`; its pixels, white outside."""
        grid = self.grids[level]
        height, width = out.shape[:2]
        tile_width = grid.tile_width_px // scale
        tile_height = grid.tile_height_px // scale
        limit_x = math.ceil(grid.width_px / scale)
        limit_y = math.ceil(grid.height_px / scale)
        x0, x1 = max(left, 0), min(left + width, limit_x)
        y0, y1 = max(top, 0), min(top + height, limit_y)
        if (x0, x1, y0, y1) != (left, left + width, top, top + height):
            out[:] = 255
            if x0 >= x1 or y0 >= y1:
                return
        damage: DamagedTileError | None = None
        for row in range(y0 // tile_height, (y1 - 1) // tile_height + 1):
            for column in range(x0 // tile_width, (x1 - 1) // tile_width + 1):
                tile_x, tile_y = column * tile_width, row * tile_height
                a0, a1 = max(x0, tile_x), min(x1, tile_x + tile_width)
                b0, b1 = max(y0, tile_y), min(y1, tile_y + tile_height)
                target = out[b0 - top : b1 - top, a0 - left : a1 - left]
                try:
                    if (a1 - a0, b1 - b0) == (tile_width, tile_height) and (
                        target.flags.c_contiguous
                    ):
                        self._decode(level, column, row, scale, target)
                        continue
                    tile = self._find_tile(level, column, row, scale)
                except DamagedTileError as error:
                    target[:] = 255
                    damage = damage or error
                    continue
                target[:] = tile[b0 - tile_y : b1 - tile_y, a0 - tile_x : a1 - tile_x]
        if damage is not None:
            raise damage

    def _find_tile(self, level: int, column: int, row: int, scale: int) -> Pixels:
        """Return a decoded native tile, kept or new."""
        key = (level, column, row, scale)
        tile = self._cache.find(key)
        if tile is None:
            grid = self.grids[level]
            tile = np.empty(
                (grid.tile_height_px // scale, grid.tile_width_px // scale, 3), np.uint8
            )
            self._decode(level, column, row, scale, tile)
            self._cache.keep(key, tile)
        return tile

    def _decode(
        self, level: int, column: int, row: int, scale: int, out: Pixels
    ) -> None:
        data = self.read_native(level, column, row)
        if not data:
            out[:] = 255
            return
        grid = self.grids[level]
        width = min(grid.tile_width_px, grid.width_px - column * grid.tile_width_px)
        height = min(grid.tile_height_px, grid.height_px - row * grid.tile_height_px)
        is_padded = (width, height) != (grid.tile_width_px, grid.tile_height_px)
        try:
            if scale == 1 or not is_padded:
                grid.codec.decode(data, out, scale)
                return
            # Scaled decoding would mix what pads the tile into its last pixels.
            whole = np.empty((grid.tile_height_px, grid.tile_width_px, 3), np.uint8)
            grid.codec.decode(data, whole)
            whole[height:] = 255
            whole[:, width:] = 255
            fit_pixels(whole, out)
        except Exception as error:
            raise self._damaged(level, column, row, str(error)) from error

    def _damaged(
        self, level: int, column: int, row: int, reason: str
    ) -> DamagedTileError:
        if (met := getattr(self._met, "damage", None)) is not None:
            met.add((level, column, row))
        grid, downsample = self.grids[level], self.levels[level].downsample
        x_px0 = round(column * grid.tile_width_px * downsample)
        y_px0 = round(row * grid.tile_height_px * downsample)
        return DamagedTileError(
            f"{self.path.name}: the native tile at x={x_px0}, y={y_px0}, level {level} "
            f"cannot be decoded ({reason}); the file is damaged there"
        )


def slice_cells(start: int, length: int, side: int) -> slice:
    """Find the cells of `side` pixels that pixels from `start` on lie in."""
    return slice(max(0, start // side), max(0, -(-(start + length) // side)))


def check_grid(name: str, grid: TileGrid) -> None:
    """Check that a damaged grid does not ask for too much memory."""
    sizes = (grid.width_px, grid.height_px, grid.tile_width_px, grid.tile_height_px)
    if min(sizes) < 1 or max(grid.tile_width_px, grid.tile_height_px) > MAX_TILE_PX:
        raise SlideError(
            f"{name}: native tiles must be 1 to {MAX_TILE_PX} px a side, got "
            f"{grid.tile_width_px} x {grid.tile_height_px} on {grid.width_px} x "
            f"{grid.height_px} px; the file is damaged"
        )
    check_dimensions(name, grid.width_px, grid.height_px)
