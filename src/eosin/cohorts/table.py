"""The slide table: which slides there are, of whom, and with which label."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.cohorts.columns import (
    ALIASES,
    COLUMNS,
    caution_split_columns,
    find_split,
    rename_columns,
)
from eosin.cohorts.patch_sets import raise_problems
from eosin.cohorts.patients import (
    find_barcode,
    find_patient,
    match_patients,
    say_unknown_patients,
)
from eosin.core import (
    CohortError,
    find_nearest,
    raising,
    read_csv_text,
    say_lines,
    suggest,
)
from eosin.slides import is_plausible_mpp, is_remote

SPLITS = ("train", "val", "test")

# Slides that a message names at most, and how much of a path.
_SHOWN = 5
_LONGEST_SHOWN = 100

# More than anybody has.
_MOST_SLIDES = 1_000_000


@dataclass(frozen=True)
class Cohort:
    """Slides with their patients, labels and annotations.

    Attributes:
        table: One row per slide with `COLUMNS` and whatever else the file had.
            `path` and `annotation` are absolute; `annotation`, `label`, `split`,
            `site` and `scanner` are None where the file says nothing, `mpp` NaN.
        path: The file.
        columns: The file's own column names.
        cautions: What is not known of the patients, and what was joined or filled in,
            as sentences.
    """

    table: pd.DataFrame
    path: Path
    columns: tuple[str, ...]
    cautions: tuple[str, ...] = ()

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

    Commas, semicolons or tabs; UTF-8, or UTF-16 with a byte-order mark; any line end.
    Only `path` is required. A slide's id is otherwise its file's name, a patient's
    is taken from TCGA and CPTAC ids, and else each slide is its own patient. Spellings
    that are surely one patient's are joined, others are asked about.

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
    text = read_csv_text(path, CohortError, noun="slide table", most=_MOST_SLIDES)
    # Until all is checked, a row's number is its line in the file.
    own = pd.DataFrame(text.rows, text.lines, text.names, dtype="object")
    raw = rename_columns(path, own, needs_files=needs_files)
    table = _fill(path, raw)
    patients, cautions = _name_patients(table, has_column="patient_id" in raw.columns)
    cautions += caution_split_columns(raw)
    problems = [
        *patients,
        *_find_duplicates(table),
        *(_find_missing_files(table) if needs_files else ()),
        *_find_bad_values(table, raw),
        *_find_bad_labels(table, class_names, class_option),
        *_find_divided_patients(table),
    ]
    raise_problems(path, problems)
    if text.short:
        cautions.append(
            f"{say_lines(text.short)} of {path.name} are shorter than the header; what "
            "they lack counts as empty"
        )
    by_lower = {name.lower(): name for name in class_names}
    labels = [label and by_lower.get(label.lower(), label) for label in table["label"]]
    table["label"] = pd.Series(labels, table.index, dtype="object")
    columns = tuple(map(str, own.columns))
    return Cohort(table.reset_index(drop=True), path, columns, tuple(cautions))


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


def find_divided(table: pd.DataFrame, key: str, value: str) -> list[str]:
    """List the keys that have more than one value."""
    pairs = table[[key, value]].dropna().drop_duplicates()
    return list(pairs.loc[pairs[key].duplicated(), key].unique())


def _fill(path: Path, raw: pd.DataFrame) -> pd.DataFrame:
    """Bring the columns to their order, types and defaults."""
    empty = [""] * len(raw)
    cells: dict[str, list[Any]] = {
        name: [value or None for value in (raw[name] if name in raw.columns else empty)]
        for name in COLUMNS
    }
    for name in ("path", "annotation"):
        cells[name] = [
            value and _resolve(path, line, value)
            for line, value in zip(raw.index, cells[name], strict=True)
        ]
    stems = [Path(path).stem if path else None for path in cells["path"]]
    cells["slide_id"] = [
        slide_id or stem or f"row {line}"
        for line, slide_id, stem in zip(
            raw.index, cells["slide_id"], stems, strict=True
        )
    ]
    cells["split"] = [
        value and (find_split(value) or value) for value in cells["split"]
    ]
    # Objects, because a text column would turn None into NaN.
    table = pd.DataFrame(cells, raw.index, dtype="object")
    numbers = [(value or "").replace(",", ".") for value in cells["mpp"]]
    mpp = pd.to_numeric(pd.Series(numbers, raw.index), errors="coerce")
    table["mpp"] = mpp.astype("float64")
    for name in raw.columns:
        if name not in table.columns:
            table[name] = raw[name]
    return table


def _resolve(table: Path, line: int, value: str) -> str:
    if is_remote(value):
        return value
    shown = value if len(value) < _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}..."
    with raising(CohortError, f"{table}: line {line}: '{shown}' can be no path"):
        place = Path(value.replace("\\", "/")).expanduser()
        return str((table.parent / place).resolve())


def _name_patients(
    table: pd.DataFrame, *, has_column: bool
) -> tuple[list[str], list[str]]:
    """Give each slide its patient; return problems and cautions about them."""
    slides = table["slide_id"]
    found = match_patients(text for text in table["patient_id"] if text is not None)
    given = [text and found.names[text] for text in table["patient_id"]]
    table["patient_id"] = [
        patient or find_patient(slide_id)
        for patient, slide_id in zip(given, slides, strict=True)
    ]
    if len(given) > 1 and given == list(slides):
        unknown: str | None = (
            "patient_id repeats each slide's id, so each slide counts as a patient of "
            "its own; if slides share patients, write whose they are, or one patient "
            "is trained and tested on"
        )
    else:
        unknown = say_unknown_patients(slides, given, has_column=has_column)
    return (
        [*found.problems, *_find_contradictions(table)],
        [*found.remarks, *([unknown] if unknown else [])],
    )


def _find_contradictions(table: pd.DataFrame) -> Iterator[str]:
    """Say where slides of one TCGA or CPTAC patient are given to several."""
    known = table["slide_id"].map(find_patient)
    own = table[["patient_id"]].assign(known=known)[known != table["slide_id"]]
    for name in find_divided(own, "known", "patient_id"):
        patients = sorted(set(own.loc[own["known"] == name, "patient_id"]))
        yield (
            f"slides of {name}, by their ids, are given to {len(patients)} patients "
            f"({', '.join(patients[:_SHOWN])}); patient_id must name the person, not "
            "the slide or sample"
        )
    # Both are barcodes, and name two people.
    is_barcode = own["patient_id"].map(find_barcode).notna()
    wrong = own[is_barcode & (own["known"] != own["patient_id"])]
    if len(wrong):
        pairs = [
            f"line {n}: {row.known}, not {row.patient_id}"
            for n, row in wrong.iterrows()
        ]
        more = f" and {len(pairs) - _SHOWN:,} more" if len(pairs) > _SHOWN else ""
        yield (
            f"patient_id contradicts the barcode in {len(wrong)} slide id(s) "
            f"({', '.join(pairs[:_SHOWN])}{more}); was a column sorted by itself?"
        )


def _find_duplicates(table: pd.DataFrame) -> Iterator[str]:
    for column in ("slide_id", "path"):
        values = table[column].dropna()
        for value, rows in values.groupby(values).groups.items():
            if len(rows) > 1:
                lines = ", ".join(map(str, rows))
                yield f"{column} '{value}' stands in {len(rows)} rows (lines {lines})"


def _find_missing_files(table: pd.DataFrame) -> Iterator[str]:
    columns = table[["slide_id", "path", "annotation"]]
    for line, slide_id, path, annotation in columns.itertuples():
        if path is None:
            yield f"line {line}: path is empty"
        elif not is_remote(path) and not os.path.exists(path):  # noqa: PTH110 - false, not an error, for an impossible path
            yield f"line {line} ({slide_id}): no such slide file {path}"
        elif not is_remote(path) and Path(path).is_dir():
            yield f"line {line} ({slide_id}): path is a folder, {path}; name a file"
        if annotation is not None and not os.path.isfile(annotation):  # noqa: PTH113 - likewise
            yield f"line {line} ({slide_id}): no such annotation file {annotation}"


def _find_bad_values(table: pd.DataFrame, raw: pd.DataFrame) -> Iterator[str]:
    given = raw["mpp"] if "mpp" in raw.columns else pd.Series("", index=raw.index)
    for row, text, mpp in zip(table.index, given, table["mpp"], strict=True):
        if text and not is_plausible_mpp(mpp):
            yield (
                f"line {row}: mpp must be micrometres per pixel, such as 0.25 or "
                f"0.5, got '{text}'"
            )
    for line, split in table["split"].items():
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
            f"line {row} ({slide_id}): label must be one of "
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
