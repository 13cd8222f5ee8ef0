"""Tables as CSV files, whose texts no spreadsheet takes for formulas.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@`, and a slide may be
called `=HYPERLINK(...)`. Such texts are written with an apostrophe before them, by
which spreadsheets know text, and read back without it. Texts that are numbers stay as
they are. Programs that need ids exactly, such as Kaggle's, get `is_exact` tables.
"""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eosin.core.errors import EosinError, ManifestError, raising
from eosin.core.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

# With Japanese settings the wide forms count too; a tab or an end of line is left out
# by spreadsheets, and what follows runs. A dash by itself is text.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20].*[^\s=+\-@]", re.DOTALL)
_NUMBER = re.compile(r"'*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def write_csv(
    path: Path, table: Any, *, float_format: str | None = None, is_exact: bool = False
) -> None:
    """Write a data frame without its index, whole or not at all.

    Args:
        path: Where to write.
        table: The data frame.
        float_format: Of its numbers, such as `%.6g`; None keeps all digits.
        is_exact: Write texts as they are, formulas too.

    Raises:
        RunError: The file cannot be written.
    """
    if not is_exact:
        table = _change_texts(table, _defuse)
    options: dict[str, Any] = {"index": False, "float_format": float_format}
    if any("\r" in text for text in _iter_texts(table)):
        # A carriage return without quotes would end the line.
        options["quoting"] = csv.QUOTE_NONNUMERIC
    with atomic_path(path) as temporary:
        table.to_csv(temporary, **options)


def read_csv(
    path: Path, *, kind: type[EosinError] = ManifestError, **options: Any
) -> "pd.DataFrame":
    """Read what `write_csv` wrote, with the options of `pandas.read_csv`.

    Raises:
        EosinError: The file is damaged, or none; of this `kind`.
    """
    import pandas as pd  # noqa: PLC0415  commands that read no table need it not

    remedy = "do the work again that wrote it, with --overwrite"
    with raising(kind, f"{path}: cannot be read as a table", remedy=remedy):
        table: pd.DataFrame = pd.read_csv(path, **options)
    restored: pd.DataFrame = _change_texts(table, restore_text)
    return restored


def restore_text(text: str) -> str:
    """Take off the apostrophe that `write_csv` set before what looks like a formula."""
    return text[1:] if text[:1] == "'" and _is_formula(text) else text


def caution_formulas(*names: Iterable[object]) -> tuple[str, ...]:
    """Say which names of slides, patients or classes spreadsheets would run, if any."""
    every = map(str, itertools.chain(*names))
    texts = list(dict.fromkeys(filter(_is_formula, every)))
    if not texts:
        return ()
    shown = ", ".join(ascii(name[:40])[1:-1] for name in texts[:3])
    return (
        f"{len(texts):,} names begin as a formula does, such as {shown}: in tables an "
        "apostrophe stands before them, so that no spreadsheet runs them.",
    )


def _defuse(text: str) -> str:
    return "'" + text if _is_formula(text) else text


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet runs a text, or would without apostrophes before it."""
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


def _iter_texts(table: Any) -> Iterator[str]:
    """Yield every text in the cells and the header of a data frame."""
    columns = [table.iloc[:, i] for i, k in enumerate(table.dtypes) if k.kind == "O"]
    every = itertools.chain(table, *(column.tolist() for column in columns))
    return (text for text in every if isinstance(text, str))


def _change_texts(table: Any, change: Any) -> Any:
    """Change texts in cells and header; the table itself where there is none."""
    changed = table
    for place, kind in enumerate(table.dtypes):
        if kind.kind != "O":
            continue
        column = table.iloc[:, place]
        values = column.tolist()
        cells = [change(v) if isinstance(v, str) else v for v in values]
        if any(new is not old for new, old in zip(cells, values, strict=True)):
            changed = table.copy(deep=False) if changed is table else changed
            changed.isetitem(place, _like(column, cells))
    names: Sequence[Any] = [change(n) if isinstance(n, str) else n for n in table]
    return changed if names == list(table) else changed.set_axis(names, axis=1)


def _like(column: Any, cells: Sequence[Any]) -> Any:
    """Make a column of these cells, with the texts of the same type as before."""
    import pandas as pd  # noqa: PLC0415  as above

    kind = None if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
    return pd.Series(cells, index=column.index, dtype=kind)
