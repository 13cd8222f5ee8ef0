"""The names of the slide table's columns, and what is probably meant by others."""

import os
import re
from difflib import SequenceMatcher
from pathlib import Path

import pandas as pd

from eosin.cohorts.patients import is_missing, name_patient, tidy_text
from eosin.core import CohortError, suggest

COLUMNS = (
    "slide_id",
    "patient_id",
    "path",
    "annotation",
    "label",
    "mpp",
    "split",
    "site",
    "scanner",
)

# What other tools call these columns, in lower case.
_OTHER_NAMES = {
    "slide_id": ("slide",),
    "patient_id": ("case_id", "patient"),
    "path": ("wsi", "filename", "file"),
    "annotation": ("annotations",),
    "label": ("category",),
}
ALIASES = {name: (name, *_OTHER_NAMES.get(name, ())) for name in COLUMNS}
# Columns without which results would be wrong in silence, so that one which is
# probably meant for them is asked about; and what else people call a patient.
_DECISIVE = ("patient_id", "label", "annotation", "split")
_LIKE_PATIENT = {
    *("case", "subject", "subjectid", "participant", "participantid", "donor"),
    *("donorid", "individual", "person", "personid", "mrn", "pid", "patid", "ptid"),
    *("patientnr", "patientno", "patientnumber", "patientcode", "patientbarcode"),
    *("bcrpatientbarcode", "casesubmitterid", "submitterid", "caseid", "patient"),
}
# What also says the class; read as nothing, but held against the label.
_LIKE_LABEL = {
    *("class", "classname", "classlabel", "labels", "target", "gt", "groundtruth"),
}
_LIKE = {"patient_id": _LIKE_PATIENT, "label": _LIKE_LABEL}
_LIKENESS = 0.85

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# What people add to a split's name.
_SPLIT_NOUN = re.compile(r"(data|dataset|set|split|fold|folder|images|patches|tiles)$")
# Tried in this order where a table names slides without their suffix.
_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif")


def find_split(name: str) -> str | None:
    """Find the split that a name means, such as `Validation` or `test_set`."""
    bare = "".join(filter(str.isalnum, name.casefold()))
    return SPLIT_NAMES.get(bare) or SPLIT_NAMES.get(_SPLIT_NOUN.sub("", bare))


def rename_columns(path: Path, raw: pd.DataFrame, *, needs_files: bool) -> pd.DataFrame:
    """Give known columns of a slide table their names; keep the others as they are.

    Where `needs_files` is False, a column `slide_id` will do.

    Raises:
        CohortError: No column says which slides there are, or one is probably meant
            for another.
    """
    found: dict[str, str] = {}
    for name, aliases in ALIASES.items():
        columns = [
            column
            for alias in aliases
            for column in raw.columns
            if column.lower() == alias and column not in found
        ]
        # The name itself, before its spellings and others.
        columns.sort(key=lambda column, name=name: column != name)  # type: ignore[misc]
        if columns:
            found[columns[0]] = name
        # Beside it, also what is called almost so.
        alike = {_bare(name), *_LIKE.get(name, ())}
        others = [c for c in raw.columns if c not in columns and _bare(c) in alike]
        for other in [*columns[1:], *(others if columns else ())]:
            _require_agreement(path, raw, name, (columns[0], other))
    raw = raw.rename(columns=found)
    _require_clear_names(path, raw)
    if "path" not in raw.columns and "slide_id" in raw.columns:
        found_files = [_find_slide(path.parent, value) for value in raw["slide_id"]]
        files = [file for file in found_files if file is not None]
        if len(files) == len(raw):
            raw = raw.assign(path=files, slide_id=[Path(file).stem for file in files])
    if "path" not in raw.columns and not needs_files and "slide_id" in raw.columns:
        return raw.assign(path=raw["slide_id"])
    if "path" not in raw.columns:
        raise CohortError(
            f"{path}: needs a column 'path' with the slide files; it has "
            f"{', '.join(map(str, raw.columns))}{suggest('path', raw.columns)}"
        )
    return raw


def _require_agreement(
    path: Path, raw: pd.DataFrame, name: str, columns: tuple[str, str]
) -> None:
    """Stop where two columns can be the same one and contradict each other.

    Raises:
        CohortError: They do. A cell that is empty contradicts nothing.
    """
    pairs = raw[list(columns)]
    pairs = pairs[(pairs != "").all(axis=1)]
    one, other = (pairs[column].map(tidy_text).str.casefold() for column in columns)
    is_spelling = _bare(columns[0]) == _bare(columns[1])
    if name == "slide_id" and not is_spelling:
        # Slides are often numbered anew in each patient.
        return
    if name == "path":
        one, other = (
            texts.str.replace("\\", "/").str.rpartition("/")[2].str.partition(".")[0]
            for texts in (one, other)
        )
    elif name == "patient_id" and not is_spelling:
        # Which are of one patient decides, not what the patient is called. One that has
        # several cases is right; a case of several patients is not.
        one, other = (pairs[column].map(name_patient) for column in columns)
        other = one.groupby(other).transform("first")
    elif name == "label" and not is_spelling and set(one).isdisjoint(other):
        if _bare(columns[1]) in _LIKE_LABEL and one.nunique() != other.nunique():
            # Of something else.
            return
        # The same in other words, such as 0 and 1.
        other = one.groupby(other).transform("first")
    bad = pairs.index[one != other]
    if len(bad):
        shown = " and ".join(f"'{text}'" for text in pairs.loc[bad[0]])
        raise CohortError(
            f"{path}: the columns '{columns[0]}' and '{columns[1]}' can both be "
            f"'{name}', and contradict each other in {len(bad)} row(s), such as line "
            f"{bad[0]} with {shown}; keep one of them, or rename the one that is meant "
            "otherwise"
        )


def caution_split_columns(raw: pd.DataFrame) -> list[str]:
    """Say which columns hold splits or folds that are not read as such."""
    if "split" in raw.columns:
        return []
    found = []
    for column in raw.columns:
        texts = {text for text in raw[column] if not is_missing(text)}
        splits = {find_split(text) for text in texts}
        is_fold = re.fullmatch(r"(cv)?folds?\d*", _bare(column)) is not None
        if is_fold or ("train" in splits and len(splits) > 1 and None not in splits):
            found.append(column)
    return [
        f"the column '{column}' may hold splits, and is not used; one of train, val "
        "and test is read from a column 'split'"
        for column in found
    ]


def _require_clear_names(path: Path, raw: pd.DataFrame) -> None:
    """Stop where a column is probably meant for one that the table lacks."""
    for name in _DECISIVE:
        if name in raw.columns:
            continue
        for column in map(str, raw.columns):
            if column not in COLUMNS and _is_like(column, name):
                raise CohortError(
                    f"{path}: the column '{column}' is probably meant to be '{name}', "
                    f"which the table lacks; rename it to '{name}', or to something "
                    "less like it if it is not"
                )


def _bare(name: str) -> str:
    """Return a column's name without case and separators."""
    return "".join(filter(str.isalnum, name.casefold()))


def _is_like(column: str, name: str) -> bool:
    """Say whether a column's name is another's, but for spelling."""
    given, wanted = _bare(column), _bare(name)
    if name == "patient_id" and given in _LIKE_PATIENT:
        return True
    return (
        sorted(given) == sorted(wanted)
        or SequenceMatcher(None, given, wanted).ratio() >= _LIKENESS
    )


def _find_slide(folder: Path, name: str) -> str | None:
    """Find the file that a slide's name means, with or without its suffix."""
    for suffix in ("", *_SUFFIXES):
        # False, not an error, for what can be no path.
        if name and os.path.isfile(folder / (name + suffix)):  # noqa: PTH113
            return name + suffix
    return None
