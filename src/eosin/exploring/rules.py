"""The rules by which tiles are dropped, and the reason for each tile."""

import numpy as np
import pandas as pd

from eosin.core import Progress
from eosin.exploring.copies import (
    find_contents,
    find_copies,
    find_near_groups,
    plan_scan,
)
from eosin.exploring.scan import Scan, ScanPlan
from eosin.exploring.statistics import OUTLIERS, find_outliers
from eosin.settings import COPY_RULES, CleanSettings
from eosin.tiles import TileFolder

# Where copies lie in several splits, those that models are tested on stay whole.
_KEEPS_FIRST = ("test", "val", "train")
# The measure that a rule rests on, and how `dropped.csv` says it.
_REASONS = {
    "blank": "white on {white_share:.1%}, contrast {contrast:.1f} grey levels",
    "black": "black on {black_share:.1%}",
    "saturated": "coloured and at the end of the scale on {clipped_share:.1%}",
    "blurred": "sharpness {sharpness:.1f}, {detail:.3f} for its contrast",
}


def plan_rules(folder: TileFolder, config: CleanSettings) -> ScanPlan:
    """Plan to read what the rules need; nothing where the table has it all."""
    rules = set(config.rules)
    return plan_scan(
        folder,
        np.arange(len(folder.tiles) if rules & set(OUTLIERS) else 0),
        exact=bool(rules & COPY_RULES),
        near=config.near,
        read_all="unreadable" in rules,
    )


def apply_rules(
    folder: TileFolder, config: CleanSettings, scan: Scan, progress: Progress
) -> pd.DataFrame:
    """Say for each tile and rule why it is dropped; missing where it is not.

    Returns:
        A column for each rule, in their order, one row per tile.
    """
    n = len(folder.tiles)
    measures = scan.make_table(n)
    outliers = find_outliers(measures, config)
    reasons: dict[str, dict[int, str]] = {"unreadable": scan.errors}
    for rule in OUTLIERS:
        reasons[rule] = {
            int(row): _REASONS[rule].format(**measures.loc[row])
            for row in np.flatnonzero(outliers[rule])
        }
    if COPY_RULES & set(config.rules):
        copies = _find_copies(folder.tiles, config, scan, progress)
        reasons["conflicting"] = _find_conflicts(copies, folder.info.class_names)
        reasons["duplicates"] = _find_surplus(copies)
    every = range(n)
    return pd.DataFrame(
        {rule: pd.Series(reasons[rule], every, dtype=object) for rule in config.rules},
        index=every,
    )


def _find_copies(
    tiles: pd.DataFrame, config: CleanSettings, scan: Scan, progress: Progress
) -> pd.DataFrame:
    """List the tiles that count as copies, with the number of their group."""
    if not config.near:
        return find_copies(tiles, find_contents(tiles, scan))
    # With one content for each tile all groups are near ones, exact copies in them.
    near = find_near_groups(tiles, scan, progress)
    copies = find_copies(tiles, np.arange(len(tiles)), near)
    return copies[copies["kind"] == "near"]


def _find_conflicts(copies: pd.DataFrame, names: tuple[str, ...]) -> dict[int, str]:
    """Say with which other tile each one contradicts itself, by row."""
    reasons = {}
    own = copies[copies["is_conflicting"] & copies["label"].notna()]
    for _, group in own.groupby("group"):
        labels = group["label"].to_numpy(np.int64)
        for row, label in zip(group.index, labels, strict=True):
            other = int(np.flatnonzero(labels != label)[0])
            tile_id, name = group["tile_id"].iloc[other], names[labels[other]]
            reasons[int(row)] = f"copy of {tile_id}, which is {name}"
    return reasons


def _find_surplus(copies: pd.DataFrame) -> dict[int, str]:
    """Say of which kept tile each surplus one is a copy, by row.

    Of a group one tile of each label is kept; one without a label only where no other
    has any.
    """
    rank = {name: place for place, name in enumerate(_KEEPS_FIRST)}
    reasons = {}
    ranked = copies.assign(
        rank=copies["split"].map(rank).fillna(len(rank)),
        label=copies["label"].fillna(-1).astype(int),
        is_bare=copies["label"].isna(),
    )
    ranked = ranked.sort_index().sort_values(["is_bare", "rank"], kind="stable")
    for _, group in ranked.groupby("group"):
        firsts: dict[int, str] = {}
        for row, name, label in zip(
            group.index, group["tile_id"], group["label"], strict=True
        ):
            if label in firsts or (label < 0 and firsts):
                kept = firsts.get(label, next(iter(firsts.values())))
                reasons[int(row)] = f"copy of {kept}, which is kept"
            else:
                firsts[label] = str(name)
    return reasons
