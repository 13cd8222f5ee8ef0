"""`eosin bags ...`: bags drawn from tiles, one sub-command per step."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options

bags = typer.Typer(
    name="bags",
    help="Bags of tiles with a known number of witnesses.",
    no_args_is_help=True,
)


@bags.command()
def make(
    tiles: Path = typer.Argument(help="Folder of 'eosin tile' or 'eosin import'."),
    out: Path = options.OUT,
    n_bags: int | None = typer.Option(None, help="Bags, half of them positive. [1000]"),
    size: int | None = typer.Option(None, help="Tiles in a bag. [40]"),
    witnesses: str | None = typer.Option(
        None, help="Positive tiles in a positive bag; 20,10,5,1 in turn. [20]"
    ),
    folds: int | None = typer.Option(
        None, help="Sides by patient; 1 makes train, val and test. [1]"
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    seed: int = options.SEED,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Draw bags of tiles, with witnesses in the positive ones, split by patient.

    Example: eosin bags make tiles/ -o bags/ --n-bags 2000 --size 40 --witnesses 20
    """
    from eosin.core import load_config
    from eosin.workflows.make_bags import MakeBagsConfig, make_bags

    given = {
        "n_bags": n_bags,
        "size": size,
        "witnesses": witnesses,
        "folds": folds,
        "seed": seed,
    }
    result = make_bags(
        tiles,
        load_config(MakeBagsConfig, path=config, overrides=settings or (), given=given),
        out,
        overwrite=overwrite,
    )
    console = Console(highlight=False)
    console.print(options.make_table(result.counts, list(map(str, result.counts))))
    options.print_ends(
        {
            "Bags": result.path,
            "Next": f"eosin mil train {tiles} {out} -o run/ --encoder densenet121",
        }
    )
