"""Patches in folders that are called like their classes.

`<root>/<class>/...` or `<root>/{train,valid|val,test}/<class>/...`, or with folders of
patients above the classes; or files whose names say their class.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from eosin.cohorts.columns import find_split
from eosin.cohorts.folder_layouts import (
    caution_powers,
    find_layout,
    find_split_folders,
    join_spellings,
)
from eosin.cohorts.kaggle import LABELS_FILE
from eosin.cohorts.patch_sets import (
    Listing,
    PatchSet,
    is_hidden,
    iter_entries,
    iter_images,
    list_folders,
    own_patches,
    raise_problems,
    say_examples,
    strip_suffix,
)
from eosin.cohorts.patients import find_patient
from eosin.core import CohortError, ConfigError
from eosin.settings import ImportSettings, order_by_name

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
    images = {
        (folder, split): _list_images(root, folder, class_pattern, listing)
        for folder, split in find_split_folders(root, listing)
    }
    raise_problems(root, listing.problems)
    if class_pattern is None:
        table, classes = _read_folders(root, images, settings, listing)
    else:
        files = [
            (folder + name, _match_class(class_pattern, name), split)
            for (folder, split), names in images.items()
            for name in names
        ]
        table = pd.DataFrame(files, columns=["source", "class_name", "split"])
        classes = set()
    table = table.sort_values("source", ignore_index=True)
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
    table["class_name"] = join_spellings(table, listing)
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
        _add_groups(root, table, group_pattern, listing)
    elif "patient_id" in table:
        own_patches(table, listing)
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
        return order_by_name(found)
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


def _list_images(
    root: Path, folder: str, pattern: re.Pattern[str] | None, listing: Listing
) -> list[str]:
    """List the images below a folder; without a pattern those in folders of it."""
    n_before = listing.n_others
    names = list(iter_images(root / folder, listing, recursive=True))
    if pattern is not None:
        return names
    inside = [name for name in names if "/" in name]
    listing.n_others += len(names) - len(inside)
    if not list_folders(root / folder):
        n = listing.n_others - n_before
        listing.problems.append(
            f"{folder or 'the folder'} holds no class folder"
            + (f", only {n:,} file(s)" if n else "")
            + "; where file names say the class, add --set class_regex=..."
        )
    return inside


def _match_class(pattern: re.Pattern[str], name: str) -> str:
    """Find the class in a file's name; an empty text where it has none."""
    match = pattern.search(name.rsplit("/", 1)[-1])
    return (match[pattern.groupindex.get("class", 1)] or "") if match else ""


def _read_folders(
    root: Path,
    images: Mapping[tuple[str, str | None], Sequence[str]],
    settings: ImportSettings,
    listing: Listing,
) -> tuple[pd.DataFrame, set[str]]:
    """Find each image's class, split and perhaps patient in the folders above it.

    Returns:
        The images, and the class folders, with images or without.
    """
    folders = {name.rpartition("/")[0] for names in images.values() for name in names}
    try:
        layout = find_layout(folders, settings.class_depth)
    except CohortError as error:
        raise CohortError(f"{root}: {error}") from error
    if layout.remark and (layout.class_depth > 1 or not settings.group_regex):
        listing.warnings.append(layout.remark)
    listing.warnings += caution_powers(folders)
    rows: list[tuple[str, str, str | None, str]] = []
    for (folder, split), names in images.items():
        for name in names:
            parts = name.split("/", layout.class_depth + 1)
            own = find_split(parts[1]) if layout.has_splits else split
            class_name = parts[layout.class_depth - 1]
            rows.append((folder + name, class_name, own, parts[0]))
    columns = ["source", "class_name", "split", "patient_id"]
    table = pd.DataFrame(rows, columns=columns)
    if not layout.has_patients:
        table = table.drop(columns="patient_id")
    classes = set(table["class_name"])
    if layout.class_depth == 1:
        classes.update(*(list_folders(root / folder) for folder, _ in images))
    return table, classes


def _add_groups(
    root: Path, table: pd.DataFrame, pattern: re.Pattern[str], listing: Listing
) -> None:
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
    own_patches(table, listing)
