"""`eosin predict`."""

from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from eosin.cli import options


def predict(
    run: Path = typer.Argument(help="Folder that 'eosin train' wrote."),
    slides: list[str] = typer.Argument(
        help="Slides, folders of slides, slide tables, packs or URLs; or patches: a "
        "folder that 'eosin import' wrote, or images no larger than the model's tiles."
    ),
    out: Path = options.OUT,
    slide_mpp: float | None = typer.Option(
        None, help="Micrometres per pixel of slides that do not say it."
    ),
    submission: Path | None = typer.Option(
        None, help="Of patches: write Kaggle's CSV, id,label with the probability."
    ),
    sample: Path | None = typer.Option(
        None,
        help="CSV with the ids it must have. "
        "\\[sample_submission.csv, the test folder]",
    ),
    patches: bool = typer.Option(
        False, "--patches", help="Take images for patches, whatever their size."
    ),
    device: str | None = typer.Option(None, help="auto, cpu or cuda. \\[auto]"),
    views: int | None = typer.Option(
        None, help="Turns and flips averaged per tile: 1, 2, 4, 8. \\[the model's]"
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    workers: int = options.WORKERS,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Score new slides: heatmaps, overlays, QuPath annotations; or new patches.

    Example: eosin predict run/ new_slides/*.svs -o out/
    Example: eosin predict run/ tiles/ -o out/ --views 8 --submission submission.csv
    """
    from eosin.inference import read_card
    from eosin.workflows.patch_listing import means_patches
    from eosin.workflows.submission import Submission

    given = {"slide_mpp": slide_mpp, "device": device, "views": views}
    shared: dict[str, Any] = {
        "path": config,
        "overrides": settings or (),
        "given": given,
    }
    work: dict[str, Any] = {
        "workers": workers,
        "overwrite": overwrite,
        "progress": options.make_progress(),
    }
    if sample is not None and submission is None:
        raise typer.BadParameter("--sample is for --submission; give both, or neither")
    are_patches = patches or submission is not None
    if are_patches or means_patches(slides, read_card(run).tile_px):
        if submission is not None:
            work["submission"] = Submission(submission, sample)
        _predict_patches(run, slides, out, shared, work)
    else:
        _predict_slides(run, slides, out, shared, work)


def _predict_slides(
    run: Path,
    slides: list[str],
    out: Path,
    settings: dict[str, Any],
    work: dict[str, Any],
) -> None:
    from eosin.core import load_config
    from eosin.evaluation import describe_call
    from eosin.inference import read_card
    from eosin.workflows.predict import PredictConfig, predict_slides

    config = load_config(PredictConfig, **settings)
    result = predict_slides(run, slides, config, out, **work)
    console = Console(highlight=False)
    console.print(
        options.make_table(
            result.slides,
            ("slide_id", "score", "label", "tumour_mm2", "tiles", "seconds"),
        )
    )
    card = read_card(run)
    rule = describe_call(card.class_names, card.slide_threshold, quantity="score")
    outlined = card.tile_threshold if config.threshold is None else config.threshold
    if outlined is not None:
        rule += f" Areas are outlined from a tile's probability of {outlined:.3f}."
    console.print(rule, markup=False)
    options.print_remarks("Caution", result.cautions)
    options.print_ends(
        {
            "Table": out / "slides.csv",
            "Files": f"{out}: overlays, heatmaps, and .geojson to drag onto the slides "
            "in QuPath",
        }
    )
    options.stop_on_failures(result.failures)


def _predict_patches(
    run: Path,
    patches: list[str],
    out: Path,
    settings: dict[str, Any],
    work: dict[str, Any],
) -> None:
    from eosin.core import load_config
    from eosin.evaluation import describe_call
    from eosin.inference import read_card
    from eosin.workflows.predict_patches import PatchPredictConfig, predict_patches

    result = predict_patches(
        run, patches, load_config(PatchPredictConfig, **settings), out, **work
    )
    console = Console(highlight=False)
    counts = ", ".join(f"{n:,} {name}" for name, n in result.called.items())
    console.print(f"{result.n_patches - result.n_failed:,} patches called: {counts}")
    card = read_card(run)
    rule = describe_call(card.class_names, card.tile_threshold, noun="patch")
    console.print(rule, markup=False)
    options.print_remarks("Note", result.notes)
    console.print(f"Probabilities {out / 'predictions.csv'}", soft_wrap=True)
    if result.submission is not None:
        console.print(
            f"Submission {result.submission}, its ids checked against "
            f"{result.checked_against}",
            soft_wrap=True,
        )
    if result.n_failed:
        console.print(
            f"{result.n_failed:,} patches cannot be read, such as "
            f"{result.failures[0].slide_id}: see failures.csv",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(1)
