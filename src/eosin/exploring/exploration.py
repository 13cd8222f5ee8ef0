"""What an exploration of tiles found, before it is put into words."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import SPLITS
from eosin.exploring.copies import CopyCount
from eosin.settings import ExploreSettings
from eosin.tiles import TileFolder

Rows = npt.NDArray[np.int64]
_FACTORS = ("class", "scanner", "site", "split", "slide")


@dataclass(frozen=True, kw_only=True, eq=False)
class Exploration:
    """What was found of a tile folder; arrays of all tiles where not said otherwise.

    Attributes:
        measured: Rows of the tiles that were measured.
        measures: Columns of `APPEARANCE`, NaN where a tile was not measured.
        outliers: Columns `OUTLIERS`.
        isolation: Of the measured tiles; None without features.
        copies: From `find_copies`.
        copy_counts: One for each kind that was looked for.
    """

    folder: TileFolder
    settings: ExploreSettings
    measured: Rows
    measures: pd.DataFrame
    outliers: pd.DataFrame
    isolation: npt.NDArray[np.float64] | None
    copies: pd.DataFrame
    copy_counts: tuple[CopyCount, ...]
    n_unreadable: int

    @property
    def is_sample(self) -> bool:
        """Whether not all tiles were to be measured."""
        return 0 < self.settings.sample < len(self.folder.tiles)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Label of each tile, -1 without one."""
        return self.folder.tiles["label"].fillna(-1).to_numpy(np.int64)

    @cached_property
    def classes(self) -> pd.Series:
        """Name of each tile's class, None without one, in the classes' order."""
        names = pd.Index(list(self.folder.info.class_names))
        return pd.Series(pd.Categorical.from_codes(self.labels, names))

    @cached_property
    def slides(self) -> pd.DataFrame:
        """How many tiles each slide has, by class, the largest first."""
        tiles = self.folder.tiles
        owners = tiles.drop_duplicates("slide_id").set_index("slide_id")
        counts = count_classes(self, tiles["slide_id"])
        parts = [
            owners.loc[counts.index, ["patient_id", "split"]],
            counts.sum(axis=1).rename("tiles"),
            counts,
        ]
        table = pd.concat(parts, axis=1).rename_axis("slide_id").reset_index()
        return table.sort_values("tiles", ascending=False, kind="stable")


def count_classes(explored: Exploration, groups: pd.Series) -> pd.DataFrame:
    """Count tiles by group and class; `unlabelled` last where there are any."""
    names = list(explored.folder.info.class_names)
    classes = explored.classes.astype(object)
    classes = classes.where(classes.notna(), "unlabelled")
    counts = pd.crosstab(groups.to_numpy(), classes.to_numpy())
    columns = [*names, *(["unlabelled"] if "unlabelled" in counts else [])]
    return counts.reindex(columns=columns, fill_value=0).rename_axis(columns=None)


def count_by_split(explored: Exploration) -> pd.DataFrame:
    """Count tiles by split and class; all are in one where there are no splits."""
    splits = explored.folder.tiles["split"]
    if splits.isna().all():
        return count_classes(explored, splits.fillna("all"))
    counts = count_classes(explored, splits.fillna("no split"))
    return counts.loc[[name for name in (*SPLITS, "no split") if name in counts.index]]


def find_factors(explored: Exploration) -> pd.DataFrame:
    """Find by what measured tiles may differ in colour, a column each.

    Class, scanner, site, split and slide, where there are two or more; the index are
    the tiles' ids.
    """
    tiles = explored.folder.tiles.iloc[explored.measured]
    groups = explored.folder.group_tiles(tiles)
    groups["class"] = explored.classes.iloc[explored.measured].astype(object)
    groups["split"] = pd.Series(pd.Categorical(tiles["split"], list(SPLITS)))
    factors = {
        name: groups[name].array
        for name in _FACTORS
        if name in groups and (name == "class" or groups[name].nunique() >= 2)
    }
    return pd.DataFrame(factors, index=tiles["tile_id"].to_numpy())
