"""What folders of patches mean: splits, patients or classes, from their structure."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eosin.cohorts.columns import find_split
from eosin.cohorts.patch_sets import Listing, list_folders, say_examples
from eosin.cohorts.patients import tidy_text
from eosin.core import CohortError
from eosin.settings import find_negative

_POWER = re.compile(r"(mag(nification)?[-_ ]?)?\d+(\.\d+)?[-_ ]?x", re.IGNORECASE)


def find_split_folders(root: Path, listing: Listing) -> list[tuple[str, str | None]]:
    """Find the split folders: (path with a slash at its end, split)."""
    if not root.is_dir():
        raise CohortError(f"{root}: no such folder")
    folders = list_folders(root)
    found = {name: find_split(name) for name in folders}
    splits = {name: split for name, split in found.items() if split is not None}
    if not splits:
        return [("", None)]
    if others := [name for name in folders if name not in splits]:
        listing.problems.append(
            f"there are split folders ({', '.join(splits)}) and others beside them "
            f"({say_examples(others)}); move the others away"
        )
    elif "train" not in splits.values():
        listing.problems.append(
            f"there are split folders ({', '.join(splits)}), and none for training; "
            "call its folder train"
        )
    is_alone = len(splits) == 1
    return [(f"{n}/", None if is_alone else split) for n, split in splits.items()]


def caution_powers(folders: Collection[str]) -> list[str]:
    """Say that folders below the classes are magnifications, where they are."""
    parts = {part for folder in folders for part in folder.split("/")}
    powers = sorted(filter(_POWER.fullmatch, parts))
    if len(powers) < 2:
        return []
    return [
        f"patches of several magnifications ({say_examples(powers)}) are imported as "
        "of one; import those of one alone, or cells are of several sizes"
    ]


@dataclass(frozen=True)
class Layout:
    """Which folder below a split's says what.

    Attributes:
        class_depth: Which folder is the class; 1 is the first.
        has_patients: Whether the first folder is the patient.
        has_splits: Whether the folder below the class is the split.
        remark: What was found, as a sentence; empty where classes come first.
    """

    class_depth: int = 1
    has_patients: bool = False
    has_splits: bool = False
    remark: str = ""


def find_layout(folders: Collection[str], class_depth: int | None) -> Layout:
    """Find which folders are classes, from all folders that hold images.

    Classes come first, unless the first folders are numbered like patients and those
    below are called like classes, the same ones again and again.

    Args:
        folders: Paths below the splits' folders, without a slash at their ends.
        class_depth: Which one is the class, where that is stated.

    Raises:
        CohortError: Structure and names do not tell.
    """
    parts = [folder.split("/") for folder in folders if folder]
    n_levels = min(map(len, parts), default=0)
    if class_depth is not None and class_depth > n_levels:
        raise CohortError(
            f"class_depth {class_depth} needs as many folders above every image; "
            f"above some there are {n_levels}"
        )
    if class_depth is not None:
        return Layout(class_depth, has_patients=class_depth > 1)
    deep = [own for own in parts if len(own) > 1]
    if len(deep) <= len(parts) / 2:
        return Layout()
    layout = _judge(deep, min(map(len, deep)))
    if layout.class_depth > n_levels or (layout.has_splits and n_levels < 2):
        strays = sorted(own[0] for own in parts if len(own) < 2)
        raise CohortError(
            f"{layout.remark}; but images lie beside these in {say_examples(strays)}; "
            "move them away, or say what the first folders are by --set class_depth=1"
        )
    return layout


def _judge(parts: Sequence[Sequence[str]], n_levels: int) -> Layout:
    """Find which of two or more folders above each image say what."""
    first, *below = ({own[i] for own in parts} for i in range(n_levels))
    if len(first) > 1 and all(map(_POWER.fullmatch, first)):
        raise CohortError(
            f"the folders {say_examples(sorted(first))} are magnifications, perhaps of "
            "the same tissue, which must not be learnt from and tested on together; "
            "import one of these folders"
        )
    second = below[0]
    splits = {find_split(name) for name in second}
    if None not in splits and "train" in splits and len(splits) > 1:
        return Layout(
            has_splits=True,
            remark="the folders below the classes, "
            f"{say_examples(sorted(second))}, are taken for splits",
        )
    told = [
        i
        for i, names in enumerate(below)
        if 2 <= len(names) <= max(2, len(first)) and find_negative(sorted(names))
    ]
    depth = told[0] + 2 if told else 2
    second = below[depth - 2]
    shown = say_examples(sorted(second))
    if not 2 <= len(second) <= max(2, len(first)):
        return Layout(remark=_say_below(shown, len(second)))
    is_first_told, is_second_told = find_negative(sorted(first)) is not None, bool(told)
    is_numbered = _is_numbered(first)
    # Patients may be numbered from 0, which is a negative class's name as well.
    if is_second_told and is_numbered and (len(first) > 2 or not is_first_told):
        return Layout(
            depth,
            has_patients=True,
            remark=f"the first folders ({say_examples(sorted(first))}) are taken for "
            f"patients, those below for classes ({shown}); --set class_depth=1 takes "
            "the first for classes",
        )
    if is_second_told and len(first) == 1:
        remark = f"the folder '{first.pop()}' holds the classes ({shown})"
        return Layout(depth, remark=remark)
    is_unclear = not is_first_told and (
        not _is_numbered(second) or len(second) < len(first)
    )
    if is_unclear and _are_shared(parts, depth - 1) and (is_second_told or is_numbered):
        raise CohortError(
            f"the folders ({say_examples(sorted(first))}) hold folders of the same "
            f"names ({shown}), and which of them say the class does not show: --set "
            "class_depth=1 takes the first for classes, --set "
            f"class_depth={depth} those below"
        )
    return Layout(remark=_say_below(shown, len(second)))


def _are_shared(parts: Sequence[Sequence[str]], level: int) -> bool:
    """Say whether folders of one name are in two first ones or more each."""
    owners: dict[str, set[str]] = {}
    for own in parts:
        owners.setdefault(own[level], set()).add(own[0])
    return all(len(names) > 1 for names in owners.values())


def _is_numbered(names: Collection[str]) -> bool:
    """Say whether each name has a digit, as patients' have and classes' seldom."""
    return all(any(map(str.isdigit, name)) for name in names)


def _say_below(shown: str, n: int) -> str:
    if n < 2:
        return ""
    return (
        f"the folders below the classes ({shown}) say nothing to eosin; if they are "
        "patients or slides, add --group-regex '([^/]+)/[^/]+$'"
    )


def join_spellings(table: pd.DataFrame, listing: Listing) -> pd.Series:
    """Write classes in one way each, and tell `listing` which spellings were joined.

    Case, blanks, dashes and underscores make no class of its own; nor does a plural in
    another split. In one split, a class and its plural are asked about.

    Args:
        table: `class_name` and `split` of each patch.
        listing: Told what was joined or is not clear.
    """
    pairs = table[["class_name", "split"]].drop_duplicates().fillna("")
    splits = pairs.groupby("class_name")["split"].agg(set)
    # The training's spelling is kept, or else the first by name.
    order = sorted(splits.index, key=lambda name: ("train" not in splits[name], name))
    kept: dict[str, str] = {}
    joined: dict[str, str] = {}
    for name in order:
        own = kept.setdefault(_fold(name).removesuffix("s"), name)
        if own == name:
            continue
        joined[name] = own
        listing.warnings.append(f"the class '{name}' is taken for '{own}'")
        if _fold(own) != _fold(name) and splits[own] & splits[name]:
            listing.problems.append(
                f"the classes '{own}' and '{name}' lie side by side; if they are one, "
                "put them into one folder, and else give them names that differ in more"
            )
    _require_learnt(splits, joined, listing)
    names = table["class_name"]
    return names.replace(joined) if joined else names


def _require_learnt(
    splits: pd.Series, joined: Mapping[str, str], listing: Listing
) -> None:
    """Object to classes that are tested on, and that no patch teaches."""
    taught = {
        joined.get(name, name) for name in splits.index if "train" in splits[name]
    }
    others = [n for n in splits.index if joined.get(n, n) not in taught and n != ""]
    if taught and others and "" not in set().union(*splits):
        listing.problems.append(
            f"the class(es) {say_examples(others)} are in no training folder, which "
            f"holds {', '.join(sorted(taught))}; call each class alike in every split, "
            "or take these away"
        )


def _fold(name: str) -> str:
    """Return a class's name without case, separators and English spelling."""
    text = re.sub(r"[-_. ]+", " ", tidy_text(name).casefold())
    return text.replace("tumour", "tumor").strip()
