"""Reading every patch of a data set once: what it is, and what it looks like."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eosin.cohorts import Looks, describe_looks
from eosin.core import ManifestError, Progress, SlideError
from eosin.inference.read_ahead import iter_read_ahead
from eosin.tiles import PatchReader, fit_patch, measure_sharpness

_SAMPLE = 256
_BLOCK = 256
# Pixels of a block that are held at once: 12 MB.
_BLOCK_PIXELS = 1 << 22


@dataclass(frozen=True, eq=False)
class PatchScan:
    """What reading the patches found; arrays of one row per patch.

    Attributes:
        is_read: Whether the patch could be read; what follows is 0 or NaN where not.
        side_px: Shorter side in the patch's own pixels.
        content: Hash of its pixels.
        looks: What it looks like.
        measures: Sharpness, mean red, green and blue of the tile, `(patches, 4)`;
            NaN where not asked for.
        n_by_kind: Patches that were grey, had transparency, 16 bit or were not
            square.
        errors: Why a patch could not be read, by row.
    """

    is_read: npt.NDArray[np.bool_]
    side_px: npt.NDArray[np.int64]
    content: npt.NDArray[np.uint64]
    looks: Looks
    measures: npt.NDArray[np.float32]
    n_by_kind: Counter[str] = field(default_factory=Counter)
    errors: dict[int, str] = field(default_factory=dict)

    def take_readable(self) -> "PatchScan":
        """Return the rows of patches that could be read."""
        rows = np.flatnonzero(self.is_read)
        return PatchScan(
            self.is_read[rows],
            self.side_px[rows],
            self.content[rows],
            self.looks.take(rows),
            self.measures[rows],
            self.n_by_kind,
        )


@dataclass(frozen=True, eq=False)
class _Block:
    """What was found of some rows, those that could be read."""

    rows: list[int]
    sides: list[int]
    contents: list[int]
    looks: Looks
    measures: npt.NDArray[np.float32]
    kinds: Counter[str]
    errors: Mapping[int, str]


def choose_tile_px(reader: PatchReader, n_patches: int) -> int:
    """Find the commonest side among patches spread evenly over the table.

    Raises:
        ManifestError: Not one of them can be read.
    """
    sides: Counter[int] = Counter()
    first_error = ""
    for row in np.unique(np.linspace(0, n_patches - 1, _SAMPLE).astype(int)).tolist():
        try:
            sides[min(reader.read_patch(row).pixels.shape[:2])] += 1
        except SlideError as error:
            first_error = first_error or str(error)
    if not sides:
        raise ManifestError(
            f"not one of the patches that were tried can be read; {first_error}"
        )
    return min(sides, key=lambda side: (-sides[side], side))


def scan_patches(
    reader: PatchReader,
    n_patches: int,
    tile_px: int,
    *,
    measures: bool = True,
    workers: int = 2,
    progress: Progress | None = None,
) -> PatchScan:
    """Read every patch once.

    Args:
        reader: The patches.
        n_patches: Rows 0 to n_patches - 1 are read.
        tile_px: Side of a tile as read; measures are taken at this size.
        measures: Whether sharpness and colour are measured.
        workers: Threads that read.
        progress: Told how far it is.
    """
    scan = PatchScan(
        np.zeros(n_patches, bool),
        np.zeros(n_patches, np.int64),
        np.zeros(n_patches, np.uint64),
        Looks(np.zeros((n_patches, 2), np.uint64), np.zeros((n_patches, 64), "f2")),
        np.full((n_patches, 4), np.nan, np.float32),
    )

    def read_block(rows: npt.NDArray[np.int64]) -> _Block:
        return _scan_block(reader, rows, tile_px, measures=measures)

    size = max(1, min(_BLOCK, _BLOCK_PIXELS // tile_px**2))
    blocks = iter_read_ahead(
        read_block, range(n_patches), size, ahead=2 * workers, threads=workers
    )
    with (
        (progress or Progress()).task("Reading patches", n_patches) as task,
        closing(blocks),
    ):
        for rows, block in blocks:
            _keep(scan, block)
            task.advance(len(rows))
    return scan


def _scan_block(
    reader: PatchReader,
    rows: npt.NDArray[np.int64],
    tile_px: int,
    *,
    measures: bool,
) -> _Block:
    patches, good, errors = [], [], {}
    kinds: Counter[str] = Counter()
    for row in rows.tolist():
        try:
            patch = reader.read_patch(row)
        except SlideError as error:
            errors[row] = str(error)
            continue
        good.append(row)
        patches.append(patch.pixels)
        height, width = patch.pixels.shape[:2]
        kinds[patch.kind] += 1
        kinds["not square"] += height != width
    values = np.full((len(good), 4), np.nan, np.float32)
    if measures and good:
        tiles = np.stack([fit_patch(pixels, tile_px) for pixels in patches])
        values[:, 0] = measure_sharpness(tiles)
        values[:, 1:] = tiles.mean(axis=(1, 2))
    return _Block(
        good,
        [min(pixels.shape[:2]) for pixels in patches],
        [_hash_pixels(pixels) for pixels in patches],
        describe_looks(patches),
        values,
        kinds,
        errors,
    )


def _hash_pixels(pixels: npt.NDArray[np.uint8]) -> int:
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=8)
    digest.update(pixels.tobytes())
    return int.from_bytes(digest.digest(), "big")


def _keep(scan: PatchScan, block: _Block) -> None:
    scan.is_read[block.rows] = True
    scan.side_px[block.rows] = block.sides
    scan.content[block.rows] = np.array(block.contents, np.uint64)
    scan.looks.hashes[block.rows] = block.looks.hashes
    scan.looks.frequencies[block.rows] = block.looks.frequencies
    scan.measures[block.rows] = block.measures
    scan.n_by_kind.update(block.kinds)
    scan.errors.update(block.errors)
