"""The slide table: which slides there are, of whom, and with which label."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.cohorts.columns import ALIASES, COLUMNS, rename_columns
from eosin.core import CohortError, find_nearest, restore_text, suggest
from eosin.slides import is_plausible_mpp, is_remote

SPLITS = ("train", "val", "test")

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# Slides that a message names at most.
_SHOWN = 5

# A patient at the beginning of a slide's id, of TCGA or CPTAC.
_PATIENT = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}|C3[LN]-\d{5}(?=-|$)")


@dataclass(frozen=True)
class Cohort:
    """Slides with their patients, labels and annotations.

    Attributes:
        table: One row per slide with `COLUMNS` and whatever else the file had.
            `path` and `annotation` are absolute; `annotation`, `label`, `split`,
            `site` and `scanner` are None where the file says nothing, `mpp` NaN.
        path: The file.
        columns: The file's own column names.
    """

    table: pd.DataFrame
    path: Path
    columns: tuple[str, ...]

    @property
    def is_made(self) -> bool:
        """Whether the slides were drawn by `slides.phantom`."""
        return "made" in self.table and bool(self.table["made"].notna().any())


def read_cohort(
    path: Path,
    *,
    class_names: Sequence[str] = (),
    class_option: str = "",
    needs_files: bool = True,
) -> Cohort:
    """Read a slide table.

    Commas, semicolons or tabs; with or without a byte-order mark; any line end.
    Only `path` is required. A slide's id is otherwise its file's name, a patient's
    is taken from TCGA and CPTAC ids, and else each slide is its own patient.

    Args:
        path: The CSV file. Paths in it are relative to its folder.
        class_names: Labels that are allowed, whatever their case. None given
            allows all.
        class_option: What a user names the classes by, such as `--classes`, for
            messages about a class that no slide has; empty where it is no choice.
        needs_files: Whether slides and annotations must be there; False where only
            labels are wanted, and then a column `slide_id` will do.

    Raises:
        CohortError: Something is wrong; the message lists everything that is.
    """
    path = Path(path)
    own = _read_csv(path)
    raw = rename_columns(path, own, needs_files=needs_files)
    table = _fill(raw, path.parent)
    problems = [
        *_find_duplicates(table),
        *(_find_missing_files(table) if needs_files else ()),
        *_find_bad_values(table, raw),
        *_find_bad_labels(table, class_names, class_option),
        *_find_divided_patients(table),
    ]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise CohortError(f"{path}: {len(problems)} problem(s):\n{lines}")
    by_lower = {name.lower(): name for name in class_names}
    labels = [label and by_lower.get(label.lower(), label) for label in table["label"]]
    table["label"] = pd.Series(labels, dtype="object")
    return Cohort(table, path, tuple(map(str, own.columns)))


def require_labels(
    cohort: Cohort, table: pd.DataFrame, class_names: Sequence[str], *, remedy: str
) -> None:
    """Stop where rows of a slide table have no label, and say what to do about it.

    Raises:
        CohortError: The column is missing, or slides have nothing in it.
    """
    if not {name.lower() for name in cohort.columns} & set(ALIASES["label"]):
        raise CohortError(
            f"{cohort.path}: needs a column 'label' with the class of every slide "
            f"({', '.join(class_names)}); it has {', '.join(cohort.columns)}; "
            + _say_label_column(cohort, class_names)
        )
    nameless = table.loc[table["label"].isna(), "slide_id"].astype(str)
    if len(nameless):
        raise CohortError(
            f"{cohort.path}: every slide needs a label; {len(nameless)} have none, "
            f"such as {', '.join(nameless.iloc[:_SHOWN])}; {remedy}"
        )


def _say_label_column(cohort: Cohort, class_names: Sequence[str]) -> str:
    """Say what to do, with the column that may hold the labels."""
    known = {name.lower() for name in class_names}
    for name in cohort.table.columns:
        if name in cohort.columns:
            values = {str(value).lower() for value in cohort.table[name] if value}
            if values and values <= known:
                return f"rename '{name}', which holds classes, to 'label'"
    nearest = find_nearest("label", cohort.columns)
    return f"rename '{nearest}' to 'label'" if nearest else "add it, a class a slide"


def say_unknown_patients(cohort: Cohort) -> str | None:
    """Say that each slide counts as a patient, where nobody said whose it is."""
    has_column = {name.lower() for name in cohort.columns} & set(ALIASES["patient_id"])
    own = cohort.table["patient_id"] == cohort.table["slide_id"]
    if has_column or not own.all() or len(own) < 2:
        return None
    return (
        "the table has no column patient_id, so each slide counts as a patient of its "
        "own; if slides share patients, add it, or one patient is trained and tested on"
    )


def find_patient(slide_id: str) -> str:
    """Take the patient out of a TCGA or CPTAC slide id; else the id itself."""
    match = _PATIENT.match(slide_id)
    return match[0] if match else slide_id


def find_divided(table: pd.DataFrame, key: str, value: str) -> list[str]:
    """List the keys that have more than one value."""
    pairs = table[[key, value]].dropna().drop_duplicates()
    return list(pairs.loc[pairs[key].duplicated(), key].unique())


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise CohortError(f"{path}: no such slide table") from error
    except UnicodeDecodeError as error:
        raise CohortError(
            f"{path}: must be UTF-8 text ({error.reason} at byte {error.start}); save "
            "it as 'CSV UTF-8'"
        ) from error
    except OSError as error:
        hint = "; a slide table (CSV) is needed here" if path.is_dir() else ""
        raise CohortError(f"{path}: cannot be read ({error.strerror}){hint}") from error
    header, _, rest = text.partition("\n")
    if header.lower().startswith("sep="):
        # What Excel writes to tell itself the delimiter.
        text = rest
        header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = [row for row in reader if any(row)]
    if len(rows) < 2:
        raise CohortError(f"{path}: needs a header line and one slide or more")
    names = [name.strip() for name in rows[0]]
    if repeated := {name for name in names if name and names.count(name) > 1}:
        raise CohortError(
            f"{path}: each column needs a name of its own; "
            f"{', '.join(sorted(repeated))} stands twice in the header"
        )
    if bad := [i for i, row in enumerate(rows[1:], 2) if any(row[len(names) :])]:
        raise CohortError(
            f"{path}: line {bad[0]} has more fields than the header; quote texts "
            f"that hold a '{delimiter}'"
        )
    cells = [
        [restore_text(cell.strip()) for cell in row[: len(names)]] for row in rows[1:]
    ]
    padded = [row + [""] * (len(names) - len(row)) for row in cells]
    return pd.DataFrame(padded, columns=names, dtype="object")


def _fill(raw: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Bring the columns to their order, types and defaults."""
    empty = [""] * len(raw)
    cells: dict[str, list[Any]] = {
        name: [value or None for value in (raw[name] if name in raw.columns else empty)]
        for name in COLUMNS
    }
    for name in ("path", "annotation"):
        cells[name] = [_resolve(folder, value) for value in cells[name]]
    stems = [Path(path).stem if path else None for path in cells["path"]]
    cells["slide_id"] = [
        slide_id or stem or f"row {line}"
        for line, (slide_id, stem) in enumerate(
            zip(cells["slide_id"], stems, strict=True), 2
        )
    ]
    cells["patient_id"] = [
        patient_id or find_patient(slide_id)
        for patient_id, slide_id in zip(
            cells["patient_id"], cells["slide_id"], strict=True
        )
    ]
    cells["split"] = [
        value and SPLIT_NAMES.get(value.lower(), value) for value in cells["split"]
    ]
    # Objects, because a text column would turn None into NaN.
    table = pd.DataFrame(cells, dtype="object")
    numbers = pd.Series([(value or "").replace(",", ".") for value in cells["mpp"]])
    table["mpp"] = pd.to_numeric(numbers, errors="coerce").astype("float64")
    for name in raw.columns:
        if name not in table.columns:
            table[name] = raw[name]
    return table


def _resolve(folder: Path, value: str | None) -> str | None:
    if not value:
        return None
    if is_remote(value):
        return value
    return str((folder / Path(value.replace("\\", "/")).expanduser()).resolve())


def _find_duplicates(table: pd.DataFrame) -> Iterator[str]:
    for column in ("slide_id", "path"):
        values = table[column].dropna()
        for value, rows in values.groupby(values).groups.items():
            if len(rows) > 1:
                lines = ", ".join(str(row + 2) for row in rows)
                yield f"{column} '{value}' stands in {len(rows)} rows (lines {lines})"


def _find_missing_files(table: pd.DataFrame) -> Iterator[str]:
    columns = table[["slide_id", "path", "annotation"]]
    for row, slide_id, path, annotation in columns.itertuples():
        if path is None:
            yield f"line {row + 2}: path is empty"
        elif not is_remote(path) and not Path(path).exists():
            yield f"line {row + 2} ({slide_id}): no such slide file {path}"
        elif not is_remote(path) and Path(path).is_dir():
            yield f"line {row + 2} ({slide_id}): path is a folder, {path}; name a file"
        if annotation is not None and not Path(annotation).is_file():
            yield f"line {row + 2} ({slide_id}): no such annotation file {annotation}"


def _find_bad_values(table: pd.DataFrame, raw: pd.DataFrame) -> Iterator[str]:
    given = raw["mpp"] if "mpp" in raw.columns else pd.Series("", index=raw.index)
    for row, text, mpp in zip(table.index, given, table["mpp"], strict=True):
        if text and not is_plausible_mpp(mpp):
            yield (
                f"line {row + 2}: mpp must be micrometres per pixel, such as 0.25 or "
                f"0.5, got '{text}'"
            )
    for line, split in enumerate(table["split"], 2):
        if split is not None and split not in SPLITS:
            yield f"line {line}: split must be train, val or test, got '{split}'"


def _find_bad_labels(
    table: pd.DataFrame, class_names: Sequence[str], class_option: str
) -> Iterator[str]:
    if not class_names:
        return
    known = {name.lower() for name in class_names}
    mistyped = _find_mistyped(table["label"], class_names) if class_option else {}
    labels = Counter(label for label in table["label"] if label is not None)
    holds = ", ".join(
        f"{name} ({n} slide{'s'[: n > 1]})" for name, n in sorted(labels.items())
    )
    for name, nearest in mistyped.items():
        yield (
            f"no slide has the label '{name}' that {class_option} asks for; the column "
            f"'label' holds {holds}"
            + (f"; is {class_option} {nearest} meant?" if nearest else "")
        )
    is_explained = None in mistyped.values()
    explained = {None, *mistyped.values()}
    for row, slide_id, label in table[["slide_id", "label"]].itertuples():
        if is_explained or label in explained or label.lower() in known:
            continue
        yield (
            f"line {row + 2} ({slide_id}): label must be one of "
            f"{', '.join(class_names)}, got '{label}'{suggest(label, class_names)}"
        )


def _find_mistyped(
    labels: pd.Series, class_names: Sequence[str]
) -> dict[str, str | None]:
    """Find classes that no slide has, with the label of no class that each is like."""
    there = {str(label).lower(): str(label) for label in labels.dropna()}
    known = {name.lower() for name in class_names}
    others = [label for lower, label in there.items() if lower not in known]
    if not others:
        return {}
    return {
        name: find_nearest(name, others)
        for name in class_names
        if name.lower() not in there
    }


def _find_divided_patients(table: pd.DataFrame) -> Iterator[str]:
    # A split that does not exist is a problem of its own.
    known = table[table["split"].isin(SPLITS)]
    for patient_id in sorted(find_divided(known, "patient_id", "split")):
        splits = sorted(set(known.loc[known["patient_id"] == patient_id, "split"]))
        yield (
            f"patient {patient_id} is in the splits {' and '.join(splits)}; all slides "
            "of a patient must be in one"
        )
