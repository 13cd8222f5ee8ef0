"""`eosin embed`."""

import shlex
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
        f"{result.n_slides} files of {result.dimension} features per tile "
        f"({result.n_tiles:,} tiles encoded now)"
    )
    options.print_ends(
        {"Features": result.folder, "Next": _find_next(tiles, result.folder)}
    )
    options.stop_on_failures(result.failures)


def _find_next(tiles: Path, features: Path) -> str:
    """Say what is made of features: a study of labelled slides, or of drawn bags."""
    from eosin.workflows.tile_folder import open_tile_folder

    folder = open_tile_folder(tiles)
    if folder.slide_labels is None or folder.has_patches:
        return f"eosin mil limit {features} {tiles} -o limit/"
    classes = (f"--class {shlex.quote(name)}" for name in folder.info.class_names)
    table = tiles / "slides.csv"
    return f"eosin mil train {features} {table} -o run/ {' '.join(classes)}"
