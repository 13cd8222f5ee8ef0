"""Options and endings that commands share."""

import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from eosin.cli.progress import TerminalProgress
from eosin.core import SlideFailure

if TYPE_CHECKING:
    import pandas as pd

    from eosin.workflows.train_tiles import TrainConfig

Config = TypeVar("Config", bound="TrainConfig")

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
        elif spread and spread[-1] != current and _is_value(current, word):
            spread.append(current)
        spread.append(word)
    return spread


def _is_value(option: str, word: str) -> bool:
    """Whether a word is one more value of an option, well formed or not."""
    if option == "--classes" and ":" in word and "://" not in word:
        return not Path(word).exists()
    return bool(option) and "=" in word


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


def load_training(
    kind: type[Config], config: Path | None, settings: list[str] | None, **given: Any
) -> Config:
    """Load settings of a training, and say what its recipe cannot have.

    Args:
        kind: `TrainConfig`, or a dataclass that adds fields to it.
        config: What `--config` names.
        settings: What `--set` says.
        **given: The command's other options; those that are None were not given.
    """
    from eosin.workflows.recipes import load_train_config

    chosen, remarks = load_train_config(
        kind, path=config, overrides=settings or (), given=given
    )
    print_remarks("Note", remarks)
    return chosen


def print_ends(ends: Mapping[str, object]) -> None:
    """Print where results are and what comes next, one to a line that stays whole.

    Args:
        ends: Path or command by its word, such as `Report` and `Next`.
    """
    width = max(map(len, ends))
    console = Console(highlight=False)
    for word, end in ends.items():
        console.print(f"{word:{width}} {end}", markup=False, soft_wrap=True)


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
