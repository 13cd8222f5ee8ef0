"""`eosin predict`."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options


def predict(
    run: Path = typer.Argument(help="Folder that 'eosin train' wrote."),
    slides: list[str] = typer.Argument(
        help="Slides, folders of slides, slide tables, packs or URLs."
    ),
    out: Path = options.OUT,
    slide_mpp: float | None = typer.Option(
        None, help="Micrometres per pixel of slides that do not say it."
    ),
    device: str | None = typer.Option(None, help="auto, cpu or cuda. [auto]"),
    views: int | None = typer.Option(
        None, help="Turns and flips averaged per tile: 1, 2, 4, 8. [the model's]"
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    workers: int = options.WORKERS,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Score new slides: heatmaps, overlays and QuPath annotations.

    Example: eosin predict run/ new_slides/*.svs -o out/
    """
    from eosin.core import load_config
    from eosin.workflows.predict import PredictConfig, predict_slides

    given = {"slide_mpp": slide_mpp, "device": device, "views": views}
    result = predict_slides(
        run,
        slides,
        load_config(PredictConfig, path=config, overrides=settings or (), given=given),
        out,
        workers=workers,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    console.print(
        options.make_table(
            result.slides,
            ("slide_id", "score", "label", "tumour_mm2", "tiles", "seconds"),
        )
    )
    console.print(f"Overlays, heatmaps and QuPath annotations: {out}")
    options.stop_on_failures(result.failures)
