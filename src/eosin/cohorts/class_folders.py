"""Patches in folders that are called like their classes.

`<root>/<class>/...` or `<root>/{train,valid|val,test}/<class>/...`; or files whose
names say their class.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eosin.cohorts.kaggle import LABELS_FILE
from eosin.cohorts.patch_sets import (
    Listing,
    PatchSet,
    is_hidden,
    iter_entries,
    iter_images,
    raise_problems,
    say_examples,
    strip_suffix,
)
from eosin.cohorts.table import find_patient
from eosin.core import CohortError, ConfigError

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}

_NEGATIVE_NAMES = frozenset(
    {
        *("0", "benign", "control", "healthy", "negative", "normal"),
        *("non-tumor", "non-tumour", "non_tumor", "non_tumour", "nontumor"),
    }
)
# What a tile table calls columns of its own: `<class>_fraction`.
_RESERVED = frozenset({"tissue"})
_MAX_CLASSES = 127


@dataclass(frozen=True, kw_only=True)
class FolderRules:
    """How names of files and folders are understood.

    Attributes:
        group_regex: Searched in each file's path below the root; its groups
            `patient` and `slide`, or else its first group, say whose patch it is.
            None leaves that unknown.
        class_regex: Searched in each file's name; its group `class`, or else its
            first group, is the class. None takes the folder's name.
        negative: The class of label 0. None takes the one called normal, benign,
            negative or the like, else the first by name.
        allow_missing: Leave out classes without an image, rather than stop.

    Raises:
        ConfigError: A pattern is wrong or has no group.
    """

    group_regex: str | None = None
    class_regex: str | None = None
    negative: str | None = None
    allow_missing: bool = False

    def __post_init__(self) -> None:
        for name in ("group_regex", "class_regex"):
            text = getattr(self, name)
            if text is None:
                continue
            try:
                pattern = re.compile(text)
            except re.error as error:
                raise ConfigError(
                    f"{name} '{text}' is no regular expression ({error})"
                ) from error
            if pattern.groups == 0:
                raise ConfigError(
                    f"{name} '{text}' needs a group in parentheses around what it is "
                    "to find"
                )


def read_class_folders(root: Path, rules: FolderRules) -> PatchSet:
    """List the patches below class folders, and their splits where folders say them.

    Raises:
        CohortError: Something is wrong; the message lists everything that is.
    """
    root = Path(root)
    if rules.class_regex is None:
        _require_no_other_layout(root)
    listing = Listing()
    problems: list[str] = []
    splits = _find_splits(root, problems)
    files: list[tuple[str, str, str | None]] = []
    for folder, split in splits:
        if rules.class_regex is None:
            files += _list_by_folder(root, folder, split, listing, problems)
        else:
            files += _list_by_name(root, folder, split, listing, rules.class_regex)
    present = {class_name for source, class_name, _ in files if source}
    empty = sorted({class_name for _, class_name, _ in files} - present)
    files = sorted(file for file in files if file[0])
    if nameless := [source for source, class_name, _ in files if not class_name]:
        problems.append(
            f"class_regex '{rules.class_regex}' finds no class in {len(nameless):,} "
            f"file(s) ({say_examples(nameless)})"
        )
    if empty and not rules.allow_missing:
        problems.append(
            f"{len(empty)} class folder(s) hold no image ({say_examples(empty)}); "
            "remove them, or go on without by --allow-missing"
        )
    raise_problems(root, problems)
    return _build(root, files, rules, listing, empty)


def _require_no_other_layout(root: Path) -> None:
    """Point to the layout that a folder without class folders has."""
    train = root / "train"
    if (root / LABELS_FILE).is_file() and train.is_dir():
        if not any(entry.is_dir() for entry in iter_entries(train)):
            raise CohortError(
                f"{root}: has {LABELS_FILE} and images in train/, the layout of the "
                f"Kaggle competition; use 'eosin import kaggle {root}'"
            )
    elif root.is_dir():
        entries = [entry for entry in iter_entries(root) if not is_hidden(entry.name)]
        packs = [e.name for e in entries if e.name.endswith((".h5", ".h5.gz"))]
        if packs and not any(entry.is_dir() for entry in entries):
            raise CohortError(
                f"{root}: has .h5 files ({say_examples(sorted(packs))}) and no class "
                "folder; if they are those of PatchCamelyon, use "
                f"'eosin import pcam {root}'"
            )


def order_classes(names: Sequence[str], negative: str | None) -> tuple[str, ...]:
    """Put the negative class first, the others by name.

    Raises:
        CohortError: There are too few or too many classes, a name is reserved, or
            `negative` is none of them.
    """
    found = sorted(set(names))
    if not 2 <= len(found) <= _MAX_CLASSES:
        raise CohortError(
            f"a classifier needs 2 to {_MAX_CLASSES} classes, got {len(found)} "
            f"({say_examples(found)})"
        )
    if reserved := _RESERVED.intersection(found):
        raise CohortError(
            f"no class can be called {', '.join(reserved)}, a tile table's own column "
            "is; rename the folder"
        )
    if negative is None:
        known = [name for name in found if name.lower() in _NEGATIVE_NAMES]
        negative = (known or found)[0]
    if negative not in found:
        raise CohortError(
            f"the negative class must be one of {', '.join(found)}, got '{negative}'"
        )
    return negative, *(name for name in found if name != negative)


def _find_splits(root: Path, problems: list[str]) -> list[tuple[str, str | None]]:
    """Find the split folders: (path with a slash at its end, split)."""
    if not root.is_dir():
        raise CohortError(f"{root}: no such folder")
    folders = sorted(
        entry.name
        for entry in iter_entries(root)
        if not is_hidden(entry.name) and entry.is_dir()
    )
    splits = [name for name in folders if name.lower() in SPLIT_FOLDERS]
    if "train" not in {SPLIT_FOLDERS[name.lower()] for name in splits}:
        return [("", None)]
    others = [name for name in folders if name not in splits]
    if others:
        problems.append(
            f"there are split folders ({', '.join(splits)}) and others beside them "
            f"({say_examples(others)}); move the others away"
        )
    if len(splits) == 1:
        return [(f"{splits[0]}/", None)]
    return [(f"{name}/", SPLIT_FOLDERS[name.lower()]) for name in splits]


def _list_by_folder(
    root: Path, folder: str, split: str | None, listing: Listing, problems: list[str]
) -> list[tuple[str, str, str | None]]:
    """List (file, class, split); a class without an image has an empty file."""
    files: list[tuple[str, str, str | None]] = []
    classes: list[str] = []
    n_loose = 0
    for entry in iter_entries(root / folder):
        if is_hidden(entry.name):
            listing.n_hidden += 1
        elif entry.is_dir():
            classes.append(entry.name)
        else:
            n_loose += 1
    listing.n_others += n_loose
    if not classes:
        where = folder or "the folder"
        problems.append(
            f"{where} holds no class folder"
            + (f", only {n_loose:,} file(s)" if n_loose else "")
            + "; where file names say the class, add --set class_regex=..."
        )
    for class_name in sorted(classes):
        place = f"{folder}{class_name}/"
        own = [
            (place + name, class_name, split)
            for name in iter_images(root / place, listing, recursive=True)
        ]
        files += own or [("", class_name, split)]
    return files


def _list_by_name(
    root: Path, folder: str, split: str | None, listing: Listing, pattern: str
) -> list[tuple[str, str, str | None]]:
    find = re.compile(pattern)
    files = []
    for source in iter_images(root / folder, listing, recursive=True):
        match = find.search(source.rsplit("/", 1)[-1])
        class_name = _take_group(match, "class") if match else ""
        files.append((folder + source, class_name, split))
    return files


def _take_group(match: re.Match[str], name: str) -> str:
    """Take a named group, or the first one; empty where it found nothing."""
    groups = match.groupdict()
    return (groups[name] if name in groups else match[1]) or ""


def _build(
    root: Path,
    files: list[tuple[str, str, str | None]],
    rules: FolderRules,
    listing: Listing,
    empty: list[str],
) -> PatchSet:
    """Make the table of sorted (file, class, split)."""
    sources = [source for source, _, _ in files]
    class_names = order_classes([name for _, name, _ in files], rules.negative)
    number = {name: i for i, name in enumerate(class_names)}
    slides, patients = _find_groups(root, sources, rules.group_regex)
    table = pd.DataFrame(
        {
            "tile_id": _name_patches(sources),
            "source": sources,
            "source_index": -1,
            "label": np.array([number[name] for _, name, _ in files], np.int8),
            "split": pd.Series([split for _, _, split in files], dtype="object"),
            "slide_id": pd.Series(slides, dtype="object"),
            "patient_id": pd.Series(patients, dtype="object"),
        }
    )
    warnings = []
    if empty:
        warnings.append(f"classes without an image are left out: {', '.join(empty)}")
    if listing.n_others:
        warnings.append(
            f"{listing.n_others:,} files are no images in a class folder, and are left "
            "out"
        )
    notes = {
        **listing.describe(),
        "empty_classes": empty,
        "n_slides_known": len({slide for slide in slides if slide is not None}),
    }
    return PatchSet(root.resolve(), table, class_names, None, notes, tuple(warnings))


def _name_patches(sources: list[str]) -> list[str]:
    """Name patches by path without suffix; with it where that is not enough."""
    names = [strip_suffix(source) for source in sources]
    return names if len(set(names)) == len(names) else list(sources)


def _find_groups(
    root: Path, sources: list[str], pattern: str | None
) -> tuple[list[str | None], list[str | None]]:
    """Find each patch's slide and patient in its path."""
    if pattern is None:
        return [None] * len(sources), [None] * len(sources)
    find = re.compile(pattern)
    slides: list[str | None] = []
    patients: list[str | None] = []
    missed = []
    for source in sources:
        match = find.search(source)
        slide, patient = _read_groups(match) if match else ("", "")
        if not slide:
            missed.append(source)
        slides.append(slide)
        patients.append(patient)
    if missed:
        raise CohortError(
            f"{root}: group_regex '{pattern}' must find the patient or slide in every "
            f"path, and does not in {len(missed):,} of {len(sources):,} "
            f"({say_examples(missed)})"
        )
    if len(set(zip(slides, patients, strict=True))) > len(set(slides)):
        # Slides are numbered anew for each patient.
        pairs = zip(slides, patients, strict=True)
        slides = [f"{patient}_{slide}" for slide, patient in pairs]
    return slides, patients


def _read_groups(match: re.Match[str]) -> tuple[str, str]:
    groups = match.groupdict()
    slide, patient = groups.get("slide") or "", groups.get("patient") or ""
    if not groups:
        slide = match[1] or ""
    slide = slide or patient
    return slide, patient or find_patient(slide)
