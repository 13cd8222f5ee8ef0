"""Bags drawn from labelled tiles, with a known number of witnesses in each.

A witness is a tile of the class that is looked for. All other tiles, of positive and
of negative bags alike, are drawn from one pool, so that nothing but its witnesses
tells a positive bag.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from eosin.core import ConfigError, ManifestError, read_parquet, write_parquet

_FORMAT = 1
_METADATA_KEY = b"eosin.bags"
_TILE_COLUMNS = ("tile_id", "slide_id", "patient_id", "x_px0", "y_px0")

BAG_SCHEMA = pa.schema(
    [
        pa.field("bag_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),
        pa.field("n_witnesses", pa.int32(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("tile_id", pa.string(), nullable=False),
        pa.field("is_witness", pa.bool_(), nullable=False),
        pa.field("slide_id", pa.string(), nullable=False),
        pa.field("patient_id", pa.string(), nullable=False),
        pa.field("x_px0", pa.int64(), nullable=False),
        pa.field("y_px0", pa.int64(), nullable=False),
    ]
)
"""One row per instance: the bags one after the other, `position` within each."""


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


@dataclass(frozen=True, kw_only=True)
class BagDraw:
    """How bags are drawn from the tiles of one side.

    Attributes:
        n_bags: Bags, an even number: as many positive as negative ones.
        size: Instances of every bag.
        witnesses: Witnesses of the positive bags, 1 to `size`; of several numbers
            each positive bag takes the next one.
        reuse: Whether a tile may be in more than one bag; it is never in one twice.

    Raises:
        ConfigError: A number is out of range.
    """

    n_bags: int
    size: int
    witnesses: tuple[int, ...]
    reuse: bool = True

    def __post_init__(self) -> None:
        if self.n_bags < 2 or self.n_bags % 2:
            raise ConfigError(
                f"bags must be an even number, 2 or more, to be half positive, got "
                f"{self.n_bags}"
            )
        if not self.witnesses:
            raise ConfigError("witnesses must be one number or more, got none")
        wrong = [n for n in self.witnesses if not 1 <= n <= self.size]
        if wrong:
            raise ConfigError(
                f"witnesses must be 1 to the bags' size {self.size}, got {wrong[0]}"
            )

    def count_witnesses(self) -> npt.NDArray[np.int64]:
        """Say how many witnesses each bag has; every other bag is positive."""
        counts = np.zeros(self.n_bags, np.int64)
        counts[1::2] = np.resize(self.witnesses, self.n_bags // 2)
        return counts


def draw_bags(
    tiles: pd.DataFrame,
    is_witness: npt.NDArray[np.bool_],
    draw: BagDraw,
    *,
    split: str,
    seed: int | Sequence[int],
) -> pd.DataFrame:
    """Draw bags from the tiles of one side.

    Bag number i depends on the seed and on i alone (with `reuse`): of two draws
    that differ in `n_bags` only, the smaller is the beginning of the larger.
    Instances stand in random order.

    Args:
        tiles: `tile_id, slide_id, patient_id, x_px0, y_px0`; all are candidates.
        is_witness: `(tiles,)`; the others are the negative instances.
        draw: How.
        split: Name of the side; the bags are called `<split>-<number>`.
        seed: Of the sampling.

    Returns:
        Columns of `BAG_SCHEMA`.

    Raises:
        ManifestError: There are not enough tiles.
    """
    pools = (np.flatnonzero(~is_witness), np.flatnonzero(is_witness))
    counts = draw.count_witnesses()
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
    return _tabulate(tiles, is_witness, rows, counts, split)


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


def _tabulate(
    tiles: pd.DataFrame,
    is_witness: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    split: str,
) -> pd.DataFrame:
    n_bags, size = rows.shape
    names = np.array([f"{split}-{i:05d}" for i in range(n_bags)], object)
    flat = rows.ravel()
    table = tiles[list(_TILE_COLUMNS)].iloc[flat].reset_index(drop=True)
    table["bag_id"] = np.repeat(names, size)
    table["split"] = split
    table["label"] = np.repeat((counts > 0).astype(np.int8), size)
    table["n_witnesses"] = np.repeat(counts.astype(np.int32), size)
    table["position"] = np.tile(np.arange(size, dtype=np.int32), n_bags)
    table["is_witness"] = is_witness[flat]
    return table[list(BAG_SCHEMA.names)]


def write_bag_table(path: Path, table: pd.DataFrame, info: BagTableInfo) -> None:
    """Write a bag table as Parquet, whole or not at all.

    Raises:
        ManifestError: The table breaks the schema.
        RunError: The file cannot be written.
    """
    try:
        arrow = pa.Table.from_pandas(table, schema=BAG_SCHEMA, preserve_index=False)
    except (pa.ArrowException, KeyError) as error:
        raise ManifestError(
            f"{path}: the bag table breaks its schema ({error})"
        ) from error
    _check(table, info, str(path))
    content = json.dumps({"format": _FORMAT, **asdict(info)})
    write_parquet(path, arrow, key=_METADATA_KEY, content=content)


def read_bag_table(path: Path) -> tuple[pd.DataFrame, BagTableInfo]:
    """Read a bag table.

    Raises:
        ManifestError: The file is missing, no bag table, of another version, or
            breaks the schema.
    """
    path = Path(path)
    arrow = read_parquet(path, "bag table")
    info = _read_info(path, arrow)
    try:
        table = arrow.select(BAG_SCHEMA.names).cast(BAG_SCHEMA).to_pandas()
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise ManifestError(
            f"{path}: the bag table breaks its schema ({error})"
        ) from error
    _check(table, info, str(path))
    return table, info


def _read_info(path: Path, arrow: pa.Table) -> BagTableInfo:
    metadata = arrow.schema.metadata or {}
    if _METADATA_KEY not in metadata:
        raise ManifestError(f"{path}: is a Parquet table, but not one of bags")
    try:
        content = json.loads(metadata[_METADATA_KEY])
        if content.pop("format") == _FORMAT:
            for name in ("witnesses", "class_names"):
                content[name] = tuple(content[name])
            return BagTableInfo(**content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(
            f"{path}: its metadata is damaged ({error}); make the bags again"
        ) from error
    raise ManifestError(
        f"{path}: was written by another version of eosin; make the bags again"
    )


def _check(table: pd.DataFrame, info: BagTableInfo, where: str) -> None:
    """Hold a table to what its columns promise."""
    problems = []
    sizes = table.groupby("bag_id", sort=False).agg(
        n=("tile_id", "size"),
        tiles=("tile_id", "nunique"),
        witnesses=("is_witness", "sum"),
        said=("n_witnesses", "first"),
        label=("label", "first"),
        sides=("split", "nunique"),
    )
    for wrong, text in (
        (sizes["n"] != info.size, f"must have {info.size} instances"),
        (sizes["tiles"] != sizes["n"], "has a tile twice"),
        (sizes["witnesses"] != sizes["said"], "has other witnesses than it says"),
        ((sizes["said"] > 0) != (sizes["label"] > 0), "has a label that contradicts"),
        (sizes["sides"] > 1, "lies on two sides"),
    ):
        if wrong.any():
            problems.append(f"bag {sizes.index[wrong][0]} {text}")
    sides = table[[info.grouping, "split"]].drop_duplicates()
    shared = sides.loc[sides[info.grouping].duplicated(), info.grouping]
    if len(shared):
        problems.append(f"{info.grouping} {shared.iloc[0]} lies on two sides")
    if problems:
        raise ManifestError(f"{where}: {'; '.join(problems)}")
