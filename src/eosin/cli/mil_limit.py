"""`eosin mil limit`."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options


def limit(
    features: Path = typer.Argument(help="Folder of the tiles' features."),
    tiles: Path = typer.Argument(help="Folder of 'eosin tile' or 'eosin import'."),
    out: Path = options.OUT,
    bag_size: int | None = typer.Option(None, help="Tiles in a bag. [40]"),
    witnesses: str | None = typer.Option(
        None, help="Positive tiles of positive test bags. [20,10,5,1]"
    ),
    bags: str | None = typer.Option(None, help="Training bags. [500,1000,2000]"),
    aggregators: str | None = typer.Option(
        None, help="Methods. \\[gated_attention,concat40]"
    ),
    seeds: str | None = typer.Option(None, help="Seeds of the trainings. [0,1,2]"),
    train_witnesses: str | None = typer.Option(
        None, help="Witnesses in training: a number, or mixture. [20,mixture]"
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Find the smallest share of positive tiles that is still found.

    Example: eosin mil limit features/ tiles/ -o limit/ --witnesses 20,10,5,1
    """
    from eosin.core import load_config
    from eosin.workflows.mil_limit import LimitConfig, study_limit

    given = {
        "bag_size": bag_size,
        "witnesses": witnesses,
        "bags": bags,
        "aggregators": aggregators,
        "seeds": seeds,
        "train_witnesses": train_witnesses,
    }
    result = study_limit(
        features,
        tiles,
        load_config(LimitConfig, path=config, overrides=settings or (), given=given),
        out,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    columns = ("aggregator", "training", "bags", "limit", "interval")
    console.print(options.make_table(result.tables.limits, columns))
    columns = ("source", "witnesses", "instance_auc", "roc_auc", "sensitivity")
    console.print("Ceiling of the best bag score:")
    console.print(options.make_table(result.tables.ceilings, columns))
    options.print_remarks("Caution", result.cautions)
    options.print_ends({"Report": result.folder / "report.html"})
