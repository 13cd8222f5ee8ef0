"""Which patches belong together, and on which side of the splits they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import (
    SPLITS,
    fill_with_none,
    group_near_duplicates,
    say_examples,
    split_patients,
)
from eosin.core import CohortError
from eosin.workflows.patch_scan import PatchScan


@dataclass(frozen=True, eq=False)
class Grouping:
    """Patches with a slide and a patient each.

    Attributes:
        table: The patches, all with `slide_id` and `patient_id`.
        n_estimated: Patches whose group had to be estimated.
        n_groups: Groups that were estimated.
        n_united: Patches in estimated groups of two or more.
        n_divided: Estimated groups that the given splits divide.
    """

    table: pd.DataFrame
    n_estimated: int
    n_groups: int
    n_united: int
    n_divided: int

    @property
    def kind(self) -> Literal["given", "estimated"]:
        """What the groups rest on, as a tile table calls it."""
        return "estimated" if self.n_estimated else "given"

    def describe(self) -> dict[str, Any]:
        """Return the counts, for the record."""
        return {
            "grouping": self.kind,
            "n_groups_estimated": self.n_groups,
            "n_patches_estimated": self.n_estimated,
            "n_near_duplicates": self.n_united,
            "n_groups_divided": self.n_divided,
        }


def group_patches(
    table: pd.DataFrame,
    scan: PatchScan,
    *,
    similarity: float,
    features: npt.NDArray[np.floating] | None = None,
) -> Grouping:
    """Give every patch without a known slide to the group of those that look alike.

    A group has the name of its members' lowest hash, so that it is called the same in
    every data set. Where given splits divide a group, each part is one of its own.

    Args:
        table: Readable patches.
        scan: What reading them found, of the same rows.
        similarity: As for `group_near_duplicates`.
        features: Features of an encoder, one row per patch.

    Raises:
        CohortError: A slide is said to be of two patients.
        ConfigError: The features are not of these patches.
    """
    table = table.copy()
    table["slide_id"] = fill_with_none(table["slide_id"].fillna(table["patient_id"]))
    table["patient_id"] = fill_with_none(table["patient_id"].fillna(table["slide_id"]))
    rows = np.flatnonzero(table["slide_id"].isna())
    if len(rows) == 0:
        _require_one_patient(table)
        return Grouping(table, 0, 0, 0, 0)
    groups = group_near_duplicates(
        scan.looks.take(rows),
        identical=scan.content[rows],
        features=None if features is None else features[rows],
        similarity=similarity,
    )
    found = pd.DataFrame(
        {
            "group": groups,
            "content": scan.content[rows],
            "split": table["split"].to_numpy(object)[rows],
        }
    )
    found["split"] = found["split"].fillna("")
    n_splits = found.drop_duplicates(["group", "split"])["group"].value_counts()
    is_divided = found["group"].map(n_splits).to_numpy() > 1
    keys = [found["group"], found["split"]]
    lowest = found.groupby(keys, sort=False)["content"].transform("min")
    sizes = found.groupby(keys, sort=False)["content"].transform("size").to_numpy()
    names = [f"group-{content:016x}" for content in lowest]
    for i in np.flatnonzero(is_divided):
        names[i] += f"-{found['split'].iloc[i]}"
    for column in ("slide_id", "patient_id"):
        values = table[column].to_numpy(object, copy=True)
        values[rows] = names
        table[column] = values
    _require_one_patient(table)
    return Grouping(
        table,
        n_estimated=len(rows),
        n_groups=len(set(names)),
        n_united=int((sizes > 1).sum()),
        n_divided=int((n_splits > 1).sum()),
    )


def complete_splits(
    table: pd.DataFrame,
    class_names: Sequence[str],
    *,
    fraction: float,
    seed: int,
) -> tuple[pd.DataFrame, str | None]:
    """Make the given splits complete, so that training can work with them.

    A split that is missing beside others is taken from the training patients, class
    by class. Where all are in training, or none in any, nothing is given. Patches
    without a label are in no split.

    Args:
        table: Columns `patient_id`, `label` and `split`.
        class_names: Class of each label.
        fraction: Share of the training patients that a missing split gets, 0 to 1.
        seed: Decides whose patches they are.

    Returns:
        The table with its splits, and what was done in words, if anything.

    Raises:
        CohortError: A patient is in two splits, or too few are in training.
    """
    table = table.assign(
        split=fill_with_none(table["split"].where(table["label"] >= 0))
    )
    given = [split for split in SPLITS if (table["split"] == split).any()]
    if not given:
        return table, None
    if given == ["train"]:
        said = "all labelled patches are in train, so training divides them anew"
        return table.assign(split=pd.Series(None, table.index, dtype="object")), said
    _require_one_split(table)
    missing = [split for split in SPLITS if split not in given]
    if not missing or "train" in missing:
        return table, None
    is_train = table["split"] == "train"
    names = pd.Series(dict(enumerate(class_names)))
    rows = table.loc[is_train, ["patient_id"]].assign(
        label=fill_with_none(table.loc[is_train, "label"].map(names))
    )
    shares = [fraction if split in missing else 0.0 for split in SPLITS]
    shares[0] = 1 - sum(shares)
    chosen = split_patients(rows, fractions=shares, negative=class_names[0], seed=seed)
    splits = table["split"].copy()
    splits[is_train] = chosen
    counts = ", ".join(f"{(splits == s).sum():,} patches" for s in missing)
    said = (
        f"there is no {' and no '.join(missing)} split; {counts} of train were taken "
        "for it, by group"
    )
    return table.assign(split=splits), said


def count_copies(
    table: pd.DataFrame, content: npt.NDArray[np.uint64]
) -> dict[str, Any]:
    """Count patches of identical pixels, and what is wrong with them.

    Args:
        table: Columns `tile_id`, `label` and `split`.
        content: Hash of each patch's pixels.

    Returns:
        `n_copies` (patches beyond the first), `n_conflicting` (patches whose copies
        have another label) with `conflicting` examples, and `n_copies_across_splits`
        (patches with a copy in another of the given splits).
    """
    frame = table[["tile_id", "label", "split"]].assign(content=content)
    is_copy = frame["content"].duplicated(keep=False)
    copies = frame[is_copy]
    labelled = copies[copies["label"] >= 0]
    n_labels = labelled.groupby("content")["label"].transform("nunique")
    conflicting = labelled[n_labels > 1].sort_values(["content", "tile_id"])
    n_splits = copies.groupby("content")["split"].transform("nunique")
    return {
        "n_copies": int(frame["content"].duplicated().sum()),
        "n_conflicting": len(conflicting),
        "conflicting": list(conflicting["tile_id"].head(20)),
        "n_copies_across_splits": int((n_splits > 1).sum()),
    }


def _require_one_patient(table: pd.DataFrame) -> None:
    pairs = table[["slide_id", "patient_id"]].drop_duplicates()
    divided = pairs.loc[pairs["slide_id"].duplicated(), "slide_id"].unique()
    if len(divided):
        raise CohortError(
            "a slide must be of one patient; these are said to be of more: "
            f"{say_examples(divided)}"
        )


def _require_one_split(table: pd.DataFrame) -> None:
    pairs = table[["patient_id", "split"]].dropna().drop_duplicates()
    divided = pairs.loc[pairs["patient_id"].duplicated(), "patient_id"].unique()
    if len(divided):
        raise CohortError(
            f"all patches of a patient must be in one split; {len(divided):,} are in "
            f"more ({say_examples(divided)}); import with --set given_splits=ignore to "
            "divide the patients anew"
        )
