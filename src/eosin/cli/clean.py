"""`eosin clean`."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options


def clean(
    tiles: Path = typer.Argument(help="Folder of 'eosin tile' or 'eosin import'."),
    out: Path = options.OUT,
    rules: str | None = typer.Option(
        None,
        help="Any of blank, unreadable, conflicting, duplicates, black, saturated, "
        "blurred. \\[blank,unreadable,conflicting]",
    ),
    keep: Path | None = typer.Option(
        None, help="CSV with a column tile_id: these tiles stay."
    ),
    drop: Path | None = typer.Option(
        None,
        help="CSV with a column tile_id: these tiles go too. Looked through, that of "
        "'eosin interpret'.",
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    workers: int = options.WORKERS,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Drop the tiles that rules name, into a new folder; the old one stays.

    Example: eosin clean tiles/ -o cleaned/
    Example: eosin clean tiles/ -o cleaned/ --rules blank,conflicting,duplicates
    """
    from eosin.core import load_config
    from eosin.workflows.clean import clean_tiles
    from eosin.workflows.cleaning_rules import CleanConfig

    given = {
        "rules": rules,
        "keep": None if keep is None else str(keep),
        "drop": None if drop is None else str(drop),
    }
    result = clean_tiles(
        tiles,
        load_config(CleanConfig, path=config, overrides=settings or (), given=given),
        out,
        workers=workers,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    n_dropped = result.n_before - result.n_after
    parts = ", ".join(f"{n:,} {rule}" for rule, n in result.n_by_rule.items())
    console.print(f"Dropped {n_dropped:,} of {result.n_before:,} tiles: {parts}")
    counts = ", ".join(f"{n:,} {name}" for name, n in result.label_counts.items())
    console.print(f"Left    {result.n_after:,}: {counts}", markup=False)
    options.print_remarks("Note", result.warnings)
    options.print_ends(
        {
            "Log": result.folder / "dropped.csv",
            "Next": f"eosin train {result.folder} -o run/",
        }
    )
    if result.failures:
        first = result.failures[0]
        console.print(
            f"Tiles that cannot be read and stay, such as {first.slide_id} "
            f"({first.message}), make the exit code 1; the rule unreadable drops them",
            markup=False,
        )
        raise typer.Exit(1)
