"""CSV files as people keep them: whatever their encoding, delimiter and line ends."""

import codecs
import csv
import gzip
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eosin.core.csv_tables import restore_text
from eosin.core.errors import EosinError, raising
from eosin.core.files import require_regular

# More than any cohort or patch set has; what is larger is something else.
_MOST_ROWS = 2_000_000
_MOST_BYTES = 1 << 28

# The longer mark first: UTF-32's begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHER_FILES = {
    b"PK\x03\x04": "an Excel workbook or another archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"%PDF": "a PDF",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
}


@dataclass(frozen=True)
class CSVText:
    """What a CSV file says.

    Attributes:
        names: Of the columns, without blanks around them; each stands once. One
            without a name has that of its place, `column 3`.
        rows: The cells of each row that is not empty, as many as there are names,
            without blanks around them.
        lines: The line of the file on which each row begins; the first is 1.
        short: Lines of rows that have fewer cells; empty ones stand in for the rest.
    """

    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    short: list[int]


def read_csv_text(
    path: Path, kind: type[EosinError], *, noun: str, most: int = _MOST_ROWS
) -> CSVText:
    """Read a CSV file, also `.csv.gz`, as text.

    Commas, semicolons or tabs; UTF-8, or UTF-16 and UTF-32 with a byte-order mark.

    Args:
        path: The file.
        kind: The error to raise, which names the file and what is wrong.
        noun: What the file is, for messages, such as `slide table`.
        most: Rows that it may have.
    """
    text = _decode(path, _load(path, kind, noun), kind)
    header, _, rest = text.partition("\n")
    n_before = 0
    if header.lower().startswith("sep="):
        # What Excel writes to tell itself the delimiter.
        text, n_before = rest, 1
        header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    # A wrapper, as strings as streams take four bytes a character.
    stream = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8", newline="")
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    begin = n_before + 1
    try:
        for row in reader:
            if any(row):
                rows.append(row)
                lines.append(begin)
            begin = n_before + reader.line_num + 1
            if len(rows) > most + 1:
                raise kind(f"{path}: a {noun} has at most {most:,} rows")
    except csv.Error as error:
        raise kind(
            f"{path}: line {begin}: a field cannot be read ({error}); is a quotation "
            "mark missing?"
        ) from error
    if len(rows) < 2:
        raise kind(f"{path}: needs a header line and one row or more")
    heads = [name.strip() for name in rows.pop(0)]
    # Spreadsheets leave columns without a name.
    names = [name or f"column {number}" for number, name in enumerate(heads, 1)]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise kind(
            f"{path}: each column needs a name of its own; "
            f"{', '.join(sorted(repeated))} stands twice in the header"
        )
    return _square(path, kind, names, rows, lines[1:], delimiter)


def _square(
    path: Path,
    kind: type[EosinError],
    names: list[str],
    rows: list[list[str]],
    lines: list[int],
    delimiter: str,
) -> CSVText:
    """Give each row as many cells as there are columns."""
    n, short = len(names), []
    for place, (line, row) in enumerate(zip(lines, rows, strict=True)):
        if any(row[n:]):
            raise kind(
                f"{path}: line {line} has more fields than the header; quote texts "
                f"that hold a '{delimiter}'"
            )
        if len(row) < n:
            short.append(line)
        rows[place] = [restore_text(cell.strip()) for cell in row[:n]]
        rows[place] += [""] * (n - len(row))
    return CSVText(names, rows, lines, short)


def _load(path: Path, kind: type[EosinError], noun: str) -> bytes:
    """Read the file's bytes, unpacked."""
    try:
        require_regular(path)
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if data.startswith(b"\x1f\x8b"):
            with (
                raising(kind, f"{path}: cannot be unpacked"),
                gzip.open(path) as packed,
            ):
                data = packed.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise kind(f"{path}: no such {noun}") from error
    except (OSError, ValueError) as error:
        hint = f"; a {noun} (CSV) is needed here" if path.is_dir() else ""
        reason = getattr(error, "strerror", None) or error
        raise kind(f"{path}: cannot be read ({reason}){hint}") from error
    if len(data) > _MOST_BYTES:
        raise kind(f"{path}: a {noun} has at most {_MOST_BYTES >> 20} MiB")
    return data


def _decode(path: Path, data: bytes, kind: type[EosinError]) -> str:
    """Turn a file's bytes into text."""
    for start, what in _OTHER_FILES.items():
        if data.startswith(start):
            raise kind(f"{path}: is {what}, not a CSV; save it as 'CSV UTF-8'")
    encoding = next((e for mark, e in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise kind(
            f"{path}: must be {encoding.removesuffix('-sig').upper()} text "
            f"({error.reason} at byte {error.start}, line {line}); save it as 'CSV "
            "UTF-8'"
        ) from error
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise kind(
            f"{path}: line {line} holds a NUL character, as no text does; save it as "
            "'CSV UTF-8'"
        )
    return text


def say_lines(lines: Iterable[int], most: int = 5) -> str:
    """Write `line 3`, or `lines 3, 5, 7 and 12 more`."""
    found = sorted(lines)
    shown = ", ".join(map(str, found[:most]))
    more = f" and {len(found) - most:,} more" if len(found) > most else ""
    return f"line{'s'[: len(found) > 1]} {shown}{more}"
