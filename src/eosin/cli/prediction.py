"""The command that scores what is new: predict."""

from pathlib import Path
from typing import Any

import click

from eosin.cli import options, printing
from eosin.cli.options import FILE, Given, of_settings
from eosin.core import TerminalProgress
from eosin.settings import PredictionSettings


@click.command()
@click.argument("run", type=FILE)
@click.argument("what", nargs=-1, required=True)
@options.output()
@click.option(
    "--cohort",
    type=FILE,
    help="With features: the slide table (CSV): which slides, of whom, and where their "
    "files are. [every feature file, slides where they were tiled]",
)
@click.option(
    "--bags", type=FILE, help="Score these drawn bags; WHAT is their tile folder."
)
@click.option(
    "--patches", is_flag=True, help="Take images for patches, whatever their size."
)
@click.option(
    "--submission", type=FILE, help="Of patches: write Kaggle's CSV, id,label."
)
@click.option(
    "--sample",
    type=FILE,
    help="CSV with the ids it must have. [sample_submission.csv, the test folder]",
)
@of_settings(["slide_mpp", "device", "views"], {PredictionSettings: "prediction"})
@options.workers
@options.overwrite
def predict(
    run: Path,
    what: tuple[str, ...],
    out: Path,
    patches: bool,
    submission: Path | None,
    sample: Path | None,
    given: Given,
    **chosen: Any,
) -> None:
    """Score new slides with any model: heatmaps, overlays, QuPath annotations.

    RUN is a folder that 'eosin train' wrote. WHAT are slides, folders of slides, slide
    tables, packs or URLs; of a bag model also a folder of feature files; or patches: a
    folder that 'eosin import' wrote, or images no larger than the model's tiles.

    \b
    Example: eosin predict run/ new_slides/*.svs -o out/
    Example: eosin predict run/ tiles/ -o out/ --views 8 --submission submission.csv
    Example: eosin predict run/ new_features/ -o out/ --cohort new_slides.csv
    Example: eosin predict run/ tiles/ --bags bags/ -o out/
    """
    if sample is not None and submission is None:
        raise click.UsageError("--sample is for --submission; give both, or neither")
    settings = given.load(PredictionSettings)
    from eosin.workflows.predict import predict as run_prediction

    result = run_prediction(
        run,
        what,
        out,
        settings,
        are_patches=patches or submission is not None or None,
        submission=submission,
        sample=sample,
        progress=TerminalProgress(),
        **chosen,
    )
    if result.shown:
        printing.print_frame(result.table, result.shown)
    for sentence in result.headline:
        printing.say(sentence)
    printing.print_remarks("Note", result.notes)
    printing.print_remarks("Caution", result.cautions)
    printing.print_ends(result.ends)
    printing.stop_on_failures(result.failures, result.noun)


COMMANDS = {"predict": predict}
