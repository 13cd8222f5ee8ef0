"""Options and endings that commands share."""

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from eosin.cli.progress import TerminalProgress
from eosin.core import SlideFailure

if TYPE_CHECKING:
    import pandas as pd

OUT: Any = typer.Option(..., "-o", "--out", help="Folder to write to.")
SEED: Any = typer.Option(0, "--seed", help="Seed of everything random.")
# For commands whose seed may stand in --config as well.
CONFIG_SEED: Any = typer.Option(None, "--seed", help="Seed of everything random. [0]")
OVERWRITE: Any = typer.Option(
    False, "--overwrite", help="Replace a result of other settings."
)
WORKERS: Any = typer.Option(
    min(4, os.cpu_count() or 1), "--workers", min=1, help="Slides worked on at once."
)
CONFIG: Any = typer.Option(None, "--config", help="TOML file with settings.")
SETTINGS: Any = typer.Option(
    None, "--set", help="Any other setting, as field=value; may be repeated."
)

# Options that take several values at once: --classes a=A,B b=C.
_SEVERAL = ("--classes", "--set")


def spread_values(arguments: Sequence[str]) -> list[str]:
    """Write `--classes a=A b=B` as `--classes a=A --classes b=B`."""
    spread: list[str] = []
    current = ""
    for word in arguments:
        if word.startswith("-"):
            current = word if word in _SEVERAL else ""
        elif current and "=" in word and spread[-1] != current:
            spread.append(current)
        spread.append(word)
    return spread


def make_progress() -> TerminalProgress:
    """Show progress on the error stream, so that results can be piped."""
    return TerminalProgress(Console(stderr=True))


def make_table(frame: "pd.DataFrame", columns: Sequence[str]) -> Table:
    """Lay out some columns of a table for the terminal."""
    table = Table(*columns)
    for row in frame[list(columns)].to_dict("records"):
        table.add_row(*(_format_cell(row[column]) for column in columns))
    return table


def _format_cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return "-" if value is None or str(value) == "<NA>" else str(value)


def stop_on_failures(failures: Sequence[SlideFailure]) -> None:
    """Name the slides that were given up on; exit code 1 if there are any."""
    if not failures:
        return
    console = Console(stderr=True)
    console.print(f"{len(failures)} slides failed:", highlight=False)
    for failure in failures:
        console.print(
            f"  {failure.slide_id}: {failure.message}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    raise typer.Exit(1)
