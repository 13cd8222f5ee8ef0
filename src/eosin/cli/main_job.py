"""Commands around the main job: demo, doctor, validate, tile, predict."""

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from eosin.cli import options, printing
from eosin.cli.options import FILE, Given, of_settings, step
from eosin.core import TerminalProgress
from eosin.settings import PredictionSettings, TilingSettings

_COLOURS = {"ok": "green", "warning": "yellow"}


def _colour(status: str) -> Text:
    return Text(status, _COLOURS.get(status, "red"))


@click.command()
@options.output("demo")
@click.option(
    "--weights",
    default="none",
    show_default=True,
    help="none trains a small network from scratch; imagenet or a weights file trains "
    "MobileNetV2.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all chance.")
@options.workers
def demo(out: Path, **chosen: Any) -> None:
    """Run the whole job on made slides: tile, train, evaluate, predict.

    Example: eosin demo -o demo/
    """
    from eosin.workflows.demo import run_demo

    result = run_demo(out, **chosen, progress=TerminalProgress())
    printing.say("The whole job is done. The slides are made: what you see shows that")
    printing.say("eosin works on this machine, not how well a model does on tissue.")
    printing.print_ends(
        {
            "Report": result.report,
            "Heatmaps": result.predictions,
            "Tiles": result.overviews,
        }
    )


@click.command()
@click.argument("folder", type=FILE, default=".")
def doctor(folder: Path) -> None:
    """Check the installation: versions, readers, devices, memory, disk, weights.

    FOLDER is where results would be written.

    Example: eosin doctor
    """
    from eosin.workflows.doctor import examine_machine

    findings = examine_machine(folder)
    printing.print_rows(
        ("", "status", "found"), [(f.name, _colour(f.status), f.text) for f in findings]
    )
    if any(finding.status == "missing" for finding in findings):
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("slides", nargs=-1, required=True)
@click.option("-o", "--out", type=FILE, help="CSV file to write.")
@click.option(
    "--slide-mpp", type=float, help="Micrometres per pixel where a slide is silent."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the places.")
def validate(
    slides: tuple[str, ...], out: Path | None, slide_mpp: float | None, seed: int
) -> None:
    """Open slides, read a little everywhere, and say what is wrong with them.

    SLIDES are slides, folders of slides, URLs, or slide tables (CSV).

    Example: eosin validate slides/ -o slides-checked.csv
    """
    from eosin.core import require_other_file, write_csv
    from eosin.workflows.validate import tabulate_checks, validate_slides

    if out is not None:
        require_other_file(out, slides)
    checks = validate_slides(
        slides, slide_mpp=slide_mpp, seed=seed, progress=TerminalProgress()
    )
    rows = []
    for check in checks:
        facts = check.facts
        size = "{width_px0} x {height_px0}".format_map(facts) if facts else "-"
        mpp = "{mpp:.4g} ({mpp_source})".format_map(facts) if facts.get("mpp") else "-"
        rest = (size, str(facts.get("levels", "-")), mpp, facts.get("vendor", "-"))
        rows.append((check.name, _colour(check.status), *rest))
    printing.print_rows(("slide", "status", "size", "levels", "mpp", "vendor"), rows)
    for check in checks:
        name = check.name
        for problem in check.problems:
            named = problem if problem.startswith(name) else f"{name}: {problem}"
            printing.say(f"{check.status}: {named}")
    beside = [set(str(check.facts.get("associated")).split(", ")) for check in checks]
    if n_named := sum(bool(names & {"label", "macro"}) for names in beside):
        printing.say(
            f"{n_named} of {len(checks)} slide files hold a picture of the label or of "
            "the whole glass, which may name the patient; eosin writes it nowhere"
        )
    if out is not None:
        write_csv(out, tabulate_checks(checks))
        printing.say(f"Table {out}")
    n_bad = sum(check.status == "error" for check in checks)
    if n_bad:
        printing.say(f"{n_bad} of {len(checks)} slides cannot be used")
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("cohort", type=FILE)
@step(
    "tile.tile_cohort",
    TilingSettings,
    "tiling",
    ["mpp", "tile_px", "overlap_px", "classes"],
    what=["cohort"],
    more=[
        click.option(
            "--pack",
            is_flag=True,
            help="Copy the slides' own tiles into tiles/pack.arrow too, for slow disks "
            "or for sharing.",
        ),
        options.workers,
        options.overwrite,
    ],
)
def tile(result: Any, out: Path, _cohort: Path) -> None:
    """Find tissue, cut the grid and label every tile from the annotations.

    COHORT is a slide table (CSV); only its column 'path' is required.

    Example: eosin tile slides.csv -o tiles/ --classes normal=Normal tumor=Tumor,tumour
    """
    counts = printing.count(result.label_counts)
    printing.say(f"{result.n_tiles:,} tiles of {len(result.slides)} slides: {counts}")
    printing.print_remarks("Note", result.remarks)
    printing.print_remarks("Caution", result.cautions)
    ends: dict[str, object] = {"Tiles": out / "tiles.parquet"}
    if (overviews := out / "overviews").is_dir():
        ends["Overviews"] = overviews
    if (pack := result.pack) is not None:
        size = f"{pack.n_bytes / 1e6:,.0f} MB, {pack.n_slides} slides"
        ends["Pack"] = f"{pack.path} ({size})"
        for slide_id, reason in pack.left_out.items():
            printing.say(f"{slide_id} is not in the pack: {reason}")
    # Tiles of one class teach nothing; their slides may.
    has_classes = len(set(result.label_counts) - {"unlabelled"}) > 1
    unit = "" if has_classes else " --unit slide"
    printing.print_ends({**ends, "Next": f"eosin train {out} -o run/{unit}"})
    printing.stop_on_failures(result.failures)


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


COMMANDS = {
    "demo": demo,
    "doctor": doctor,
    "validate": validate,
    "tile": tile,
    "predict": predict,
}
