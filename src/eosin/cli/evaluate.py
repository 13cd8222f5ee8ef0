"""`eosin evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from eosin.cli import options

_SHOWN = (
    "roc_auc",
    "average_precision",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
)


def evaluate(
    run: Path = typer.Argument(help="Folder that 'eosin train' wrote."),
    on: Path | None = typer.Option(
        None, "--on", help="Another tile folder: an external cohort, none of it seen."
    ),
    out: Path | None = typer.Option(
        None, "-o", "--out", help="Folder to write to. [RUN/evaluation]"
    ),
    resamples: int = typer.Option(1000, help="Resamples of patients for intervals."),
    seed: int = options.SEED,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Score a model on patients it never saw, with intervals and a report.

    Example: eosin evaluate run/
    Example: eosin evaluate run/ --on other_tiles/ -o external/
    """
    from eosin.workflows.evaluate import evaluate_run

    result = evaluate_run(
        run,
        on=on,
        out=out,
        n_bootstrap=resamples,
        seed=seed,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    table = Table("", "rows", *(name.replace("_", " ") for name in _SHOWN))
    for level, metrics in result.metrics.items():
        cells = [_format(metrics[name]) for name in _SHOWN]
        table.add_row(level, f"{metrics['roc_auc']['n']:,}", *cells)
    for metrics in result.baseline_metrics.values():
        cells = [_format(metrics[name]) for name in _SHOWN]
        table.add_row("tile, colour only", f"{metrics['roc_auc']['n']:,}", *cells)
        break
    console.print(table)
    for caution in result.cautions:
        console.print(f"Caution: {caution}", markup=False)
    console.print(f"Report {result.folder / 'report.html'}")


def _format(metric: Mapping[str, Any]) -> str:
    value, low, high = (metric.get(key) for key in ("value", "low", "high"))
    if value is None:
        return "-"
    interval = (
        f" ({low:.3f}-{high:.3f})" if low is not None and high is not None else ""
    )
    return f"{value:.3f}{interval}"
