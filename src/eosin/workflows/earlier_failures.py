"""Failures of earlier calls, of slides that nobody asked for again."""

from collections.abc import Collection
from typing import Any

import pandas as pd

from eosin.core import RunRecord, SlideFailure, to_file_name

_ROW = ["slide_id", "patient_id", "path", "status"]


def keep_failures(record: RunRecord, asked: Collection[str]) -> list[dict[str, Any]]:
    """Take over what failed in earlier calls; only what is asked for again is new.

    Without it a call for other slides would leave a failed one out of the tables, and
    call work done that is not.

    Args:
        record: Of the call; takes the failures. Its folder holds the tables that the
            call before wrote, `failures.csv` and `slides.csv`.
        asked: What the call was asked for, slides and bags by their ids.

    Returns:
        The rows of these slides in `slides.csv`, with status `failed`.
    """
    failures = _read(record, "failures.csv", ["slide_id", "step", "message"])
    slides = _read(record, "slides.csv", _ROW)
    slides = slides[slides["status"] == "failed"]
    rows: dict[str, dict[str, Any]] = {}
    for failure in (SlideFailure(*row) for row in failures.itertuples(index=False)):
        name = failure.slide_id
        # A killed call may have finished it since, and written no table.
        part = record.folder / "parts" / (to_file_name(name) + ".json")
        if name in asked or part.exists():
            continue
        record.failures.append(failure)
        own = slides[slides["slide_id"] == name]
        if own.empty:
            # A patient's slides fail together.
            own = slides[slides["patient_id"] == name]
        for row in own.to_dict("records"):
            rows[row["slide_id"]] = {str(k): value for k, value in row.items() if value}
    return list(rows.values())


def _read(record: RunRecord, name: str, columns: list[str]) -> pd.DataFrame:
    """Read columns of a table as text; no rows where it is not there."""
    path = record.folder / name
    if not path.exists():
        return pd.DataFrame(columns=columns)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.reindex(columns=columns, fill_value="")
