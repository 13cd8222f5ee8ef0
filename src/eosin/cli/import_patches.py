"""`eosin import`."""

from pathlib import Path
from typing import Literal

import typer
from rich.console import Console

from eosin.cli import options


def import_patches(
    layout: Literal["kaggle", "pcam", "folder"] = typer.Argument(
        help="kaggle: files and train_labels.csv; pcam: .h5 files; folder: folders "
        "called like classes."
    ),
    source: Path = typer.Argument(help="The data set's folder."),
    out: Path = options.OUT,
    mpp: float | None = typer.Option(
        None, help="Micrometres per pixel of the patches. \\[kaggle, pcam: 0.97]"
    ),
    group_regex: str | None = typer.Option(
        None,
        help="Finds patient or slide in a file's path (folder), as '(case\\d+)' or "
        "'(?P<patient>p\\d+)_(?P<slide>s\\d+)'.",
    ),
    slide_map: Path | None = typer.Option(
        None,
        help="CSV with each patch's slide, id,wsi (kaggle). \\[patch_id_wsi_full.csv]",
    ),
    allow_missing: bool = typer.Option(
        False,
        "--allow-missing",
        help="Go on without missing files, labels and images.",
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    seed: int | None = options.CONFIG_SEED,
    workers: int = options.WORKERS,
    overwrite: bool = options.OVERWRITE,
) -> None:
    r"""Put a patch data set behind a tile table; its pixels stay where they are.

    Example: eosin import kaggle histopathologic-cancer-detection/ -o tiles/
    Example: eosin import folder oral/ -o tiles/ --group-regex '(patient\d+)'
    """
    from eosin.core import load_config
    from eosin.workflows.import_patches import ImportConfig
    from eosin.workflows.import_patches import import_patches as run_import

    given = {
        "layout": layout,
        "mpp": mpp,
        "group_regex": group_regex,
        "slide_map": None if slide_map is None else str(slide_map),
        "allow_missing": allow_missing or None,
        "seed": seed,
    }
    result = run_import(
        source,
        load_config(ImportConfig, path=config, overrides=settings or (), given=given),
        out,
        workers=workers,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    counts = ", ".join(f"{n:,} {name}" for name, n in result.label_counts.items())
    mpp_text = "of unknown mpp" if result.mpp is None else f"at {result.mpp:.4g} mpp"
    console.print(
        f"{result.n_tiles:,} patches of {result.tile_px} px {mpp_text} in "
        f"{result.n_groups:,} groups: {counts}",
        markup=False,
    )
    options.print_remarks("Note", result.warnings)
    options.print_remarks("Caution", result.cautions)
    options.print_ends(
        {
            "Tiles": result.folder / "tiles.parquet",
            "Next": f"eosin train {result.folder} -o run/",
        }
    )
    if result.failures:
        first = result.failures[0]
        console.print(
            f"Patches that cannot be read, such as {first.slide_id}, make the exit "
            "code 1; --allow-missing lets them pass",
            markup=False,
        )
        raise typer.Exit(1)
