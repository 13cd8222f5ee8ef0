"""From a folder of tiles to one file that holds all that they are read from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.core import Progress, SlideError, atomic_path
from eosin.slides import (
    PackWriter,
    TiledSlide,
    describe_slide,
    find_cells,
    list_packed,
    open_slide,
    read_descriptions,
    read_origin,
    require_unchanged,
)
from eosin.tiles.folder import FINGERPRINT, PACK_NAME, TileFolder, open_tile_folder
from eosin.tiles.grid import find_boxes


@dataclass(frozen=True)
class PackResult:
    """What `pack_tiles` made.

    Attributes:
        n_native_tiles: Native tiles copied by this call; 0 where the pack was made
            before.
        n_bytes: Size of the pack.
        left_out: Slides that stay where they are, with the reason.
    """

    path: Path
    n_slides: int
    n_native_tiles: int
    n_bytes: int
    left_out: Mapping[str, str]


def pack_tiles(tiles: Path, *, progress: Progress | None = None) -> PackResult:
    """Copy the native tiles under a folder's tiles into `pack.arrow`.

    Nothing is encoded again: a tile read from the pack is bit-identical to the one
    read from its slide. Slides whose format is not read tile by tile, and slides that
    cannot be opened, stay where they are.

    Raises:
        ManifestError: The folder is not one.
        RunError: The pack cannot be written.
    """
    folder = open_tile_folder(tiles, use_pack=False)
    path = folder.path / PACK_NAME
    told, left_out = _describe_slides(folder)
    n_native_tiles = 0
    if not _is_current(path, folder.sha256, told):
        progress = progress or Progress()
        with (
            atomic_path(path) as temporary,
            PackWriter(temporary, told, folder.sha256) as writer,
            progress.task("Packing slides", len(told)) as task,
        ):
            for slide_id in told:
                n_native_tiles += _pack_slide(folder, slide_id, writer)
                task.advance(note=slide_id)
    packed = list_packed(path)
    left_out = {name: why for name, why in left_out.items() if name not in packed}
    return PackResult(path, len(packed), n_native_tiles, path.stat().st_size, left_out)


def _is_current(path: Path, sha256: str, told: Mapping[str, Any]) -> bool:
    """Whether a pack was made from this table, and holds the slides as they are now.

    One that also holds slides which cannot be reached any longer is kept.
    """
    try:
        if not path.exists() or read_origin(path) != sha256:
            return False
        known = read_descriptions(path)
    except SlideError:
        return False
    # As JSON has it: tuples are lists there.
    now = json.loads(json.dumps(told))
    return all(known.get(name) == said for name, said in now.items())


def _describe_slides(
    folder: TileFolder,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Describe the slides that can be packed; name the others with the reason."""
    told, left_out = {}, {}
    for row in folder.slides.to_dict("records"):
        slide_id, fingerprint = str(row["slide_id"]), row[FINGERPRINT]
        try:
            require_unchanged(row["path"], fingerprint)
            with open_slide(row["path"], mpp=row["mpp_used"]) as slide:
                if isinstance(slide, TiledSlide):
                    told[slide_id] = describe_slide(slide)
                    told[slide_id][FINGERPRINT] = fingerprint
                else:
                    left_out[slide_id] = (
                        f"its format is read by {slide.reader}, not tile by tile"
                    )
        except SlideError as error:
            left_out[slide_id] = str(error)
    return told, left_out


def _pack_slide(folder: TileFolder, slide_id: str, writer: PackWriter) -> int:
    row = folder.slides[folder.slides["slide_id"] == slide_id].iloc[0]
    own = folder.tiles[folder.tiles["slide_id"] == slide_id]
    with open_slide(row["path"], mpp=row["mpp_used"]) as slide:
        boxes = find_boxes(own, folder.info.context)
        cells = find_cells(slide, boxes, folder.info.tile_px)  # type: ignore[arg-type]
        return writer.write(slide_id, slide, cells)  # type: ignore[arg-type]
