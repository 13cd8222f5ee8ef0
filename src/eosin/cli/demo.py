"""`eosin demo`."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options


def demo(
    out: Path = typer.Option(Path("demo"), "-o", "--out", help="Folder to write to."),
    weights: str = typer.Option(
        "none",
        help="none trains a small network from scratch; imagenet or a weights file "
        "trains MobileNetV2.",
    ),
    seed: int = options.SEED,
    workers: int = options.WORKERS,
) -> None:
    """Run the whole job on made slides: tile, train, evaluate, predict.

    Example: eosin demo -o demo/
    """
    from eosin.workflows.demo import run_demo

    result = run_demo(
        out,
        weights=weights,
        seed=seed,
        workers=workers,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    console.print("The whole job is done. The slides are made: what you see shows that")
    console.print("eosin works on this machine, not how well a model does on tissue.")
    options.print_ends(
        {
            "Report": result.report,
            "Heatmaps": result.predictions,
            "Tiles": result.overviews,
        }
    )
