"""Which slides a user means by files, folders and tables."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import CohortError

SLIDE_SUFFIXES = (
    ".bif",
    ".dcm",
    ".jpeg",
    ".jpg",
    ".mrxs",
    ".ndpi",
    ".png",
    ".scn",
    ".svs",
    ".svslide",
    ".tif",
    ".tiff",
    ".vms",
    ".vmu",
)


def list_files(path: Path) -> list[Path]:
    """List the slides of a folder, by name; a file stands for itself.

    Raises:
        CohortError: The folder holds no slide.
    """
    path = Path(path)
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
    return files


def iter_rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield a table's rows as values by column name."""
    for row in table.to_dict("records"):
        yield {str(name): value for name, value in row.items()}
