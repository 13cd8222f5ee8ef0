"""From labelled tiles to bags with a known number of witnesses."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from eosin.bags import (
    BAG_TABLE,
    BagTableInfo,
    draw_bags,
    find_witnesses,
    read_bag_table,
    write_bag_table,
)
from eosin.core import WATCHED, Progress, Showable, open_run, write_csv
from eosin.settings import BagSettings, require_settings
from eosin.studies.splits import split_tiles
from eosin.tiles import TileFolder, open_tile_folder

_OUTPUTS = (BAG_TABLE, "splits.csv", "run.json")


@dataclass(frozen=True, eq=False)
class MakeBagsResult(Showable):
    """What `make_bags` made.

    Attributes:
        path: The bag table.
        counts: One row per side: `split, bags, patients, slides, witness_tiles,
            negative_tiles`; tiles that are in a bag, each counted once.
    """

    path: Path
    counts: pd.DataFrame


def make_bags(
    tiles: Path,
    out: Path,
    settings: BagSettings | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> MakeBagsResult:
    """Draw bags from labelled tiles, with no patient on two sides.

    Writes `bags.parquet` (see `eosin.bags.BAG_SCHEMA`), `splits.csv` and `run.json`.
    Splits that the slide table gives are kept.

    Args:
        tiles: A folder of `eosin tile` or `eosin import`.
        out: The folder to write to.
        settings: Which bags.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ConfigError: The witness class is not one of the tiles'.
        CohortError: The patients cannot be split.
        ManifestError: `tiles` is no such folder, or a side has too few tiles.
        RunError: `out` holds other work or cannot be written.
    """
    settings = require_settings(settings, BagSettings)
    folder = open_tile_folder(tiles)
    out = Path(out)
    with open_run(
        out,
        "bags",
        settings=asdict(settings),
        inputs={"tiles": folder.sha256},
        seed=settings.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        path = out / BAG_TABLE
        if record.is_done and path.exists():
            return MakeBagsResult(path, _count(read_bag_table(path)[0]))
        record.reopen()
        record.notes["tiles"] = str(folder.path.resolve())
        splits = _assign_sides(folder, settings)
        with (progress or Progress()).task("Drawing bags", None):
            table, names = _draw(folder, splits, settings)
        info = BagTableInfo(
            size=settings.size,
            witnesses=settings.witnesses,
            class_names=names,
            seed=settings.seed,
            grouping="patient_id" if folder.knows_patients else "slide_id",
            tiles_sha256=folder.sha256,
        )
        write_csv(out / "splits.csv", splits)
        write_bag_table(path, table, info)
        counts = _count(table)
        record.notes["counts"] = counts.to_dict("records")
        return MakeBagsResult(path, counts)


def _assign_sides(folder: TileFolder, settings: BagSettings) -> pd.DataFrame:
    """Give each slide with labelled tiles its side; of folds the one that tests it."""
    labelled = folder.tiles.loc[folder.tiles["label"].notna(), "slide_id"]
    has_tiles = folder.slides["slide_id"].isin(set(labelled))
    splits = split_tiles(replace(folder, slides=folder.slides[has_tiles]), settings)
    if settings.folds > 1:
        splits = splits[splits["split"] == "test"]
        splits = splits.assign(split=[f"fold_{fold}" for fold in splits["fold"]])
    return splits.drop(columns="fold")


def _draw(
    folder: TileFolder, splits: pd.DataFrame, settings: BagSettings
) -> tuple[pd.DataFrame, tuple[str, str]]:
    """Draw the bags of every side; say what their classes are."""
    tiles = folder.tiles[folder.tiles["label"].notna()]
    found = find_witnesses(
        tiles["label"].to_numpy(np.int64),
        folder.info.class_names,
        settings.witness_class,
    )
    tiles, is_witness = tiles[found.is_kept], found.is_witness[found.is_kept]
    side_of = dict(zip(splits["slide_id"].astype(str), splits["split"], strict=True))
    sides = tiles["slide_id"].astype(str).map(side_of).to_numpy()
    parts = []
    for number, (split, draw) in enumerate(settings.draws.items()):
        is_own, seed = sides == split, (settings.seed, number)
        drawn = draw_bags(
            tiles[is_own], is_witness[is_own], draw, split=split, seed=seed
        )
        parts.append(drawn)
    return pd.concat(parts, ignore_index=True), found.class_names


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
