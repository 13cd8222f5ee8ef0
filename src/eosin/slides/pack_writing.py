"""Writing a pack: the native tiles that a study needs, in one file.

A pack is an Arrow IPC file (arrow.apache.org/docs/format/Columnar.html), so that
any Arrow library reads it: one row per native tile, its bytes as the slide holds
them (never encoded again; a JPEG's tables are merged into it, so that each is a
file by itself). What the slides are stands in the schema's metadata.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import ipc

from eosin.slides.tile_codecs import JPEGTiles, TileCodec
from eosin.slides.tiled_reader import TiledSlide

PACK_FORMAT = 1
PACK_METADATA = b"eosin.pack"
PACK_SCHEMA = pa.schema(
    [
        pa.field("slide_id", pa.string(), nullable=False),
        pa.field("level", pa.int16(), nullable=False),
        pa.field("column", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        # Empty is a tile that was never stored (white), null one that is damaged.
        pa.field("data", pa.large_binary()),
    ]
)

_BATCH_BYTES = 8 << 20

# Properties that say how a slide was scanned; DICOM's are chosen where they are read.
_SHARED = ("openslide.vendor", "openslide.mpp", "dicom.", "eosin.")
_SHARED_ENDS = (".MPP", ".AppMag")

Cells = Mapping[int, npt.NDArray[np.bool_]]


class PackWriter:
    """Writes native tiles of many slides to one file.

    Used as a context; `write` is called once for each of the slides, of which
    `describe_slide` told. `made_from` is the hash of the tile table that the pack is
    for.
    """

    def __init__(
        self, path: Path, slides: Mapping[str, Mapping[str, Any]], made_from: str
    ) -> None:
        content = json.dumps(
            {"format": PACK_FORMAT, "made_from": made_from, "slides": slides}
        )
        self._schema = PACK_SCHEMA.with_metadata({PACK_METADATA: content.encode()})
        self._writer = ipc.new_file(str(path), self._schema)

    def write(self, slide_id: str, slide: TiledSlide, cells: Cells) -> int:
        """Copy those native tiles of one slide that `find_cells` found; count them."""
        size = 0
        batch: list[tuple[int, int, int, bytes | None]] = []
        places = [
            (level, column, row)
            for level, wanted in cells.items()
            for row, column in np.argwhere(wanted).tolist()
        ]
        for level, column, row in places:
            data = _read_packed(slide, level, column, row)
            batch.append((level, column, row, data))
            size += len(data or b"")
            if size > _BATCH_BYTES:
                self._write_batch(slide_id, batch)
                batch, size = [], 0
        if batch:
            self._write_batch(slide_id, batch)
        return len(places)

    def _write_batch(
        self, slide_id: str, batch: list[tuple[int, int, int, bytes | None]]
    ) -> None:
        levels, columns, rows, data = zip(*batch, strict=True)
        arrays = [[slide_id] * len(batch), levels, columns, rows, data]
        self._writer.write_batch(
            pa.record_batch(
                [
                    pa.array(values, field.type)
                    for values, field in zip(arrays, PACK_SCHEMA, strict=True)
                ],
                schema=self._schema,
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def _read_packed(slide: TiledSlide, level: int, column: int, row: int) -> bytes | None:
    """Read a native tile as it is packed; None where it is damaged."""
    try:
        data = slide.read_native(level, column, row)
        return slide.grids[level].codec.pack(data) if data else b""
    except Exception:  # noqa: BLE001 - whatever the tile's bytes make its codec raise
        return None


def find_cells(slide: TiledSlide, boxes: npt.NDArray[np.int64], tile_px: int) -> Cells:
    """Find the native tiles that boxes need, and all of the coarser levels.

    The coarser levels are small, and hold what finding tissue and drawing the slide
    needs. Boxes are `(tiles, 4)`, as `Slide.read_tiles` takes them, and `tile_px` is
    the side of a tile as read.
    """
    cells = {}
    if len(boxes):
        level = slide._find_level(float((boxes[:, 2:] / tile_px).min()))
        grid, own = slide.grids[level], slide.levels[level].downsample
        wanted = np.zeros(grid.offsets.shape, bool)
        # One pixel more on each side, as places are rounded.
        start = np.floor(boxes[:, :2] / own).astype(np.int64) - 1
        end = np.ceil((boxes[:, :2] + boxes[:, 2:]) / own).astype(np.int64) + 1
        sides = np.array([grid.tile_width_px, grid.tile_height_px])
        first = np.maximum(start // sides, 0)
        last = np.minimum((end - 1) // sides, np.array(wanted.shape[::-1]) - 1)
        for (x0, y0), (x1, y1) in zip(first.tolist(), last.tolist(), strict=True):
            wanted[y0 : y1 + 1, x0 : x1 + 1] = True
        cells[level] = wanted
    least = max(cells, default=-1)
    for level in range(least + 1, len(slide.grids)):
        cells[level] = np.ones(slide.grids[level].offsets.shape, bool)
    return cells


def describe_slide(slide: TiledSlide) -> dict[str, Any]:
    """Describe a slide as JSON, all but its tiles.

    Of what its header says, only what cannot name a patient goes along: a pack is there
    to be shared, and scanners write what was typed in, or read off the label.
    """
    return {
        "vendor": slide.vendor,
        "name": slide.path.name,
        "resolution": asdict(slide.resolution),
        "bounds": asdict(slide.bounds),
        "properties": {
            key: value
            for key, value in slide.properties.items()
            if key.startswith(_SHARED) or key.endswith(_SHARED_ENDS)
        },
        "levels": [
            {
                **asdict(level),
                "tile_width_px": grid.tile_width_px,
                "tile_height_px": grid.tile_height_px,
                "codec": describe_codec(grid.codec),
            }
            for level, grid in zip(slide.levels, slide.grids, strict=True)
        ],
    }


def describe_codec(codec: TileCodec) -> dict[str, Any]:
    """Describe how packed bytes are decoded, as JSON."""
    if isinstance(codec, JPEGTiles):
        # Tables and markers are merged into each tile by packing.
        colour = "grey" if codec.colour == "grey" else "marked"
        return {"kind": "JPEGTiles", "tables": None, "colour": colour}
    kept = {
        name: value
        for name, value in asdict(codec).items()  # type: ignore[call-overload]
        if name != "scales"
    }
    return {"kind": type(codec).__name__, **kept}
