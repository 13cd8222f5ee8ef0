"""Which patches belong together, and on which side of the splits they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import (
    SPLITS,
    fill_with_none,
    find_divided,
    say_examples,
    split_patients,
)
from eosin.core import CohortError
from eosin.exploring.near_duplicates import group_near_duplicates
from eosin.exploring.scan import Scan

# How patches are changed when they are read, by what they were brought from.
_CHANGES = {
    "grey": "grey, and read as colour",
    "rgba": "transparent, and read on white",
    "16 bit": "of 16 bit, and read as 8 bit",
    "not square": "not square; their central square is read",
}


@dataclass(frozen=True, eq=False)
class Grouping:
    """Patches with a slide and a patient each.

    Attributes:
        table: The patches, all with `slide_id` and `patient_id`.
        n_groups_estimated: Groups that had to be estimated.
        n_patches_estimated: Patches in them.
        n_near_duplicates: Those of them in groups of two or more.
        n_groups_divided: Estimated groups that the given splits divide.
    """

    table: pd.DataFrame
    n_groups_estimated: int = 0
    n_patches_estimated: int = 0
    n_near_duplicates: int = 0
    n_groups_divided: int = 0

    @property
    def kind(self) -> Literal["given", "estimated"]:
        """What the groups rest on, as a tile table calls it."""
        return "estimated" if self.n_patches_estimated else "given"

    def describe(self) -> dict[str, Any]:
        """Return the counts, for the record."""
        counts = {k: n for k, n in vars(self).items() if k != "table"}
        return {"grouping": self.kind, **counts}

    def list_cautions(self) -> list[str]:
        """Say what is not known of who is in training and in test."""
        n, n_all, cautions = self.n_patches_estimated, len(self.table), []
        if n:
            whose = "these patches" if n == n_all else f"{n:,} of {n_all:,} patches"
            cautions.append(
                "That no patient is on two sides cannot be proven: nobody says which "
                f"slide or patient {whose} come from. Near-duplicates "
                f"({self.n_near_duplicates:,} patches) were kept together, but other "
                "patches of one patient may be in training and in test, which makes "
                "results too good and intervals too narrow."
            )
        if self.n_groups_divided:
            cautions.append(
                f"{self.n_groups_divided:,} groups of near-duplicates lie in more than "
                "one of the splits that the data set comes with, which were kept: the "
                "model is tested on what it has nearly seen."
            )
        return cautions


def group_patches(
    table: pd.DataFrame,
    scan: Scan,
    *,
    similarity: float,
    features: npt.NDArray[np.floating] | None = None,
) -> Grouping:
    """Give every patch without a known slide to the group of those that look alike.

    A group has the name of its members' lowest hash, so that it is called the same in
    every data set. Where given splits divide a group, each part is one of its own.

    Args:
        table: Readable patches.
        scan: Of the same rows, with their looks.
        similarity: As for `group_near_duplicates`.
        features: Of an encoder, one row per patch.
    """
    slides = fill_with_none(table["slide_id"].fillna(table["patient_id"]))
    patients = fill_with_none(table["patient_id"].fillna(slides))
    table = table.assign(slide_id=slides, patient_id=patients)
    rows = np.flatnonzero(slides.isna())
    counts = {}
    if len(rows) and scan.looks is not None:
        content = scan.content[rows]
        groups = group_near_duplicates(
            scan.looks.take(rows),
            identical=content,
            features=None if features is None else features[rows],
            similarity=similarity,
        )
        unknown = table.iloc[rows][["split"]].fillna("")
        unknown = unknown.assign(group=groups, content=content)
        n_splits = unknown.groupby("group")["split"].transform("nunique")
        parts = unknown.groupby(["group", "split"], sort=False)["content"]
        names = parts.transform("min").map("group-{:016x}".format)
        names = names.where(n_splits == 1, names + "-" + unknown["split"])
        for column in ("slide_id", "patient_id"):
            table[column] = table[column].where(slides.notna(), names)
        counts = {
            "n_groups_estimated": names.nunique(),
            "n_patches_estimated": len(rows),
            "n_near_duplicates": int((parts.transform("size") > 1).sum()),
            "n_groups_divided": unknown.loc[n_splits > 1, "group"].nunique(),
        }
    if divided := find_divided(table, "slide_id", "patient_id"):
        raise CohortError(
            "a slide must be of one patient; these are said to be of more: "
            f"{say_examples(divided)}"
        )
    return Grouping(table, **counts)


def complete_splits(
    table: pd.DataFrame,
    class_names: Sequence[str],
    *,
    fraction: float,
    seed: int,
) -> tuple[pd.DataFrame, str | None]:
    """Make the given splits complete; say what was done in words, if anything.

    A split that is missing beside others is taken from the training patients, class
    by class, this `fraction` of them. Where all are in training, or none in any,
    nothing is given. Patches without a label are in no split.

    Raises:
        CohortError: A patient is in two splits, or too few are in training.
    """
    splits = fill_with_none(table["split"].where(table["label"] >= 0))
    given = [split for split in SPLITS if (splits == split).any()]
    if given == ["train"]:
        remark = "all labelled patches are in train, so training divides them anew"
        return table.assign(split=pd.Series(None, table.index, dtype="object")), remark
    table = table.assign(split=splits)
    if divided := find_divided(table, "patient_id", "split"):
        raise CohortError(
            f"all patches of a patient must be in one split; {len(divided):,} are in "
            f"more ({say_examples(divided)}); import with --set given_splits=ignore to "
            "divide the patients anew"
        )
    missing = [split for split in SPLITS if split not in given]
    if not given or not missing or "train" in missing:
        return table, None
    is_train = splits == "train"
    training = table.loc[is_train, ["patient_id"]]
    classes = table.loc[is_train, "label"].map(dict(enumerate(class_names)))
    shares = [fraction if split in missing else 0.0 for split in SPLITS]
    shares[0] = 1 - sum(shares)
    chosen = split_patients(
        training.assign(label=classes),
        fractions=shares,
        negative=class_names[0],
        seed=seed,
    )
    splits = splits.where(~is_train, chosen.reindex(splits.index))
    counts = ", ".join(f"{(splits == s).sum():,} patches" for s in missing)
    remark = (
        f"there is no {' and no '.join(missing)} split; {counts} of train were taken "
        "for it, by group"
    )
    return table.assign(split=splits), remark


def caution_sizes(sides: Mapping[int, int], mpp: float | None) -> list[str]:
    """Say what is not known of the resolution of patches, counted by side in pixels."""
    cautions = []
    if mpp is None:
        cautions.append(
            "Nobody stated the resolution of these patches. The model is for patches "
            "of the same kind, and cannot be used on slides."
        )
    if len(sides) > 1:
        n = sum(sides.values())
        cautions.append(
            f"{n - max(sides.values()):,} of {n:,} patches have another size than most "
            "and are resampled; if all were cut at one resolution, theirs is now "
            "another."
        )
    return cautions


def say_changes(
    kinds: Mapping[str, int], sides: Mapping[int, int], tile_px: int
) -> list[str]:
    """Say how patches, counted by kind and by side, are changed when they are read."""
    sentences = [
        f"{kinds[kind]:,} patches are {change}"
        for kind, change in _CHANGES.items()
        if kinds.get(kind)
    ]
    if n_other := sum(n for side, n in sides.items() if side != tile_px):
        sizes = ", ".join(f"{n:,} of {px} px" for px, n in sorted(sides.items())[:5])
        sentences.append(
            f"{n_other:,} patches are resampled to {tile_px} px whenever they are read "
            f"({sizes})"
        )
    return sentences
