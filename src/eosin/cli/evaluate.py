"""`eosin evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from eosin.cli import options

if TYPE_CHECKING:
    from eosin.workflows.evaluate import EvaluateResult

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
    print_evaluation(result, f"eosin predict {run} new_slides/ -o out/")


def print_evaluation(result: "EvaluateResult", next_step: str) -> None:
    """Print the main numbers, the cautions, where the report is and what is next."""
    console = Console(highlight=False)
    levels = ["slide"] if result.is_of_bags else list(result.metrics)
    nouns = ["bag"] if result.is_of_bags else levels
    table = Table("", *(f"{noun}s" for noun in nouns))
    counts = [result.metrics[level]["roc_auc"]["n"] for level in levels]
    table.add_row("scored", *(f"{n:,}" for n in counts))
    for name in _SHOWN:
        cells = [options.format_metric(result.metrics[level][name]) for level in levels]
        table.add_row(name.replace("_", " "), *cells)
    if result.thresholds:
        limits = [_say_threshold(result.thresholds[level]) for level in levels]
        table.add_row("threshold", *limits)
    console.print(table)
    finest = next(iter(result.baseline_metrics), None)
    if finest is not None:
        auc = options.format_metric(result.baseline_metrics[finest]["roc_auc"])
        finest = "bag" if result.is_of_bags else finest
        console.print(f"Colour alone, for comparison: {finest} roc auc {auc}")
    options.print_remarks("Caution", result.cautions)
    options.print_ends({"Report": result.folder / "report.html", "Next": next_step})


def _say_threshold(ends: Sequence[float]) -> str:
    """Say from which probability is called, or from which ones by folds."""
    return "-".join(dict.fromkeys(f"{end:.3f}" for end in ends))
