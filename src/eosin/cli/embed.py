"""`eosin embed`."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options


def embed(
    tiles: Path = typer.Argument(help="Folder of 'eosin tile' or 'eosin import'."),
    out: Path = options.OUT,
    encoder: str | None = typer.Option(
        None,
        help="An encoder, the folder of a run of 'eosin train', or a TOML file that "
        "describes an encoder. \\[densenet121]",
    ),
    weights: str | None = typer.Option(
        None, help="imagenet, none, or a weights file. \\[those published with it]"
    ),
    views: int | None = typer.Option(
        None, help="Turns and flips that are averaged: 1, 2, 4 or 8. [1]"
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Encode tiles into features, one HDF5 file per slide.

    Example: eosin embed tiles/ -o features/ --encoder densenet121
    """
    from eosin.core import load_config
    from eosin.workflows.embed import EmbedConfig, embed_tiles

    given = {"encoder": encoder, "weights": weights, "views": views}
    result = embed_tiles(
        tiles,
        load_config(EmbedConfig, path=config, overrides=settings or (), given=given),
        out,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    Console(highlight=False).print(
        f"{result.n_slides} files of {result.dimension} features per tile in "
        f"{result.folder} ({result.n_tiles:,} tiles encoded now)"
    )
    options.stop_on_failures(result.failures)
