"""What must be known of imported patches, in plain sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from eosin.workflows.patch_groups import Grouping
from eosin.workflows.patch_scan import PatchScan


def find_patch_cautions(
    table: pd.DataFrame,
    grouping: Grouping,
    copies: Mapping[str, Any],
    sides: Mapping[int, int],
    mpp: float | None,
) -> Iterator[str]:
    """Say why results on these patches deserve doubt.

    Args:
        table: The patches, with their splits.
        grouping: How they were grouped.
        copies: From `count_copies`.
        sides: Patches by their side in pixels.
        mpp: Micrometres per pixel of the patches as stored; None where unknown.
    """
    yield from _caution_groups(len(table), grouping)
    if grouping.n_divided:
        yield (
            f"{grouping.n_divided:,} groups of near-duplicates lie in more than one of "
            "the splits that the data set comes with, which were kept: the model is "
            "tested on what it has nearly seen."
        )
    if copies["n_copies_across_splits"]:
        yield (
            f"{copies['n_copies_across_splits']:,} patches have an identical copy in "
            "another split: the model is tested on what it has seen."
        )
    if copies["n_conflicting"]:
        yield (
            f"{copies['n_conflicting']:,} patches have an identical copy with another "
            f"label, such as {', '.join(copies['conflicting'][:2])}: one of the labels "
            "is wrong."
        )
    if mpp is None:
        yield (
            "Nobody stated the resolution of these patches. The model is for patches "
            "of the same kind, and cannot be used on slides."
        )
    if len(sides) > 1:
        n_other = len(table) - max(sides.values())
        yield (
            f"{n_other:,} of {len(table):,} patches have another size than most and "
            "are resampled; if all were cut at one resolution, theirs is now another."
        )


def say_changes(
    scan: PatchScan, sides: Mapping[int, int], tile_px: int, said: str | None
) -> list[str]:
    """Say how patches are changed when they are read, and their splits were.

    Args:
        scan: What reading them found.
        sides: Patches by their side in pixels.
        tile_px: Side of the tiles as read.
        said: What was done about missing splits.
    """
    sentences = [said] if said else []
    kinds = scan.n_by_kind
    for kind, change in (
        ("grey", "grey, and read as colour"),
        ("rgba", "transparent, and read on white"),
        ("16 bit", "of 16 bit, and read as 8 bit"),
        ("not square", "not square; their central square is read"),
    ):
        if kinds[kind]:
            sentences.append(f"{kinds[kind]:,} patches are {change}")
    n_other = sum(n for side, n in sides.items() if side != tile_px)
    if n_other:
        found = ", ".join(
            f"{n:,} of {side} px" for side, n in sorted(sides.items())[:5]
        )
        sentences.append(
            f"{n_other:,} patches are resampled to {tile_px} px whenever they are read "
            f"({found})"
        )
    return sentences


def _caution_groups(n_patches: int, grouping: Grouping) -> Iterator[str]:
    n = grouping.n_estimated
    if n == 0:
        return
    whose = "these patches" if n == n_patches else f"{n:,} of {n_patches:,} patches"
    yield (
        f"That no patient is on two sides cannot be proven: nobody says which slide or "
        f"patient {whose} come from. Near-duplicates ({grouping.n_united:,} patches) "
        "were kept together, but other patches of one patient may be in training and "
        "in test, which makes results too good and intervals too narrow."
    )
