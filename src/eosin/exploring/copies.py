"""Tiles that are there twice: identical or nearly so, and what is wrong with that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import Progress
from eosin.exploring.near_duplicates import group_near_duplicates
from eosin.exploring.scan import Rows, Scan, ScanPlan
from eosin.tiles import TileFolder

CopyKind = Literal["exact", "near"]
COPY_KINDS: tuple[CopyKind, ...] = ("exact", "near")

_OWN_COLUMNS = ["kind", "group", "is_conflicting", "is_across_splits"]
_TILE_COLUMNS = ["tile_id", "slide_id", "split", "label"]
_EXAMPLES = 20
# Groups of an import that found near-duplicates itself and had no splits to keep.
_ESTIMATED_GROUP = r"group-[0-9a-f]{16}"


@dataclass(frozen=True)
class CopyCount:
    """How many copies there are of one kind.

    Attributes:
        kind: `exact` (identical pixels) or `near` (identical or look alike).
        n_groups: Groups of two or more.
        n_tiles: Tiles in them.
        n_surplus: Tiles beyond the first of each group.
        n_conflicting: Tiles in groups of more than one label.
        n_across_splits: Tiles in groups that lie in more than one split.
    """

    kind: CopyKind
    n_groups: int
    n_tiles: int
    n_surplus: int
    n_conflicting: int
    n_across_splits: int


def plan_scan(
    folder: TileFolder,
    measured: Rows,
    *,
    exact: bool,
    near: bool,
    read_all: bool = False,
) -> ScanPlan:
    """Plan to measure tiles, and to read all where the table does not know copies.

    Args:
        folder: The tiles.
        measured: Rows of those to measure.
        exact: Whether identical tiles are looked for.
        near: Whether tiles that look alike are.
        read_all: Whether all are read whatever the table knows.
    """
    hashes = exact and read_contents(folder.tiles) is None
    looks = near and read_near_groups(folder.tiles) is None
    is_every = read_all or hashes or looks
    rows = np.arange(len(folder.tiles)) if is_every else measured
    return ScanPlan(
        rows=rows,
        tile_px=folder.info.tile_px,
        is_measured=np.isin(rows, measured),
        hashes=hashes,
        looks=looks,
    )


def find_contents(tiles: pd.DataFrame, scan: Scan) -> npt.NDArray[np.uint64]:
    """Take the hash of each tile's pixels from the table, or else from the scan."""
    known = read_contents(tiles)
    return scan.content if known is None else known


def find_near_groups(tiles: pd.DataFrame, scan: Scan, progress: Progress) -> Rows:
    """Unite tiles that look alike; one that cannot be read stays alone.

    Args:
        tiles: The table.
        scan: Of all its tiles, where it does not know the groups.
        progress: Told that it is done.

    Returns:
        Number of each tile's group, `(tiles,)`.
    """
    known = read_near_groups(tiles)
    if known is not None:
        return known
    groups = -1 - np.arange(len(scan.rows))
    good = np.flatnonzero(scan.is_read)
    if scan.looks is not None and len(good):
        content = find_contents(tiles, scan)[good]
        with progress.task("Finding near-duplicates", None):
            looks = scan.looks.take(good)
            groups[good] = group_near_duplicates(looks, identical=content)
    return groups


def read_contents(tiles: pd.DataFrame) -> npt.NDArray[np.uint64] | None:
    """Read the hashes of the tiles' pixels from the table; None without them."""
    if "content_hash" not in tiles:
        return None
    return np.array([int(value, 16) for value in tiles["content_hash"]], np.uint64)


def read_near_groups(tiles: pd.DataFrame) -> Rows | None:
    """Read the groups of near-duplicates that an import has found.

    None where it knew slides of some tiles or kept splits, and so did not unite all
    that look alike.
    """
    names = tiles["slide_id"]
    if "look_hash" not in tiles or not names.str.fullmatch(_ESTIMATED_GROUP).all():
        return None
    return np.asarray(pd.factorize(names)[0], np.int64)


def find_copies(
    tiles: pd.DataFrame,
    content: npt.NDArray[np.generic],
    near: npt.NDArray[np.generic] | None = None,
) -> pd.DataFrame:
    """List the tiles that have a copy.

    Args:
        tiles: `tile_id, slide_id, split` and `label` (missing where there is none).
        content: Hash of each tile's pixels, `(tiles,)`.
        near: Group of each tile among those that look alike, `(tiles,)`; groups in
            which all are identical are listed as exact alone.

    Returns:
        `kind, group` (from 0 in each kind, conflicts first, then by size),
        `tile_id, slide_id, split, label, is_conflicting, is_across_splits`, with the
        rows of `tiles` as the index.
    """
    parts = [_list_groups(tiles, content, "exact")]
    if near is not None:
        kinds = pd.Series(content).groupby(np.asarray(near)).transform("nunique")
        parts.append(_list_groups(tiles, near, "near", kinds.to_numpy() > 1))
    return pd.concat(parts)


def count_copies(copies: pd.DataFrame, kinds: Sequence[CopyKind]) -> list[CopyCount]:
    """Count what `find_copies` found, for each kind that was looked for."""
    counts = []
    for kind in kinds:
        own = copies[copies["kind"] == kind]
        n_groups = int(own["group"].nunique())
        counts.append(
            CopyCount(
                kind=kind,
                n_groups=n_groups,
                n_tiles=len(own),
                n_surplus=len(own) - n_groups,
                n_conflicting=int(own["is_conflicting"].sum()),
                n_across_splits=int(own["is_across_splits"].sum()),
            )
        )
    return counts


def describe_identical(
    tiles: pd.DataFrame, content: npt.NDArray[np.uint64]
) -> dict[str, Any]:
    """Count identical tiles, and what is wrong with them, for a record.

    Args:
        tiles: As for `find_copies`.
        content: Hash of each tile's pixels.

    Returns:
        `n_copies` (tiles beyond the first), `n_conflicting` (labelled tiles whose
        copies have another label) with `conflicting` examples, and
        `n_copies_across_splits`.
    """
    copies = find_copies(tiles, content)
    (count,) = count_copies(copies, ["exact"])
    wrong = copies[copies["is_conflicting"] & copies["label"].notna()]
    wrong = wrong.assign(content=content[wrong.index])
    examples = wrong.sort_values(["content", "tile_id"])["tile_id"]
    return {
        "n_copies": count.n_surplus,
        "n_conflicting": len(wrong),
        "conflicting": list(examples.head(_EXAMPLES)),
        "n_copies_across_splits": count.n_across_splits,
    }


def caution_identical(found: dict[str, Any]) -> list[str]:
    """Say what is wrong with identical patches, as `describe_identical` counts it."""
    cautions = []
    if found["n_copies_across_splits"]:
        cautions.append(
            f"{found['n_copies_across_splits']:,} patches have an identical copy in "
            "another split: the model is tested on what it has seen."
        )
    if found["n_conflicting"]:
        cautions.append(
            f"{found['n_conflicting']:,} patches have an identical copy with another "
            f"label, such as {', '.join(found['conflicting'][:2])}: one of the labels "
            "is wrong."
        )
    return cautions


def _list_groups(
    tiles: pd.DataFrame,
    groups: npt.NDArray[np.generic],
    kind: CopyKind,
    is_wanted: npt.NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    numbers = pd.factorize(np.asarray(groups))[0]
    is_copy = np.bincount(numbers, minlength=1)[numbers] > 1
    if is_wanted is not None:
        is_copy &= is_wanted
    rows = np.flatnonzero(is_copy)
    found = tiles[_TILE_COLUMNS].iloc[rows].set_axis(rows)
    found = found.assign(group=numbers[rows])
    by_group = found.groupby("group")
    found["is_conflicting"] = by_group["label"].transform("nunique").astype(int) > 1
    found["is_across_splits"] = by_group["split"].transform("nunique").astype(int) > 1
    order = found.assign(size=by_group["tile_id"].transform("size"), row=rows)
    order["first"] = order.groupby("group")["row"].transform("min")
    order = order.sort_values(
        ["is_conflicting", "size", "first", "row"],
        ascending=[False, False, True, True],
    )
    found = found.loc[order.index]
    found["group"] = pd.factorize(found["group"])[0]
    found["kind"] = kind
    return found[[*_OWN_COLUMNS[:2], *_TILE_COLUMNS, *_OWN_COLUMNS[2:]]]
