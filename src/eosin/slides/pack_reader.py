"""Slides read from a pack, by the same code and to the same pixels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import ipc

from eosin.core import Box, SlideError
from eosin.slides.pack_writing import PACK_FORMAT, PACK_METADATA, PACK_SCHEMA
from eosin.slides.resolution import Resolution, resolve_mpp
from eosin.slides.slide import DamagedTileError, Level
from eosin.slides.tile_codecs import JPEG2000Tiles, JPEGTiles, PlainTiles, TileCodec
from eosin.slides.tiled_reader import TiledSlide, TileGrid

PACK_SUFFIX = ".arrow"
_CODECS: dict[str, Any] = {
    "JPEGTiles": JPEGTiles,
    "JPEG2000Tiles": JPEG2000Tiles,
    "PlainTiles": PlainTiles,
}
_SEPARATOR = "::"


class PackedSlide(TiledSlide):
    """One slide of a pack.

    It has the pixels of the tiles that were packed, and all of the levels that are
    coarser; anything else is an error, and white only in a picture of the whole
    slide (`read_image`).

    Args:
        pack: The pack.
        slide_id: Which of its slides.
        mpp: Micrometres per level-0 pixel. None takes what the slide said.

    Raises:
        SlideError: The pack cannot be read, or lacks the slide.
        ValueError: `mpp` is not a plausible resolution.
    """

    reader = "pack"

    def __init__(self, pack: Path, slide_id: str, *, mpp: float | None = None) -> None:
        self.path = Path(pack)
        table, slides, _ = _open_pack(self.path)
        if slide_id not in slides:
            raise SlideError(
                f"{pack.name}: holds no slide '{slide_id}'; it has "
                f"{', '.join(list(slides)[:5])}"
            )
        said = slides[slide_id]
        self.vendor, self.properties = said["vendor"], said["properties"]
        self.bounds = Box(**said["bounds"])
        self.resolution = (
            Resolution(**said["resolution"])
            if mpp is None
            else resolve_mpp(given=mpp, vendor=said["resolution"]["mpp"])
        )
        own = np.flatnonzero(table["slide_id"].to_numpy() == slide_id)
        self._data: Any = table["data"]
        self.levels = tuple(
            Level(level["width_px"], level["height_px"], level["downsample"])
            for level in said["levels"]
        )
        self._set_grids(
            [
                _make_grid(level, number, table, own)
                for number, level in enumerate(said["levels"])
            ],
            (),
        )

    def close(self) -> None:  # noqa: D102 - as Slide says
        super().close()
        self._data = None

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
    """List the slide ids of a pack.

    Raises:
        SlideError: It cannot be read.
    """
    return tuple(_open_pack(pack)[1])


def read_origin(pack: Path) -> str:
    """Return the hash of the tile table that a pack was made for.

    Raises:
        SlideError: It cannot be read.
    """
    return str(_open_pack(pack)[2])


def name_packed(pack: Path, slide_id: str) -> str:
    """Return the path by which `open_slide` opens a slide of a pack."""
    return f"{pack}{_SEPARATOR}{slide_id}"


def split_packed(path: str | Path) -> tuple[Path, str] | None:
    """Split such a path into pack and slide id; None where it is another."""
    pack, separator, slide_id = str(path).partition(PACK_SUFFIX + _SEPARATOR)
    return (Path(pack + PACK_SUFFIX), slide_id) if separator else None


def _open_pack(path: Path) -> tuple[Any, dict[str, Any], str]:
    """Map a pack into memory: its rows, its slides and its tile table's hash."""
    try:
        table = ipc.open_file(pa.memory_map(str(path))).read_all()
        content = json.loads(table.schema.metadata[PACK_METADATA])
        if table.schema.names != PACK_SCHEMA.names or content["format"] != PACK_FORMAT:
            raise SlideError(f"{path.name}: a pack of another version of eosin")
        return table, content["slides"], content["made_from"]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        if isinstance(error, SlideError):
            raise
        raise SlideError(
            f"{path}: not a pack of 'eosin tile --pack', or damaged ({error})"
        ) from error


def _make_grid(
    level: dict[str, Any], number: int, table: Any, own: npt.NDArray[np.int64]
) -> TileGrid:
    rows = -(-level["height_px"] // level["tile_height_px"])
    columns = -(-level["width_px"] // level["tile_width_px"])
    places = np.full((rows, columns), -1, np.int64)
    mine = own[table["level"].to_numpy()[own] == number]
    places[table["row"].to_numpy()[mine], table["column"].to_numpy()[mine]] = mine
    return TileGrid(
        width_px=level["width_px"],
        height_px=level["height_px"],
        tile_width_px=level["tile_width_px"],
        tile_height_px=level["tile_height_px"],
        offsets=places,
        byte_counts=(places >= 0).astype(np.int64),
        codec=_make_codec(level["codec"]),
    )


def _make_codec(said: dict[str, Any]) -> TileCodec:
    fields = dict(said)
    codec: TileCodec = _CODECS[fields.pop("kind")](**fields)
    return codec
