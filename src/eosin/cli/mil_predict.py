"""`eosin mil predict`: calls and attention of new slides, or of drawn bags."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from eosin.cli import options

if TYPE_CHECKING:
    from eosin.workflows.mil_run import MILRun


def predict(
    run: Path = typer.Argument(help="Folder that 'eosin mil train' wrote."),
    sources: list[str] = typer.Argument(
        help="Folder of feature files of new slides. Of a run from pixels: slides, "
        "folders of slides, slide tables; with --bags the tile folder."
    ),
    out: Path = options.OUT,
    slides: Path | None = typer.Option(
        None,
        "--slides",
        help="With features: slide table (CSV): which slides, of whom, and where their "
        "files are. \\[every feature file, slides where they were tiled]",
    ),
    bags: Path | None = typer.Option(
        None, help="Of a run from pixels: score these bags of 'eosin bags make'."
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Score new slides by all folds: calls, attention for QuPath, a gallery.

    Example: eosin mil predict run/ new_features/ -o out/ --slides new_slides.csv
    Example: eosin mil predict pixel_run/ new_slides.csv -o out/
    Example: eosin mil predict pixel_run/ tiles/ --bags bags/ -o out/
    """
    from eosin.core import load_config
    from eosin.workflows.mil_prediction_config import MILPredictConfig
    from eosin.workflows.mil_run import open_mil_run
    from eosin.workflows.predict_mil import predict_mil
    from eosin.workflows.predict_mil_bags import predict_mil_bags
    from eosin.workflows.predict_mil_pixels import predict_mil_slides

    own = load_config(MILPredictConfig, path=config, overrides=settings or ())
    how: dict[str, Any] = {
        "overwrite": overwrite,
        "progress": options.make_progress(),
    }
    found = open_mil_run(run)
    takes_pixels = found.takes_pixels
    if slides is not None and takes_pixels:
        raise typer.BadParameter(
            "--slides goes with features; of a run from pixels the slide table stands "
            "in their place"
        )
    if len(sources) > 1 and (bags is not None or not takes_pixels):
        raise typer.BadParameter("one folder is needed here, of features or of tiles")
    if bags is not None:
        drawn = predict_mil_bags(run, Path(sources[0]), bags, own, out, **how)
        counts = drawn.bags["label"].value_counts()
        words = ", ".join(f"{n:,} {name}" for name, n in counts.items())
        Console(highlight=False).print(f"Bags called: {words or 'none'}")
        _say(found, "bag", drawn.cautions, out)
        options.stop_on_failures(drawn.failures)
        return
    if takes_pixels:
        result = predict_mil_slides(run, sources, own, out, **how)
    else:
        result = predict_mil(run, Path(sources[0]), own, out, slides=slides, **how)
    columns = [str(name) for name in result.slides]
    shown = [name for name in columns if name.startswith("probability_")]
    shown = ["slide_id", "status", "label", *shown]
    Console(highlight=False).print(options.make_table(result.slides, shown))
    _say(found, found.per, result.cautions, out)
    options.stop_on_failures(result.failures)


def _say(run: "MILRun", noun: str, cautions: Sequence[str], out: Path) -> None:
    """Print when what is called so, what must be known, and where the rest is."""
    from eosin.evaluation import describe_call

    rule = describe_call(run.class_names, run.threshold, noun=noun)
    Console(highlight=False).print(rule, markup=False)
    options.print_remarks("Caution", cautions)
    options.print_ends(
        {
            "Attention": out / "attention.html",
            "Next": "drag the files .geojson onto their slides in QuPath",
        }
    )
