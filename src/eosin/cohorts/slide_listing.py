"""Which slides a user means by files, folders and tables."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eosin.cohorts.patients import find_patient
from eosin.cohorts.table import read_cohort
from eosin.core import CohortError, SlideError, hash_file, raising
from eosin.slides import (
    PACK_SUFFIX,
    find_series,
    fingerprint_slide,
    is_remote,
    list_packed,
    name_packed,
)

SLIDE_SUFFIXES = (
    *(".bif", ".dcm", ".jpeg", ".jpg", ".mrxs", ".ndpi", ".png"),
    *(".scn", ".svs", ".svslide", ".tif", ".tiff", ".vms", ".vmu"),
)
_COLUMNS = ["slide_id", "path", "mpp", "patient_id"]


def list_files(path: Path) -> list[Path]:
    """List the slides of a folder, by name; a file stands for itself.

    Of the DICOM files of one series, which are one slide, the largest stands for all.

    Raises:
        CohortError: The folder holds no slide or cannot be listed, or a pattern matches
            none.
    """
    path = Path(path)
    with raising(CohortError, f"{path}: cannot be listed"):
        return _list_files(path)


def _list_files(path: Path) -> list[Path]:
    if set("*?[") & set(path.name) and not path.exists():
        raise CohortError(
            f"{path}: no slide is named so; a pattern reaches eosin as it is where it "
            "matches nothing, or stands in quotes"
        )
    if not path.is_dir():
        return [path]
    files = [
        file
        for file in sorted(path.iterdir())
        if file.suffix.lower() in SLIDE_SUFFIXES and not file.name.startswith(".")
    ]
    if not files:
        raise CohortError(
            f"{path}: no slide in this folder; slides end in {' '.join(SLIDE_SUFFIXES)}"
        )
    return _merge_series(files)


def _merge_series(files: list[Path]) -> list[Path]:
    """Keep one file of each DICOM series, the one with the finest level's pixels."""
    chosen: dict[str, Path] = {}
    for file in files:
        series = find_series(file) if file.suffix.lower() == ".dcm" else None
        key = series or file.name
        if key not in chosen or _find_size(file) > _find_size(chosen[key]):
            chosen[key] = file
    return sorted(chosen.values())


def _find_size(file: Path) -> int:
    """Return a file's size; -1 where it has gone since it was listed."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


def list_slides(paths: Sequence[Path | str]) -> pd.DataFrame:
    """List slides from files, folders, URLs, packs and slide tables.

    Of a slide that is given both in a table and as a file, the table's row is taken,
    whatever the order, since it may say the mpp and the patient.

    Returns:
        Columns `slide_id`, `path`, `mpp` (NaN where not given) and `patient_id`.

    Raises:
        CohortError: A table is wrong, a folder has no slide, or two different
            files give one slide id.
        SlideError: A pack cannot be read.
    """
    rows: list[dict[str, Any]] = []
    stated: dict[str, dict[str, Any]] = {}
    for given in paths:
        path = Path(given)
        if path.suffix.lower() == ".csv" and not is_remote(given):
            cohort = read_cohort(path).table
            listed = list(iter_rows(cohort[_COLUMNS]))
            rows += listed
            stated = {row["path"]: row for row in listed} | stated
        elif is_remote(given):
            rows.append(_make_row(path.stem, str(given)))
        elif path.suffix == PACK_SUFFIX:
            pack = path.resolve()
            rows += [_make_row(s, name_packed(pack, s)) for s in list_packed(pack)]
        else:
            files = list_files(path)
            rows += [_make_row(file.stem, str(file.resolve())) for file in files]
    rows = [stated.get(row["path"], row) for row in rows]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    table = table.drop_duplicates("path", ignore_index=True)
    repeated = table[table["slide_id"].duplicated(keep=False)]
    if len(repeated):
        raise CohortError(
            "each slide needs a name of its own, since its results are named after it; "
            f"these share one: {', '.join(repeated['path'][:4])}; list them in a slide "
            "table with a column slide_id"
        )
    return table


def _make_row(slide_id: str, path: str) -> dict[str, Any]:
    patient = find_patient(slide_id)
    return {"slide_id": slide_id, "path": path, "mpp": np.nan, "patient_id": patient}


def iter_rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield a table's rows as values by column name."""
    for row in table.to_dict("records"):
        yield {str(name): value for name, value in row.items()}


def fingerprint_readable(path: str) -> str | None:
    """Hash a slide; what cannot be read fails later, where it is recorded."""
    try:
        return fingerprint_slide(path)
    except SlideError:
        return None


def hash_readable(path: str) -> str | None:
    """Hash a slide's annotation; what cannot be read fails later, as a slide does."""
    try:
        return hash_file(Path(path))
    except OSError:
        return None
