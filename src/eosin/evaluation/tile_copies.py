"""Tiles that are there twice: identical or nearly so, and what is wrong with that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

CopyKind = Literal["exact", "near"]
COPY_KINDS: tuple[CopyKind, ...] = ("exact", "near")

_OWN_COLUMNS = ["kind", "group", "is_conflicting", "is_across_splits"]
_TILE_COLUMNS = ["tile_id", "slide_id", "split", "label"]


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
    """Count what `find_copies` found, kind by kind.

    Args:
        copies: From `find_copies`.
        kinds: Kinds that were looked for.
    """
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
