"""From labelled tiles to bags with a known number of witnesses."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from eosin.bags import (
    BagDraw,
    BagTableInfo,
    draw_bags,
    read_bag_table,
    write_bag_table,
)
from eosin.core import ConfigError, open_run, suggest
from eosin.workflows.tile_folder import TileFolder, open_tile_folder
from eosin.workflows.tile_splits import assign_splits

BAG_TABLE = "bags.parquet"
_OUTPUTS = (BAG_TABLE, "splits.csv", "run.json")
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class MakeBagsConfig:
    """Which bags are drawn.

    Attributes:
        n_bags: Bags on all sides together, half of them positive; even.
        size: Instances of every bag.
        witnesses: Witnesses of the positive bags, 1 to `size`; of several numbers
            (20,10,5,1) each positive bag takes the next one.
        witness_class: The class that is looked for; None takes every class but the
            negative one.
        folds: 1 makes train, val and test; more make that many sides `fold_<k>`.
        val_fraction: Share of the patients, and of the bags, that validate.
        test_fraction: The same for testing.
        reuse: Whether a tile may be in more than one bag of its side.
        seed: Decides who goes where, and what is drawn.
    """

    n_bags: int = 1000
    size: int = 40
    witnesses: tuple[int, ...] = (20,)
    witness_class: str | None = None
    folds: int = 1
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    reuse: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 1:
            raise ConfigError(f"folds must be 1 or more, got {self.folds}")
        shares = (self.val_fraction, self.test_fraction)
        if min(shares) < 0 or sum(shares) >= 1:
            raise ConfigError(
                "val_fraction and test_fraction must be 0 or more and leave something "
                f"to train on, got {shares[0]:g} and {shares[1]:g}"
            )
        for n in self.count_bags().values():
            BagDraw(
                n_bags=n, size=self.size, witnesses=self.witnesses, reuse=self.reuse
            )

    def count_bags(self) -> dict[str, int]:
        """Share the bags out to the sides, in pairs of a positive and a negative one.

        Raises:
            ConfigError: There are too few, or an odd number.
        """
        n_pairs, is_odd = divmod(self.n_bags, 2)
        if self.folds > 1:
            parts = np.array_split(np.arange(n_pairs), self.folds)
            counts = {f"fold_{k}": 2 * len(part) for k, part in enumerate(parts)}
        else:
            val = round(n_pairs * self.val_fraction)
            test = round(n_pairs * self.test_fraction)
            pairs = (n_pairs - val - test, val, test)
            shares = (1.0, self.val_fraction, self.test_fraction)
            counts = {
                split: 2 * n
                for split, n, share in zip(_SPLITS, pairs, shares, strict=True)
                if share
            }
        if is_odd or min(counts.values()) < 2:
            raise ConfigError(
                "n_bags must be even, with two bags or more for each of "
                f"{', '.join(counts)}, got {self.n_bags}"
            )
        return counts


@dataclass(frozen=True, eq=False)
class MakeBagsResult:
    """What `make_bags` made.

    Attributes:
        path: The bag table.
        counts: One row per side: `split, bags, patients, slides, witness_tiles,
            negative_tiles`; tiles that are in a bag, each counted once.
    """

    path: Path
    counts: pd.DataFrame


def make_bags(
    tiles: Path, config: MakeBagsConfig, out: Path, *, overwrite: bool = False
) -> MakeBagsResult:
    """Draw bags from labelled tiles, with no patient on two sides.

    Writes `bags.parquet` (see `eosin.bags.BAG_SCHEMA`), `splits.csv` and `run.json`.
    Splits that the slide table gives are kept.

    Args:
        tiles: A folder of `eosin tile` or `eosin import`.
        config: Which bags.
        out: The folder to write to.
        overwrite: Replace a result of other settings.

    Raises:
        ConfigError: The witness class is not one of the tiles'.
        CohortError: The patients cannot be split.
        ManifestError: `tiles` is no such folder, or a side has too few tiles.
        RunError: `out` holds other work or cannot be written.
    """
    folder = open_tile_folder(tiles)
    out = Path(out)
    with open_run(
        out,
        "bags make",
        settings=asdict(config),
        inputs={"tiles": folder.sha256},
        seed=config.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        path = out / BAG_TABLE
        if record.is_done and path.exists():
            return MakeBagsResult(path, _count(read_bag_table(path)[0]))
        record.reopen()
        record.notes["tiles"] = str(folder.path.resolve())
        splits = _assign_sides(folder, config)
        names = _name_classes(folder, config)
        table = _draw(folder, splits, config)
        info = BagTableInfo(
            size=config.size,
            witnesses=config.witnesses,
            class_names=names,
            seed=config.seed,
            grouping="patient_id" if folder.knows_patients else "slide_id",
            tiles_sha256=folder.sha256,
        )
        splits.to_csv(out / "splits.csv", index=False)
        write_bag_table(path, table, info)
        counts = _count(table)
        record.notes["counts"] = counts.to_dict("records")
        return MakeBagsResult(path, counts)


def _assign_sides(folder: TileFolder, config: MakeBagsConfig) -> pd.DataFrame:
    """Give each slide with labelled tiles its side; of folds the one that tests it."""
    labelled = folder.tiles.loc[folder.tiles["label"].notna(), "slide_id"]
    has_tiles = folder.slides["slide_id"].isin(set(labelled))
    splits = assign_splits(replace(folder, slides=folder.slides[has_tiles]), config)
    if config.folds > 1:
        splits = splits[splits["split"] == "test"]
        splits = splits.assign(split=[f"fold_{fold}" for fold in splits["fold"]])
    return splits.drop(columns="fold")


def _name_classes(folder: TileFolder, config: MakeBagsConfig) -> tuple[str, str]:
    negative, *positive = folder.info.class_names
    wanted = config.witness_class
    if wanted is not None and wanted not in positive:
        raise ConfigError(
            f"witness_class must be one of {', '.join(positive)}, got '{wanted}'"
            f"{suggest(wanted, positive)}"
        )
    return negative, wanted or "+".join(positive)


def _draw(
    folder: TileFolder, splits: pd.DataFrame, config: MakeBagsConfig
) -> pd.DataFrame:
    tiles = folder.tiles[folder.tiles["label"].notna()]
    labels = tiles["label"].to_numpy(np.int64)
    is_witness = labels > 0
    if config.witness_class is not None:
        wanted = folder.info.class_names.index(config.witness_class)
        # Tiles of yet another positive class are neither.
        tiles = tiles[(labels == 0) | (labels == wanted)]
        is_witness = tiles["label"].to_numpy(np.int64) == wanted
    side_of = dict(zip(splits["slide_id"].astype(str), splits["split"], strict=True))
    sides = tiles["slide_id"].astype(str).map(side_of).to_numpy()
    parts = []
    for number, (split, n_bags) in enumerate(config.count_bags().items()):
        is_own = sides == split
        draw = BagDraw(
            n_bags=n_bags,
            size=config.size,
            witnesses=config.witnesses,
            reuse=config.reuse,
        )
        parts.append(
            draw_bags(
                tiles[is_own],
                is_witness[is_own],
                draw,
                split=split,
                seed=(config.seed, number),
            )
        )
    return pd.concat(parts, ignore_index=True)


def _count(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for split, part in table.groupby("split", sort=False):
        tiles = part.drop_duplicates("tile_id")
        rows.append(
            {
                "split": str(split),
                "bags": int(part["bag_id"].nunique()),
                "patients": int(part["patient_id"].nunique()),
                "slides": int(part["slide_id"].nunique()),
                "witness_tiles": int(tiles["is_witness"].sum()),
                "negative_tiles": int((~tiles["is_witness"]).sum()),
            }
        )
    return pd.DataFrame(rows)
