"""What commands print: tables, remarks, where results are and what comes next."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from eosin.core import SlideFailure

if TYPE_CHECKING:
    import pandas as pd


def say(text: str) -> None:
    """Print one line as it is."""
    Console(highlight=False).print(text, markup=False, soft_wrap=True)


def count(numbers: Mapping[str, int]) -> str:
    """Write counts by name, such as `20 tumor, 31 normal`."""
    return ", ".join(f"{n:,} {name}" for name, n in numbers.items())


def print_frame(frame: "pd.DataFrame", columns: Sequence[str]) -> None:
    """Print some columns of a table."""
    cells = frame[list(columns)].map(_format_cell)
    print_rows(columns, cells.to_numpy().tolist())


def print_rows(header: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print rows of texts as they are; a `Text` has its colour."""
    table = Table(*(Column(Text(name)) for name in header))
    for row in rows:
        # Of a text, rich would take what stands in square brackets for its style.
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    Console(highlight=False).print(table)


def _format_cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return "-" if value is None or str(value) == "<NA>" else str(value)


def format_metric(metric: Mapping[str, Any]) -> str:
    """Write a metric of `metrics.json` with its interval, as reports do.

    One without an interval, or with one that has no width, has none; one without a
    value is a dash.
    """
    from eosin.evaluation import format_ends

    value = metric.get("value")
    if value is None:
        return "-"
    ends = format_ends(metric.get("low"), metric.get("high"))
    return f"{value:.3f} ({'-'.join(ends)})" if ends else f"{value:.3f}"


def print_remarks(word: str, texts: Iterable[str]) -> None:
    """Print sentences, each once and wrapped under its own beginning.

    Args:
        word: What they are, such as `Caution`.
        texts: The sentences. A word longer than a line, such as a path, stays whole.
    """
    console = Console(highlight=False)
    for text in dict.fromkeys(texts):
        lines = textwrap.wrap(
            f"{word}: {text}",
            console.width,
            subsequent_indent=" " * (len(word) + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
        console.print("\n".join(lines), markup=False, soft_wrap=True)


def print_ends(ends: Mapping[str, object]) -> None:
    """Print where results are and what comes next, one to a line that stays whole.

    Args:
        ends: Path or command by its word, such as `Report` and `Next`.
    """
    width = max(map(len, ends))
    console = Console(highlight=False)
    for word, end in ends.items():
        console.print(f"{word:{width}} {end}", markup=False, soft_wrap=True)


def stop_on_failures(failures: Sequence[SlideFailure], noun: str = "slides") -> None:
    """Name what was given up on; exit code 1 if there is anything."""
    if not failures:
        return
    console = Console(stderr=True)
    console.print(
        f"{noun.capitalize()} that failed: {len(failures):,}", highlight=False
    )
    for failure in failures[:20]:
        console.print(
            f"  {failure.slide_id}: {failure.message}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    raise click.exceptions.Exit(1)


def stop_on_unreadable(failures: Sequence[SlideFailure], remedy: str) -> None:
    """Name one of the tiles that cannot be read; exit code 1 if there is any."""
    if failures:
        first = failures[0]
        say(
            f"What cannot be read, such as {first.slide_id} ({first.message}), makes "
            f"the exit code 1{remedy}"
        )
        raise click.exceptions.Exit(1)
