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

_TILE_COLUMNS = ["tile_id", "slide_id", "split", "label"]
_FLAGS = {"label": "is_conflicting", "split": "is_across_splits"}
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
    """Plan to measure some rows, and to read all where the table knows no copies.

    `exact` and `near` are the copies that are looked for; `read_all` reads all tiles
    whatever the table knows.
    """
    looks = near and read_near_groups(folder.tiles) is None
    is_every = read_all or looks or (exact and read_contents(folder.tiles) is None)
    rows = np.arange(len(folder.tiles)) if is_every else measured
    is_measured = np.isin(rows, measured)
    return ScanPlan(rows, folder.info.tile_px, is_measured, looks=looks)


def find_contents(tiles: pd.DataFrame, scan: Scan) -> npt.NDArray[np.uint64]:
    """Take the hash of each tile's pixels from the table, or else from the scan."""
    known = read_contents(tiles)
    return scan.content if known is None else known


def find_near_groups(tiles: pd.DataFrame, scan: Scan, progress: Progress) -> Rows:
    """Number groups of tiles that look alike; one that cannot be read stays alone."""
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
        `kind, group` (from 0 in each kind, conflicts first, then by size), those of
        `tiles`, `is_conflicting, is_across_splits`; the index is the row in `tiles`.
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
        of_kind = copies[copies["kind"] == kind]
        n_groups = int(of_kind["group"].nunique())
        counts.append(
            CopyCount(
                kind=kind,
                n_groups=n_groups,
                n_tiles=len(of_kind),
                n_surplus=len(of_kind) - n_groups,
                n_conflicting=int(of_kind["is_conflicting"].sum()),
                n_across_splits=int(of_kind["is_across_splits"].sum()),
            )
        )
    return counts


def describe_identical(
    tiles: pd.DataFrame, content: npt.NDArray[np.uint64]
) -> dict[str, Any]:
    """Count identical tiles, and what is wrong with them, for a record.

    `n_copies` are tiles beyond the first, `n_conflicting` labelled ones whose copies
    have another label, with `conflicting` examples.
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
    is_wanted: npt.NDArray[np.bool_] | bool = True,  # noqa: FBT001, FBT002 - a mask
) -> pd.DataFrame:
    """List whole groups of two or more, those that are wanted."""
    numbers = pd.factorize(np.asarray(groups))[0]
    sizes = np.bincount(numbers, minlength=1)[numbers]
    rows = np.flatnonzero((sizes > 1) & is_wanted)
    copies = tiles[_TILE_COLUMNS].iloc[rows].set_axis(rows)
    by_group = copies.groupby(numbers[rows])
    for column, flag in _FLAGS.items():
        copies[flag] = by_group[column].transform("nunique").astype(int) > 1
    copies = copies.assign(kind=kind, group=numbers[rows], size=sizes[rows])
    # Groups are numbered in the order of their first tiles.
    copies = copies.sort_values(
        ["is_conflicting", "size", "group"],
        ascending=[False, False, True],
        kind="stable",
    )
    copies["group"] = pd.factorize(copies["group"])[0]
    return copies[["kind", "group", *_TILE_COLUMNS, *_FLAGS.values()]]
