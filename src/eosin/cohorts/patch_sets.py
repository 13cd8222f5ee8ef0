"""Patch data sets: what their layouts have in common."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eosin.cohorts.patients import match_patients
from eosin.core import CohortError, hash_object, read_csv_text

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"},
)

_OF_FILES = ("tile_id", "source", "source_index", "label")
_OF_OWNERS = ("split", "slide_id", "patient_id")
_SYSTEM_FILES = frozenset({"__macosx", "desktop.ini", "thumbs.db"})
_EXAMPLES = 5
_SHOWN_PROBLEMS = 20


@dataclass(frozen=True, eq=False)
class PatchSet:
    """Patches of one data set, before any of their pixels is read.

    Attributes:
        root: The folder that the patches' files are relative to, absolute.
        table: One row per patch, in an order that depends on names only: `tile_id`,
            `source` (its file, below the root or in full), `source_index` (the row in
            an .h5, -1 where the file is one patch), `label` (-1 without one), `split`,
            `slide_id` and `patient_id` (None where nobody says).
        class_names: Class of each label; label 0 is the negative class.
        mpp: Micrometres per pixel as published for the layout; None where the layout
            says nothing.
        notes: What was left out or mended, for the record, as JSON can write it.
        warnings: The same as sentences for the user.
    """

    root: Path
    table: pd.DataFrame
    class_names: tuple[str, ...]
    mpp: float | None
    notes: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Hash of which patches there are, and of what is said of them."""
        columns = ["source", "label", "split", "slide_id", "patient_id"]
        listed = pd.util.hash_pandas_object(self.table[columns], index=False)
        return hash_object([len(self.table), listed.to_numpy().tobytes().hex()])


@dataclass
class Listing:
    """What is found of a data set while its patches are listed.

    Attributes:
        n_hidden: Hidden files and folders, and those of operating systems.
        n_others: Files that are no images.
        problems: What makes the data set unusable, as sentences.
        warnings: What was left out or mended, as sentences.
        notes: The same for the record.
    """

    n_hidden: int = 0
    n_others: int = 0
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, int]:
        """Return how much was passed over, for the record."""
        return {"n_hidden": self.n_hidden, "n_other_files": self.n_others}

    def object_to(
        self, names: Collection[Any], text: str, *, where: str = "", remedy: str = ""
    ) -> None:
        """Note how many names have a problem, and the first of them; none is fine."""
        if len(names):
            shown = say_examples(names)
            self.problems.append(f"{where}{len(names):,} {text} ({shown}){remedy}")

    def finish(
        self,
        root: Path,
        table: pd.DataFrame,
        class_names: tuple[str, ...],
        mpp: float | None = None,
    ) -> PatchSet:
        """Bring the table to its form, or raise an error that lists all problems."""
        raise_problems(root, self.problems)
        table = table.reindex(columns=[*_OF_FILES, *_OF_OWNERS])
        table["source_index"] = table["source_index"].fillna(-1).astype("int64")
        table["label"] = table["label"].astype("int8")
        for name in _OF_OWNERS:
            table[name] = fill_with_none(table[name])
        warnings = tuple(self.warnings)
        return PatchSet(root.resolve(), table, class_names, mpp, self.notes, warnings)


def iter_images(
    folder: Path, listing: Listing, *, recursive: bool = False
) -> Iterator[str]:
    """Walk through a folder and yield the images below it, relative to it.

    Entries stream from the file system; nothing but the folders still to be visited
    is held. Hidden entries and other files are counted in `listing`. A folder that
    links lead to twice is walked once.

    Raises:
        CohortError: A folder cannot be listed.
    """
    waiting = [""]
    seen: set[tuple[int, int]] = set()
    while waiting:
        prefix = waiting.pop()
        for entry in iter_entries(folder / prefix if prefix else folder):
            if is_hidden(entry.name):
                listing.n_hidden += 1
            elif entry.is_dir():
                status = entry.stat()
                key = (status.st_dev, status.st_ino)
                if recursive and key not in seen:
                    seen.add(key)
                    waiting.append(f"{prefix}{entry.name}/")
            elif (
                os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a million times
                # No pipe, whose reading never ends; a link to nothing fails later.
                and (entry.is_file() or not os.path.exists(entry.path))  # noqa: PTH110
            ):
                yield prefix + entry.name
            else:
                listing.n_others += 1


def iter_entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Stream a folder's entries, or raise `CohortError` where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise CohortError(
            f"{folder}: cannot be listed ({error.strerror or error})"
        ) from error


def list_folders(folder: Path) -> list[str]:
    """List the folders in a folder that people see, by name."""
    entries = (entry for entry in iter_entries(folder) if not is_hidden(entry.name))
    return sorted(entry.name for entry in entries if entry.is_dir())


def is_hidden(name: str) -> bool:
    """Tell files that people do not see: hidden ones and those of file managers."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def strip_suffix(name: str) -> str:
    """Return a relative path without its last suffix, as a patch's id."""
    return os.path.splitext(name)[0]  # noqa: PTH122 - a million times


def say_examples(names: Iterable[Any]) -> str:
    """Write the first few names, and how many there are beyond."""
    found = [str(name) for name in names]
    rest = len(found) - _EXAMPLES
    more = f" and {rest:,} more" if rest > 0 else ""
    return ", ".join(found[:_EXAMPLES]) + more


def raise_problems(where: Path, problems: Sequence[str]) -> None:
    """Stop by a `CohortError` with every problem at once, if there is any."""
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems[:_SHOWN_PROBLEMS])
        raise CohortError(f"{where}: {len(problems)} problem(s):\n{lines}")


def read_patch_csv(
    path: Path, columns: Mapping[str, Sequence[str]], *, optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Read some columns of a CSV file (also `.csv.gz`) as text, empty for no value.

    `columns` are the names that each may have, in lower case, by its own name.

    Raises:
        CohortError: The file is missing, no CSV, lacks a column, or has two that
            contradict each other.
    """
    text = read_csv_text(path, CohortError, noun="file")
    raw = pd.DataFrame(text.rows, columns=text.names, dtype="object")
    table = pd.DataFrame(index=raw.index)
    for name, aliases in columns.items():
        found = [
            column
            for alias in aliases
            for column in text.names
            if column.lower() == alias
        ]
        if found:
            table[name] = raw[found[0]]
        elif name not in optional:
            raise CohortError(
                f"{path}: needs a column '{aliases[0]}'; it has {', '.join(text.names)}"
            )
        for other in found[1:]:
            bad = np.flatnonzero((raw[other] != table[name]) & (raw[other] != ""))
            if len(bad):
                raise CohortError(
                    f"{path}: the columns '{found[0]}' and '{other}' contradict each "
                    f"other in {len(bad):,} row(s), such as line {text.lines[bad[0]]}; "
                    "keep one of them"
                )
    return table


def own_patches(table: pd.DataFrame, listing: Listing) -> None:
    """Write the patients of patches in one way each, and None where nobody says them.

    `listing` is told which spellings were joined, and which might be one patient's.
    """
    found = match_patients(fill_with_none(table["patient_id"]).dropna())
    listing.problems += found.problems
    listing.warnings += found.remarks
    names = table["patient_id"].map(found.names, na_action="ignore")
    table["patient_id"] = fill_with_none(names)


def read_labels(
    texts: pd.Series, names: Iterable[str], where: str, listing: Listing
) -> pd.Series:
    """Read labels that must be 0 or 1; NaN where one is neither.

    `names` and `where` (the file) are for the problem that `listing` is then told.
    """
    labels = texts.map({"0": 0, "1": 1, "0.0": 0, "1.0": 1})
    said = zip(names, texts, labels.isna(), strict=True)
    bad = [f"{name} has '{text}'" for name, text, is_bad in said if is_bad]
    listing.object_to(bad, "are not", where=f"{where}: a label must be 0 or 1; ")
    return labels


def fill_with_none(values: pd.Series) -> pd.Series:
    """Return texts as objects, None where there is none."""
    texts = values.astype("object")
    return texts.where(values.notna() & (values != ""), None)
