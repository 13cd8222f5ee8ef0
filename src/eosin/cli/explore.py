"""`eosin explore`."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options


def explore(
    tiles: Path = typer.Argument(
        help="Folder of 'eosin tile', 'eosin import' or 'eosin clean'."
    ),
    out: Path = options.OUT,
    features: Path | None = typer.Option(
        None, help="Folder of 'eosin embed': shows tiles that resemble no other."
    ),
    sample: int | None = typer.Option(
        None, help="Tiles to measure, drawn at random; 0 for all. [20000]"
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    seed: int | None = options.CONFIG_SEED,
    workers: int = options.WORKERS,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Show what tiles hold: classes, colours, batches, outliers, duplicates.

    Example: eosin explore tiles/ -o explore/
    """
    from eosin.core import load_config
    from eosin.workflows.explore import ExploreConfig, explore_tiles

    given = {
        "features": None if features is None else str(features),
        "sample": sample,
        "seed": seed,
    }
    result = explore_tiles(
        tiles,
        load_config(ExploreConfig, path=config, overrides=settings or (), given=given),
        out,
        workers=workers,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    for sentence in result.headline:
        console.print(sentence, markup=False)
    odd = ", ".join(f"{n:,} {name}" for name, n in result.n_outliers.items())
    console.print(f"Outliers of {result.n_measured:,} looked at: {odd}", markup=False)
    for count in result.copies:
        console.print(
            f"{count.kind.capitalize()} duplicates: {count.n_tiles:,} in "
            f"{count.n_groups:,} groups, {count.n_conflicting:,} with another label"
        )
    options.print_remarks("Caution", result.cautions)
    options.print_ends(
        {
            "Report": result.folder / "report.html",
            "Next": f"eosin clean {tiles} -o cleaned/",
        }
    )
    if result.failures:
        first = result.failures[0]
        console.print(
            f"Tiles that cannot be read, such as {first.slide_id} ({first.message}), "
            "make the exit code 1; 'eosin clean' drops them",
            markup=False,
        )
        raise typer.Exit(1)
