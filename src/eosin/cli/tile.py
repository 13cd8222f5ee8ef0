"""`eosin tile`."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options


def tile(
    cohort: Path = typer.Argument(help="Slide table (CSV); only 'path' is required."),
    out: Path = options.OUT,
    mpp: float | None = typer.Option(None, help="Micrometres per pixel. [0.5]"),
    tile_px: int | None = typer.Option(None, help="Side of a tile in pixels. [256]"),
    overlap: int | None = typer.Option(None, help="Pixels that tiles share. [0]"),
    classes: list[str] | None = typer.Option(
        None,
        "--classes",
        help="A class and its names in the annotations, as tumor=Tumor,metastasis; "
        "once per class. \\[tumor normal]",
    ),
    pack: bool = typer.Option(
        False,
        "--pack",
        help="Copy the slides' own tiles into tiles/pack.arrow too, for slow disks or "
        "for sharing.",
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    workers: int = options.WORKERS,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Find tissue, cut the grid and label every tile from the annotations.

    Example: eosin tile slides.csv -o tiles/ --mpp 0.5 --classes tumor=Tumor,metastasis
    """
    from eosin.core import load_config
    from eosin.workflows.pack_tiles import pack_tiles
    from eosin.workflows.tile import TileConfig, tile_cohort

    given = {
        "mpp": mpp,
        "tile_px": tile_px,
        "overlap_px": overlap,
        "classes": tuple(classes) if classes else None,
    }
    progress = options.make_progress()
    result = tile_cohort(
        cohort,
        load_config(TileConfig, path=config, overrides=settings or (), given=given),
        out,
        workers=workers,
        overwrite=overwrite,
        progress=progress,
    )
    console = Console(highlight=False)
    counts = ", ".join(f"{n:,} {name}" for name, n in result.label_counts.items())
    console.print(f"{result.n_tiles:,} tiles of {len(result.slides)} slides: {counts}")
    for name, n_regions in result.unknown_classes.items():
        console.print(
            f"Annotation class '{name}' ({n_regions} regions) belongs to no class; "
            "add it to --classes, or leave it out on purpose with exclude="
            f"{name}",
            markup=False,
        )
    console.print(f"Tiles     {result.folder / 'tiles.parquet'}")
    console.print(f"Overviews {result.folder / 'overviews'}")
    if pack:
        packed = pack_tiles(out, progress=progress)
        console.print(
            f"Pack      {packed.path} ({packed.n_bytes / 1e6:,.0f} MB, "
            f"{packed.n_slides} slides)"
        )
        for slide_id, reason in packed.left_out.items():
            console.print(f"{slide_id} is not in the pack: {reason}", markup=False)
    options.stop_on_failures(result.failures)
