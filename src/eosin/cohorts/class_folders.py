"""Patches in folders that are called like their classes.

`<root>/<class>/...` or `<root>/{train,valid|val,test}/<class>/...`; or files whose
names say their class.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from eosin.cohorts.kaggle import LABELS_FILE
from eosin.cohorts.patch_sets import (
    Listing,
    PatchSet,
    is_hidden,
    iter_entries,
    iter_images,
    list_folders,
    raise_problems,
    say_examples,
    strip_suffix,
)
from eosin.cohorts.table import SPLIT_NAMES, find_patient
from eosin.core import CohortError, ConfigError
from eosin.settings import ImportSettings, put_negative_first

# What a tile table calls columns of its own: `<class>_fraction`.
_RESERVED = frozenset({"tissue"})
_MAX_CLASSES = 127


def read_class_folders(root: Path, settings: ImportSettings) -> PatchSet:
    """List the patches below class folders, and their splits where folders say them.

    Raises:
        CohortError: Something is wrong; the message lists everything that is.
        ConfigError: A pattern is wrong or has no group.
    """
    root = Path(root)
    class_pattern = _compile("class_regex", settings.class_regex)
    group_pattern = _compile("group_regex", settings.group_regex)
    if class_pattern is None:
        _require_no_other_layout(root)
    listing = Listing()
    files: list[tuple[str, str, str | None]] = []
    classes: set[str] = set()
    for folder, split in _find_splits(root, listing):
        if class_pattern is None:
            classes.update(list_folders(root / folder))
        own = _list_files(root, folder, class_pattern, listing)
        files += [(folder + name, class_name, split) for name, class_name in own]
    files.sort()
    table = pd.DataFrame(files, columns=["source", "class_name", "split"])
    nameless = table.loc[table["class_name"] == "", "source"]
    listing.object_to(
        nameless,
        "file(s)",
        where=f"class_regex '{settings.class_regex}' finds no class in ",
    )
    empty = sorted(classes - set(table["class_name"]))
    if empty and settings.allow_missing:
        listing.warnings.append(
            f"classes without an image are left out: {', '.join(empty)}"
        )
    else:
        listing.object_to(
            empty,
            "class folder(s) hold no image",
            remedy="; remove them, or go on without by --allow-missing",
        )
    raise_problems(root, listing.problems)
    if listing.n_others:
        listing.warnings.append(
            f"{listing.n_others:,} files are no images in a class folder, and are left "
            "out"
        )
    class_names = order_classes(table["class_name"], settings.negative)
    table["label"] = table["class_name"].map(class_names.index)
    table["tile_id"] = table["source"].map(strip_suffix)
    if table["tile_id"].duplicated().any():
        table["tile_id"] = table["source"]
    if group_pattern is not None:
        _add_groups(root, table, group_pattern)
    n_slides = table["slide_id"].nunique() if "slide_id" in table else 0
    listing.notes |= listing.describe()
    listing.notes |= {"empty_classes": empty, "n_slides_known": n_slides}
    return listing.finish(root, table, class_names)


def order_classes(names: Iterable[str], negative: str | None) -> tuple[str, ...]:
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
        return put_negative_first(found)
    if negative not in found:
        raise CohortError(
            f"the negative class must be one of {', '.join(found)}, got '{negative}'"
        )
    return negative, *(name for name in found if name != negative)


def _compile(name: str, text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(
            f"{name} '{text}' is no regular expression ({error})"
        ) from error
    if pattern.groups == 0:
        raise ConfigError(
            f"{name} '{text}' needs a group in parentheses around what it is to find"
        )
    return pattern


def _require_no_other_layout(root: Path) -> None:
    """Point to the layout that a folder without class folders has."""
    if not root.is_dir():
        return
    train = root / "train"
    if (root / LABELS_FILE).is_file() and train.is_dir():
        if not any(entry.is_dir() for entry in iter_entries(train)):
            raise CohortError(
                f"{root}: has {LABELS_FILE} and images in train/, the layout of the "
                f"Kaggle competition; use 'eosin import kaggle {root}'"
            )
    elif not list_folders(root):
        names = sorted(entry.name for entry in iter_entries(root))
        packs = [n for n in names if not is_hidden(n) and n.endswith((".h5", ".h5.gz"))]
        if packs:
            raise CohortError(
                f"{root}: has .h5 files ({say_examples(packs)}) and no class folder; "
                f"if they are those of PatchCamelyon, use 'eosin import pcam {root}'"
            )


def _find_splits(root: Path, listing: Listing) -> list[tuple[str, str | None]]:
    """Find the split folders: (path with a slash at its end, split)."""
    if not root.is_dir():
        raise CohortError(f"{root}: no such folder")
    folders = list_folders(root)
    splits = {n: SPLIT_NAMES[n.lower()] for n in folders if n.lower() in SPLIT_NAMES}
    if "train" not in splits.values():
        return [("", None)]
    others = [name for name in folders if name not in splits]
    if others:
        listing.problems.append(
            f"there are split folders ({', '.join(splits)}) and others beside them "
            f"({say_examples(others)}); move the others away"
        )
    is_alone = len(splits) == 1
    return [(f"{n}/", None if is_alone else split) for n, split in splits.items()]


def _list_files(
    root: Path, folder: str, pattern: re.Pattern[str] | None, listing: Listing
) -> list[tuple[str, str]]:
    """List the images below a folder, each with the class that its path says."""
    n_before = listing.n_others
    names = list(iter_images(root / folder, listing, recursive=True))
    if pattern is not None:
        group = pattern.groupindex.get("class", 1)
        matches = [pattern.search(name.rsplit("/", 1)[-1]) for name in names]
        found = [(match[group] or "") if match else "" for match in matches]
        return list(zip(names, found, strict=True))
    files = [(name, name.partition("/")[0]) for name in names if "/" in name]
    listing.n_others += len(names) - len(files)
    if not list_folders(root / folder):
        n = listing.n_others - n_before
        listing.problems.append(
            f"{folder or 'the folder'} holds no class folder"
            + (f", only {n:,} file(s)" if n else "")
            + "; where file names say the class, add --set class_regex=..."
        )
    return files


def _add_groups(root: Path, table: pd.DataFrame, pattern: re.Pattern[str]) -> None:
    """Find each patch's slide and patient in its path."""
    groups = table["source"].str.extract(pattern).fillna("")
    if not pattern.groupindex:
        groups = groups.rename(columns={0: "slide"})
    groups = groups.reindex(columns=["slide", "patient"], fill_value="")
    patients = groups["patient"]
    slides = groups["slide"].where(groups["slide"] != "", patients)
    if (missed := table.loc[slides == "", "source"]).size:
        raise CohortError(
            f"{root}: group_regex '{pattern.pattern}' must find the patient or slide "
            f"in every path, and does not in {len(missed):,} of {len(table):,} "
            f"({say_examples(missed)})"
        )
    patients = patients.where(patients != "", slides.map(find_patient))
    if len(set(zip(slides, patients, strict=True))) > slides.nunique():
        # Slides are numbered anew for each patient.
        slides = patients + "_" + slides
    table["slide_id"], table["patient_id"] = slides, patients
