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
    options.print_remarks("Note", result.remarks)
    ends: dict[str, object] = {
        "Tiles": result.folder / "tiles.parquet",
        "Overviews": result.folder / "overviews",
    }
    if pack:
        packed = pack_tiles(out, progress=progress)
        size = f"{packed.n_bytes / 1e6:,.0f} MB, {packed.n_slides} slides"
        ends["Pack"] = f"{packed.path} ({size})"
        for slide_id, reason in packed.left_out.items():
            console.print(f"{slide_id} is not in the pack: {reason}", markup=False)
    # Tiles of one class teach nothing; slides' own labels may.
    is_labelled = len(set(result.label_counts) - {"unlabelled"}) > 1
    ends["Next"] = (
        f"eosin train {result.folder} -o run/"
        if is_labelled
        else f"eosin embed {result.folder} -o features/"
    )
    options.print_ends(ends)
    options.stop_on_failures(result.failures)
