"""Bags drawn from labelled tiles, with a known number of witnesses in each.

A witness is a tile of the class that is looked for. All other tiles, of positive and
of negative bags alike, are drawn from one pool, so that nothing but its witnesses
tells a positive bag.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import Column, ConfigError, ManifestError, TableSchema, suggest
from eosin.settings import BagDraw

_TILE_COLUMNS = ("tile_id", "slide_id", "patient_id", "x_px0", "y_px0")

BAG_TABLE = "bags.parquet"
"""Name of a bag table in its folder."""


@dataclass(frozen=True, kw_only=True)
class BagTableInfo:
    """What is the same for all bags of a table.

    Attributes:
        size: Instances of every bag.
        witnesses: Witnesses of the positive bags, in turn.
        class_names: Of the bags: the negative class, then the positive one.
        seed: What the sampling started from.
        grouping: What never lies on two sides: `patient_id`, or `slide_id` where
            nobody knows the patients.
        tiles_sha256: Hash of the tile table that the bags were drawn from.
    """

    size: int
    witnesses: tuple[int, ...]
    class_names: tuple[str, ...]
    seed: int
    grouping: str
    tiles_sha256: str

    def require_drawn_from(self, sha256: str, *, bags: Path, tiles: Path) -> None:
        """Stop by an error where bags were drawn from tiles of another hash."""
        if self.tiles_sha256 != sha256:
            raise ManifestError(
                f"{bags}: these bags were drawn from other tiles than those in {tiles};"
                " give the tile folder that they were drawn from, or draw them again "
                "by 'eosin bags'"
            )


@dataclass(frozen=True, eq=False)
class Witnesses:
    """The tiles that are looked for; those of yet another class are not kept."""

    class_names: tuple[str, str]
    is_kept: npt.NDArray[np.bool_]
    is_witness: npt.NDArray[np.bool_]


def find_witnesses(
    labels: npt.NDArray[np.int64], class_names: Sequence[str], wanted: str | None
) -> Witnesses:
    """Find the tiles of the class that is looked for; None is every positive class.

    Raises:
        ConfigError: It is none of the positive classes.
    """
    negative, *positive = class_names
    if wanted is None:
        is_kept = np.ones(len(labels), bool)
        return Witnesses((negative, "+".join(positive)), is_kept, labels > 0)
    if wanted not in positive:
        raise ConfigError(
            f"witness_class must be one of {', '.join(positive)}, got '{wanted}'"
            f"{suggest(wanted, positive)}"
        )
    is_witness = labels == list(class_names).index(wanted)
    return Witnesses((negative, wanted), is_witness | (labels == 0), is_witness)


def count_witnesses(draw: BagDraw) -> npt.NDArray[np.int64]:
    """Say how many witnesses each bag has; every other bag is positive."""
    counts = np.zeros(draw.n_bags, np.int64)
    counts[1::2] = np.resize(draw.witnesses, draw.n_bags // 2)
    return counts


def draw_bags(
    tiles: pd.DataFrame,
    is_witness: npt.NDArray[np.bool_],
    draw: BagDraw,
    *,
    split: str,
    seed: int | Sequence[int],
) -> pd.DataFrame:
    """Draw bags from the tiles of one side; all are candidates.

    Bag number i depends on the seed and on i alone (with `reuse`): of two draws
    that differ in `n_bags` only, the smaller is the beginning of the larger.
    Instances stand in random order. The bags are called `<split>-<number>`.

    Returns:
        Columns of `BAG_SCHEMA`.

    Raises:
        ManifestError: There are not enough tiles.
    """
    pools = (np.flatnonzero(~is_witness), np.flatnonzero(is_witness))
    counts = count_witnesses(draw)
    _require_enough(len(pools[0]), len(pools[1]), draw, counts, split)
    rows = np.empty((draw.n_bags, draw.size), np.int64)
    root = (seed,) if isinstance(seed, int) else tuple(seed)
    # Without reuse every tile is dealt out once, from shuffled pools.
    deal = np.random.default_rng((*root, draw.n_bags))
    left = [deal.permutation(pool) for pool in pools]
    for i, n in enumerate(counts):
        rng = np.random.default_rng((*root, i))
        parts = []
        for pool_index, wanted in enumerate((draw.size - n, n)):
            if draw.reuse:
                drawn = rng.choice(pools[pool_index], wanted, replace=False)
            else:
                drawn, left[pool_index] = np.split(left[pool_index], [wanted])
            parts.append(drawn)
        rows[i] = rng.permutation(np.concatenate(parts))
    table = tiles[list(_TILE_COLUMNS)].iloc[rows.ravel()].reset_index(drop=True)
    table = table.assign(
        bag_id=np.repeat([f"{split}-{i:05d}" for i in range(draw.n_bags)], draw.size),
        split=split,
        label=np.repeat((counts > 0).astype(np.int8), draw.size),
        n_witnesses=np.repeat(counts.astype(np.int32), draw.size),
        position=np.tile(np.arange(draw.size, dtype=np.int32), draw.n_bags),
        is_witness=is_witness[rows.ravel()],
    )
    return table[[column.name for column in BAG_SCHEMA.columns]]


def _require_enough(
    n_negative: int,
    n_positive: int,
    draw: BagDraw,
    counts: npt.NDArray[np.int64],
    split: str,
) -> None:
    """Stop where a pool is too small, and say what it would be enough for."""
    for label, found in (("a witness", n_positive), ("negative", n_negative)):
        if not found and (label == "a witness" or counts.min() < draw.size):
            raise ManifestError(
                f"{split}: not one of its {n_negative + n_positive:,} labelled tiles "
                f"is {label}; bags are drawn by labels of tiles, which outlines give, "
                "in patients of every side: outline more slides, or ask for fewer "
                "folds; models from labels of slides alone need no drawn bags"
            )
    if draw.reuse:
        needed_negative, needed_positive = draw.size, int(counts.max())
        cure = "ask for smaller bags or fewer witnesses, or add patients"
    else:
        needed_negative = int((draw.size - counts).sum())
        needed_positive = int(counts.sum())
        cure = "ask for fewer bags, or let tiles be in several (reuse)"
    problems = [
        f"{needed:,} {what} tiles, has {found:,}"
        for what, needed, found in (
            ("negative", needed_negative, n_negative),
            ("witness", needed_positive, n_positive),
        )
        if found < needed
    ]
    if problems:
        raise ManifestError(
            f"{split}: {draw.n_bags:,} bags of {draw.size} need "
            f"{'; '.join(problems)}; {cure}"
        )


def _find_problems(table: pd.DataFrame, info: BagTableInfo) -> Iterator[str]:
    bags = table.groupby("bag_id", sort=False).agg(
        n=("tile_id", "size"),
        tiles=("tile_id", "nunique"),
        witnesses=("is_witness", "sum"),
        stated=("n_witnesses", "first"),
        label=("label", "first"),
        sides=("split", "nunique"),
    )
    for is_wrong, text in (
        (bags["n"] != info.size, f"must have {info.size} instances"),
        (bags["tiles"] != bags["n"], "has a tile twice"),
        (bags["witnesses"] != bags["stated"], "has other witnesses than it says"),
        ((bags["stated"] > 0) != (bags["label"] > 0), "has a label that contradicts"),
        (bags["sides"] > 1, "lies on two sides"),
    ):
        if is_wrong.any():
            yield f"bag {bags.index[is_wrong][0]} {text}"
    sides = table[[info.grouping, "split"]].drop_duplicates()
    shared = sides.loc[sides[info.grouping].duplicated(), info.grouping]
    if len(shared):
        yield f"{info.grouping} {shared.iloc[0]} lies on two sides"


BAG_SCHEMA = TableSchema(
    noun="bag table",
    key="eosin.bags",
    info=BagTableInfo,
    remedy="make the bags again",
    columns=(
        Column("bag_id", "string", "the bag, `<split>-<number>`"),
        Column("split", "string", "train, val, test or `fold_<k>`"),
        Column("label", "int8", "of the bag: 1 where there are witnesses"),
        Column("n_witnesses", "int32", "witnesses of the bag"),
        Column("position", "int32", "place in the bag, from 0; random"),
        Column("tile_id", "string", "the tile"),
        Column("is_witness", "bool", "whether it is of the class that is looked for"),
        Column("slide_id", "string", "its slide"),
        Column("patient_id", "string", "its patient"),
        Column("x_px0", "int64", "its left edge", "level-0 pixels"),
        Column("y_px0", "int64", "its upper edge", "level-0 pixels"),
    ),
    find_problems=_find_problems,
)
"""One row per instance: the bags one after the other, `position` within each."""

read_bag_table = BAG_SCHEMA.read
write_bag_table = BAG_SCHEMA.write
