"""Slides read from a pack, by the same code and to the same pixels."""

import functools
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import ipc

from eosin.core import SlideError, raising, require_regular
from eosin.slides.pack_writing import PACK_FORMAT, PACK_METADATA, PACK_SCHEMA
from eosin.slides.resolution import Resolution, resolve_mpp
from eosin.slides.slide import DamagedTileError
from eosin.slides.tile_codecs import ImageTiles, JPEG2000Tiles, JPEGTiles, PlainTiles
from eosin.slides.tiled_reader import TiledSlide, TileGrid, TileIndex, check_grid

PACK_SUFFIX = ".arrow"
_CODECS: dict[str, Any] = {
    "ImageTiles": ImageTiles,
    "JPEGTiles": JPEGTiles,
    "JPEG2000Tiles": JPEG2000Tiles,
    "PlainTiles": PlainTiles,
}
_SEPARATOR = "::"
# Of a level, 300 Gpx in tiles of 256 px; a damaged number must not ask for gigabytes.
_MOST_CELLS = 1 << 22


class PackedSlide(TiledSlide):
    """One slide of a pack.

    It has the pixels of the tiles that were packed, and all of the levels that are
    coarser; anything else is an error, and white only in a picture of the whole
    slide (`read_image`).
    """

    reader = "pack"

    def __init__(self, pack: Path, slide_id: str, *, mpp: float | None = None) -> None:
        opened = _open_pack(Path(pack))
        if slide_id not in opened.slides:
            raise SlideError(
                f"{pack.name}: holds no slide '{slide_id}'; it has "
                f"{', '.join(list(opened.slides)[:5])}"
            )
        with _reading(Path(pack)):
            super().__init__(Path(pack), _make_index(opened, slide_id, mpp))
        for grid in self.grids:
            check_grid(self.path.name, grid)
        self._data: Any = opened.data

    def close(self) -> None:  # noqa: D102 - as Slide says
        super().close()
        self._data = None

    def _is_empty(self, level: int, scale: int, box: tuple[int, int, int, int]) -> bool:
        # What was not packed is no white glass, but an error.
        return False

    def read_native(self, level: int, column: int, row: int) -> bytes:  # noqa: D102
        data = self._data
        if data is None:
            raise SlideError(f"{self.path.name}: the slide was closed")
        # A pack's grid holds row numbers where a file's holds offsets.
        number = int(self.grids[level].offsets[row, column])
        if number < 0:
            grid, downsample = self.grids[level], self.levels[level].downsample
            raise DamagedTileError(
                f"{self.path.name}: the tile at "
                f"x={round(column * grid.tile_width_px * downsample)}, "
                f"y={round(row * grid.tile_height_px * downsample)}, level {level} was "
                "not packed; a pack holds the tiles of its own tile table only, so "
                "read the slide itself"
            )
        value = data[number]
        if not value.is_valid:
            raise self._damaged(level, column, row, "it was damaged when it was packed")
        return bytes(value.as_buffer())


def list_packed(pack: Path) -> tuple[str, ...]:
    """List the slide ids of a pack."""
    return tuple(_open_pack(pack).slides)


def read_descriptions(pack: Path) -> dict[str, Any]:
    """Read what a pack says of its slides, as `describe_slide` gave it."""
    return dict(_open_pack(pack).slides)


def read_origin(pack: Path) -> str:
    """Return the hash of the tile table that a pack was made for."""
    return _open_pack(pack).made_from


def name_packed(pack: Path, slide_id: str) -> str:
    """Return the path by which `open_slide` opens a slide of a pack."""
    return f"{pack}{_SEPARATOR}{slide_id}"


def split_packed(path: str | Path) -> tuple[Path, str] | None:
    """Split such a path into pack and slide id; None where it is another."""
    pack, separator, slide_id = str(path).partition(PACK_SUFFIX + _SEPARATOR)
    return (Path(pack + PACK_SUFFIX), slide_id) if separator else None


@dataclass(frozen=True, eq=False)
class _Pack:
    """A pack that was opened and checked: level, place and bytes of each tile.

    The bytes are mapped into memory; `rows_of` has which rows are each slide's.
    """

    slides: Mapping[str, Any]
    made_from: str
    data: Any
    level: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    rows_of: Mapping[str, npt.NDArray[np.int64]]


def _open_pack(path: Path) -> _Pack:
    """Map a pack into memory; what one cohort opens again and again is kept."""
    with _reading(path):
        require_regular(path)
        stat = path.stat()
        return _map_pack(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _map_pack(path: Path, size: int, modified: int) -> _Pack:
    table = ipc.open_file(pa.memory_map(str(path))).read_all()
    content = json.loads(table.schema.metadata[PACK_METADATA])
    if table.schema.names != PACK_SCHEMA.names or content["format"] != PACK_FORMAT:
        raise SlideError(f"{path.name}: a pack of another version of eosin")
    if table.schema.types != PACK_SCHEMA.types:
        raise ValueError("its columns are of other types")
    # Arrow itself believes what a file says; a damaged one would crash it.
    table.validate(full=True)
    ids = table["slide_id"].combine_chunks().dictionary_encode()
    codes = ids.indices.to_numpy(zero_copy_only=False)
    names = ids.dictionary.to_pylist()
    return _Pack(
        slides=dict(content["slides"]),
        made_from=str(content["made_from"]),
        data=table["data"],
        level=table["level"].to_numpy().astype(np.int64),
        column=table["column"].to_numpy().astype(np.int64),
        row=table["row"].to_numpy().astype(np.int64),
        rows_of={name: np.flatnonzero(codes == i) for i, name in enumerate(names)},
    )


def _reading(path: Path) -> AbstractContextManager[None]:
    """Say of whatever a pack makes its parser raise that it is damaged."""
    failure = f"{path}: not a pack of 'eosin tile --pack', or damaged"
    return raising(SlideError, failure, remedy="pack again")


def _make_index(opened: _Pack, slide_id: str, mpp: float | None) -> TileIndex:
    """Make of what `describe_slide` gave an index again."""
    description = opened.slides[slide_id]
    resolution = Resolution(**description["resolution"])
    return TileIndex(
        grids=[
            _make_grid(level, number, opened, slide_id)
            for number, level in enumerate(description["levels"])
        ],
        vendor=description["vendor"],
        resolution=resolution
        if mpp is None
        else resolve_mpp(given=mpp, vendor=resolution.mpp),
        properties=description["properties"],
    )


def _make_grid(
    level: dict[str, Any], number: int, opened: _Pack, slide_id: str
) -> TileGrid:
    rows = -(-level["height_px"] // level["tile_height_px"])
    columns = -(-level["width_px"] // level["tile_width_px"])
    own = opened.rows_of.get(slide_id, np.zeros(0, np.int64))
    mine = own[opened.level[own] == number]
    row, column = opened.row[mine], opened.column[mine]
    is_inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    if not is_inside.all() or rows * columns > _MOST_CELLS:
        raise IndexError(f"tiles outside of level {number} of '{slide_id}'")
    places = np.full((rows, columns), -1, np.int64)
    places[row, column] = mine
    codec = dict(level["codec"])
    return TileGrid(
        width_px=level["width_px"],
        height_px=level["height_px"],
        tile_width_px=level["tile_width_px"],
        tile_height_px=level["tile_height_px"],
        offsets=places,
        byte_counts=(places >= 0).astype(np.int64),
        codec=_CODECS[codec.pop("kind")](**codec),
    )
