"""Reading the tiles of a folder once: what they look like, and which are copies."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import Looks, describe_looks, group_near_duplicates
from eosin.core import ConfigError, Progress, SlideError
from eosin.inference import iter_read_ahead
from eosin.tiles import APPEARANCE, TileReader, hash_tiles, measure_appearance
from eosin.workflows.tile_folder import TileFolder

Rows = npt.NDArray[np.int64]

_BLOCK = 256
# Pixels of a block: 12 MB.
_BLOCK_PIXELS = 1 << 22
# Groups of an import that found near-duplicates itself and had no splits to keep.
_ESTIMATED_GROUP = r"group-[0-9a-f]{16}"


@dataclass(frozen=True, eq=False)
class TileScan:
    """What reading tiles found; arrays of one row for each tile that was asked for.

    Attributes:
        rows: Row of each in the folder's tile table.
        is_read: Whether it could be read; what follows is 0 or NaN where not.
        measures: `(tiles, measures)` in the order of `APPEARANCE`; NaN where it was
            not asked for.
        content: Hash of its pixels as read.
        looks: What it looks like; None where it was not asked for.
        errors: Why a tile could not be read, by its row in the tile table.
    """

    rows: Rows
    is_read: npt.NDArray[np.bool_]
    measures: npt.NDArray[np.float32]
    content: npt.NDArray[np.uint64]
    looks: Looks | None
    errors: dict[int, str] = field(default_factory=dict)

    def make_table(self, n_tiles: int) -> pd.DataFrame:
        """Return the measures of all tiles of the table, NaN where there is none."""
        values = np.full((n_tiles, len(APPEARANCE)), np.nan, np.float32)
        values[self.rows] = self.measures
        return pd.DataFrame(values, columns=list(APPEARANCE))


@dataclass(frozen=True, eq=False)
class _Block:
    is_read: npt.NDArray[np.bool_]
    measures: npt.NDArray[np.float32]
    content: npt.NDArray[np.uint64]
    looks: Looks | None
    errors: Mapping[int, str]


@dataclass(frozen=True, kw_only=True)
class ScanPlan:
    """What is to be found of tiles.

    Attributes:
        rows: Rows of the tile table to read.
        is_measured: Whether each of these is measured.
        hashes: Whether their pixels are hashed.
        looks: Whether their looks are described.
    """

    rows: Rows
    is_measured: npt.NDArray[np.bool_]
    hashes: bool
    looks: bool


def scan_tiles(
    folder: TileFolder,
    plan: ScanPlan,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> TileScan:
    """Read tiles in blocks, each once.

    A tile that cannot be read stops nothing; its block is read tile by tile.

    Args:
        folder: The tiles.
        plan: Which, and what is to be found.
        workers: Threads that read.
        progress: Told how far it is.
    """
    n = len(plan.rows)
    scan = TileScan(
        plan.rows,
        np.zeros(n, bool),
        np.full((n, len(APPEARANCE)), np.nan, np.float32),
        np.zeros(n, np.uint64),
        Looks(np.zeros((n, 2), np.uint64), np.zeros((n, 64), np.float16))
        if plan.looks
        else None,
    )
    size = max(1, min(_BLOCK, _BLOCK_PIXELS // folder.info.tile_px**2))
    with folder.open_reader() as reader:

        def read_block(places: Rows) -> _Block:
            return _scan_block(reader, plan, places)

        blocks = iter_read_ahead(
            read_block, range(n), size, ahead=2 * workers, threads=workers
        )
        with (
            (progress or Progress()).task("Reading tiles", n) as task,
            closing(blocks),
        ):
            for places, block in blocks:
                _keep(scan, places, block)
                task.advance(len(places))
    return scan


def require_other_folder(folder: TileFolder, out: Path) -> None:
    """Refuse to write into the folder that is read.

    Raises:
        ConfigError: They are the same.
    """
    if out.resolve() == folder.path.resolve():
        raise ConfigError(
            f"{out}: is the tile folder itself, which stays as it is; name another "
            "folder to write to"
        )


def read_contents(tiles: pd.DataFrame) -> npt.NDArray[np.uint64] | None:
    """Read the hashes of the tiles' pixels from the table; None without them."""
    if "content_hash" not in tiles:
        return None
    return np.array([int(value, 16) for value in tiles["content_hash"]], np.uint64)


def read_near_groups(tiles: pd.DataFrame) -> Rows | None:
    """Read the groups of near-duplicates that an import has found.

    Returns:
        Number of each tile's group, `(tiles,)`; None where the import knew slides of
        some tiles or kept splits, and so did not unite all that look alike.
    """
    names = tiles["slide_id"]
    if "look_hash" not in tiles or not names.str.fullmatch(_ESTIMATED_GROUP).all():
        return None
    return np.asarray(pd.factorize(names)[0], np.int64)


def fill_unread(scan: TileScan) -> npt.NDArray[np.uint64]:
    """Return hashes of content in which no tile that was not read has a copy."""
    content = scan.content.copy()
    # No pixels, no copy: a number of its own for each, which no hash is likely to be.
    missing = np.flatnonzero(~scan.is_read)
    content[missing] = missing.astype(np.uint64) + np.uint64(1)
    return content


def find_near_groups(
    scan: TileScan, content: npt.NDArray[np.uint64], progress: Progress
) -> Rows:
    """Unite tiles that look alike; a tile that cannot be read stays alone.

    Args:
        scan: Of all tiles of the table, with their looks.
        content: Hash of each tile's pixels.
        progress: Told that it is done.

    Returns:
        Number of each tile's group, `(tiles,)`.
    """
    groups = -1 - np.arange(len(scan.rows))
    good = np.flatnonzero(scan.is_read)
    if scan.looks is not None and len(good):
        with progress.task("Finding near-duplicates", None):
            groups[good] = group_near_duplicates(
                scan.looks.take(good), identical=content[good]
            )
    return groups


def _scan_block(reader: TileReader, plan: ScanPlan, places: Rows) -> _Block:
    """Read and measure some tiles, by their places in the plan."""
    rows = plan.rows[places]
    is_read = np.ones(len(rows), bool)
    errors: dict[int, str] = {}
    try:
        pixels = reader.read(rows)
    except SlideError:
        parts = []
        for place, row in enumerate(rows):
            try:
                parts.append(reader.read(np.array([row])))
            except SlideError as error:
                errors[int(row)] = str(error)
                is_read[place] = False
        pixels = np.concatenate(parts) if parts else np.empty((0, 1, 1, 3), np.uint8)
    n = len(rows)
    measures = np.full((n, len(APPEARANCE)), np.nan, np.float32)
    is_measured = plan.is_measured[places]
    measures[is_read & is_measured] = measure_appearance(pixels[is_measured[is_read]])
    content = np.zeros(n, np.uint64)
    if plan.hashes:
        content[is_read] = hash_tiles(pixels)
    looks = describe_looks(list(pixels)) if plan.looks else None
    return _Block(is_read, measures, content, looks, errors)


def _keep(scan: TileScan, places: Rows, block: _Block) -> None:
    scan.is_read[places] = block.is_read
    scan.measures[places] = block.measures
    scan.content[places] = block.content
    if scan.looks is not None and block.looks is not None:
        scan.looks.hashes[places[block.is_read]] = block.looks.hashes
        scan.looks.frequencies[places[block.is_read]] = block.looks.frequencies
    scan.errors.update(block.errors)
