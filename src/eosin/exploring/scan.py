"""Reading tiles once: their pixels' hash, what they look like, and their measures."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ManifestError, Progress, SlideError, SlideFailure
from eosin.exploring.near_duplicates import Looks, describe_looks
from eosin.inference import iter_read_ahead
from eosin.tiles import (
    APPEARANCE,
    Patch,
    PatchReader,
    fit_patch,
    hash_tiles,
    measure_appearance,
)

Rows = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
ReadEach = Callable[[Rows], Sequence[Patch | SlideError]]

_SAMPLE = 256
_BLOCK = 256
# Pixels of a block that are held at once: 12 MB.
_BLOCK_PIXELS = 1 << 22
_RECORDED_FAILURES = 100
# Stands for what cannot be read; it looks like nothing.
_NOTHING = np.zeros((1, 1, 3), np.uint8)
_ARRAYS = ("rows", "is_read", "side_px", "measures", "content")


@dataclass(frozen=True)
class ScanPlan:
    """What is to be found of tiles.

    Attributes:
        rows: Rows to read.
        tile_px: Side of a tile as it is measured.
        is_measured: Whether each of these is measured.
        measure: From `(tiles, px, px, 3)` to `(tiles, measures)`.
        looks: Whether their looks are described.
    """

    rows: Rows
    tile_px: int
    is_measured: npt.NDArray[np.bool_]
    measure: Callable[[Pixels], npt.NDArray[np.float32]] = measure_appearance
    looks: bool = True
    units: str = "tiles"


@dataclass(frozen=True, eq=False)
class Scan:
    """What reading tiles found; arrays of one row for each tile that was asked for.

    Attributes:
        rows: Row of each in the table.
        is_read: Whether it could be read; what follows is 0 or NaN where not.
        side_px: Shorter side in its own pixels.
        measures: `(tiles, measures)`; NaN where it was not asked for.
        content: Hash of its pixels; no other tile has that of one that was not read.
        n_by_kind: Tiles that were grey, had transparency, 16 bit or were not square.
        errors: Why a tile could not be read, by its row in the table.
    """

    rows: Rows
    is_read: npt.NDArray[np.bool_]
    side_px: Rows
    measures: npt.NDArray[np.float32]
    content: npt.NDArray[np.uint64]
    looks: Looks | None
    n_by_kind: Counter[str] = field(default_factory=Counter)
    errors: dict[int, str] = field(default_factory=dict)

    def take_readable(self) -> "Scan":
        """Return the rows of tiles that could be read."""
        places = np.flatnonzero(self.is_read)
        arrays: dict[str, Any] = {name: getattr(self, name)[places] for name in _ARRAYS}
        looks = None if self.looks is None else self.looks.take(places)
        return replace(self, **arrays, looks=looks, errors={})

    def make_table(self, n_tiles: int) -> pd.DataFrame:
        """Return `APPEARANCE` of all tiles of the table, NaN where there is none."""
        values = np.full((n_tiles, len(APPEARANCE)), np.nan, np.float32)
        values[self.rows] = self.measures
        return pd.DataFrame(values, columns=list(APPEARANCE))

    def require_one(self, what: str) -> None:
        """Stop where nothing of `what`, such as `not one of 5 tiles`, could be read."""
        if self.errors and not self.is_read.any():
            first = self.errors[min(self.errors)]
            raise ManifestError(f"{what} can be read; the first: {first}")

    def list_failures(
        self,
        tiles: pd.DataFrame,
        step: str,
        *,
        among: npt.NDArray[np.bool_] | None = None,
    ) -> list[SlideFailure]:
        """List the first hundred tiles (`among` these, by row) that cannot be read."""
        rows = [row for row in sorted(self.errors) if among is None or among[row]]
        return [
            SlideFailure(str(tiles["tile_id"].iloc[row]), step, self.errors[row])
            for row in rows[:_RECORDED_FAILURES]
        ]


def scan_tiles(
    read_each: ReadEach,
    plan: ScanPlan,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> Scan:
    """Read tiles in blocks, each once; one that cannot be read stops nothing."""
    size = max(1, min(_BLOCK, _BLOCK_PIXELS // plan.tile_px**2))
    # The first part holds nothing, and decides what there is without any tile.
    parts = [_scan_block(read_each, plan, np.arange(0))]
    n, units = len(plan.rows), plan.units
    blocks = iter_read_ahead(
        lambda places: _scan_block(read_each, plan, places),
        range(n),
        size,
        ahead=2 * workers,
        threads=workers,
    )
    with (
        (progress or Progress()).task(f"Reading {units}", n) as task,
        closing(blocks),
    ):
        for places, part in blocks:
            parts.append(part)
            task.advance(len(places))
    return _join(parts)


def choose_tile_px(reader: PatchReader, n_patches: int) -> int:
    """Find the commonest side among patches spread evenly over the table."""
    sides: Counter[int] = Counter()
    errors = []
    for row in np.unique(np.linspace(0, n_patches - 1, _SAMPLE).astype(int)):
        (found,) = reader.read_each(np.array([row]))
        if isinstance(found, Patch):
            sides[min(found.pixels.shape[:2])] += 1
        else:
            errors.append(found)
    if not sides:
        raise ManifestError(
            f"not one of the patches that were tried can be read; {errors[0]}"
        )
    return min(sides, key=lambda side: (-sides[side], side))


def _scan_block(read_each: ReadEach, plan: ScanPlan, places: Rows) -> Scan:
    """Read and describe some tiles, by their places in the plan."""
    rows, px = plan.rows[places], plan.tile_px
    found = read_each(rows)
    is_read = np.array([isinstance(patch, Patch) for patch in found], bool)
    pixels = [p.pixels if isinstance(p, Patch) else _NOTHING for p in found]
    sides = np.array([min(part.shape[:2]) for part in pixels], np.int64) * is_read
    # No pixels, no copy: a number of its own for each, which no hash is likely to be.
    content = np.where(is_read, hash_tiles(pixels), places.astype(np.uint64) + 1)
    looks = describe_looks(pixels) if plan.looks else None
    is_measured = plan.is_measured[places] & is_read
    tiles = np.empty((int(is_measured.sum()), px, px, 3), np.uint8)
    for tile, place in zip(tiles, np.flatnonzero(is_measured), strict=True):
        tile[:] = fit_patch(pixels[place], px)
    measured = plan.measure(tiles)
    measures = np.full((len(rows), measured.shape[1]), np.nan, np.float32)
    measures[is_measured] = measured
    kinds = Counter(patch.kind for patch in found if isinstance(patch, Patch))
    kinds["not square"] = sum(part.shape[0] != part.shape[1] for part in pixels)
    errors = {
        int(row): str(error)
        for row, error in zip(rows, found, strict=True)
        if isinstance(error, SlideError)
    }
    return Scan(rows, is_read, sides, measures, content, looks, kinds, errors)


def _join(parts: Sequence[Scan]) -> Scan:
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in _ARRAYS
    }
    looks = [part.looks for part in parts if part.looks is not None]
    return Scan(
        **arrays,
        looks=Looks.join(looks) if looks else None,
        n_by_kind=sum((part.n_by_kind for part in parts), Counter()),
        errors={row: text for part in parts for row, text in part.errors.items()},
    )
