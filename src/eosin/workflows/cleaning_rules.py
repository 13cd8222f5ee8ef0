"""The rules by which tiles are dropped, and the reason for each tile."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from eosin.core import ConfigError, Progress
from eosin.evaluation import OUTLIERS, OutlierLimits, find_copies, find_outliers
from eosin.workflows.tile_folder import TileFolder
from eosin.workflows.tile_scan import (
    ScanPlan,
    TileScan,
    fill_unread,
    find_near_groups,
    read_contents,
    read_near_groups,
    scan_tiles,
)

Rule = Literal[
    "blank",
    "unreadable",
    "conflicting",
    "duplicates",
    "black",
    "saturated",
    "blurred",
]
DEFAULT_RULES: tuple[Rule, ...] = ("blank", "unreadable", "conflicting")

_COPY_RULES = {"conflicting", "duplicates"}
# Where copies lie in several splits, those that models are tested on stay whole.
_KEEPS_FIRST = ("test", "val", "train")
# The measure that a rule rests on, and how `dropped.csv` says it.
_REASONS = {
    "blank": "white on {white_share:.1%}, contrast {contrast:.1f} grey levels",
    "black": "black on {black_share:.1%}",
    "saturated": "coloured and at the end of the scale on {clipped_share:.1%}",
    "blurred": "sharpness {sharpness:.1f}, {detail:.3f} for its contrast",
}


@dataclass(frozen=True, kw_only=True)
class CleanConfig(OutlierLimits):
    """Which tiles are dropped.

    Attributes:
        rules: `blank`, `black`, `saturated`, `blurred` (see `OutlierLimits`);
            `unreadable`; `conflicting`: all tiles that have an identical copy with
            another label; `duplicates`: all copies of one label but the first, those
            of test before those of val and train.
        near: Whether tiles that look alike count as copies, beside identical ones.
        keep: CSV with a column `tile_id`, such as a part of an earlier
            `dropped.csv`: these tiles stay whatever the rules say.
        drop: CSV with a column `tile_id`, such as `label_errors.csv` of `eosin
            interpret`, looked through: these tiles are dropped beside what the rules
            name.
    """

    rules: tuple[str, ...] = DEFAULT_RULES
    near: bool = False
    keep: str | None = None
    drop: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        known = get_args(Rule)
        if not self.rules or not set(self.rules) <= set(known):
            raise ConfigError(
                f"rules must be one or more of {', '.join(known)}; got "
                f"{', '.join(self.rules) or 'none'}"
            )
        if len(set(self.rules)) < len(self.rules):
            raise ConfigError(
                f"rules must name each rule once, got {', '.join(self.rules)}"
            )
        if self.near and not _COPY_RULES & set(self.rules):
            raise ConfigError(
                "near says what counts as a copy, and none of the rules is about "
                "copies; add conflicting or duplicates"
            )


def scan_for_rules(
    folder: TileFolder, config: CleanConfig, how: tuple[int, Progress]
) -> TileScan:
    """Read what the rules need; nothing where the table has it all.

    Args:
        folder: The tiles.
        config: Which are dropped.
        how: Threads that read, and whom to tell how far it is.
    """
    rules, table = set(config.rules), folder.tiles
    is_measured = bool(rules & set(OUTLIERS))
    needs_hashes = bool(rules & _COPY_RULES) and "content_hash" not in table
    needs_looks = config.near and read_near_groups(table) is None
    needs_all = is_measured or needs_hashes or needs_looks or "unreadable" in rules
    rows = np.arange(len(table) if needs_all else 0)
    plan = ScanPlan(
        rows=rows,
        is_measured=np.full(len(rows), is_measured),
        hashes=needs_hashes,
        looks=needs_looks,
    )
    return scan_tiles(folder, plan, workers=how[0], progress=how[1])


def apply_rules(
    folder: TileFolder, config: CleanConfig, scan: TileScan, progress: Progress
) -> pd.DataFrame:
    """Say for each tile and rule why it is dropped; missing where it is not.

    Args:
        folder: The tiles.
        config: Which are dropped.
        scan: From `scan_for_rules`.
        progress: Told how far it is.

    Returns:
        A column for each rule, in their order, one row per tile.
    """
    n = len(folder.tiles)
    named = pd.DataFrame(index=range(n), columns=list(config.rules), dtype=object)
    if "unreadable" in named:
        named["unreadable"] = pd.Series(scan.errors, index=range(n), dtype=object)
    measures = scan.make_table(n)
    outliers = find_outliers(measures, config)
    for rule in (name for name in config.rules if name in OUTLIERS):
        for row in np.flatnonzero(outliers[rule]):
            named.loc[row, rule] = _REASONS[rule].format(**measures.loc[row])
    if _COPY_RULES & set(config.rules):
        copies = _find_copies(folder, config, scan, progress)
        for rule, reasons in (
            ("conflicting", _find_conflicts(folder, copies)),
            ("duplicates", _find_surplus(copies)),
        ):
            if rule in named:
                named[rule] = pd.Series(reasons, index=range(n), dtype=object)
    return named


def _find_copies(
    folder: TileFolder, config: CleanConfig, scan: TileScan, progress: Progress
) -> pd.DataFrame:
    """List the tiles that count as copies, with the number of their group."""
    content = read_contents(folder.tiles)
    if content is None:
        content = fill_unread(scan)
    if not config.near:
        return find_copies(folder.tiles, content)
    near = read_near_groups(folder.tiles)
    if near is None:
        near = find_near_groups(scan, content, progress)
    # With one content for each tile all groups are near ones, exact copies in them.
    copies = find_copies(folder.tiles, np.arange(len(folder.tiles)), near)
    return copies[copies["kind"] == "near"]


def _find_conflicts(folder: TileFolder, copies: pd.DataFrame) -> dict[int, str]:
    """Say with which other tile each one contradicts itself, by row."""
    names = folder.info.class_names
    reasons = {}
    own = copies[copies["is_conflicting"] & copies["label"].notna()]
    for _, group in own.groupby("group"):
        labels = group["label"].to_numpy(np.int64)
        for row, label in zip(group.index, labels, strict=True):
            other = int(np.flatnonzero(labels != label)[0])
            reasons[int(row)] = (
                f"copy of {group['tile_id'].iloc[other]}, which is "
                f"{names[labels[other]]}"
            )
    return reasons


def _find_surplus(copies: pd.DataFrame) -> dict[int, str]:
    """Say of which kept tile each surplus one is a copy, by row.

    Of a group one tile of each label is kept; one without a label only where no other
    has any.
    """
    rank = {name: place for place, name in enumerate(_KEEPS_FIRST)}
    reasons = {}
    for _, group in copies.groupby("group"):
        ranks = group["split"].map(rank).fillna(len(rank)).to_numpy()
        labels = group["label"].fillna(-1).to_numpy(np.int64)
        order = np.lexsort((group.index.to_numpy(), ranks, labels < 0))
        firsts: dict[int, str] = {}
        for place in order.tolist():
            label = int(labels[place])
            name = str(group["tile_id"].iloc[place])
            if label in firsts or (label < 0 and firsts):
                kept = firsts.get(label, next(iter(firsts.values())))
                reasons[int(group.index[place])] = f"copy of {kept}, which is kept"
            else:
                firsts[label] = name
    return reasons
