"""Commands for bags: embed, bags, limit."""

import shlex
from pathlib import Path
from typing import Any

import click

from eosin.cli import options, printing
from eosin.cli.options import FILE, Given, of_settings, step
from eosin.core import TerminalProgress, require_keras
from eosin.settings import BagSettings, EmbedSettings, LimitSettings


@click.command()
@click.argument("tiles", type=FILE)
@step(
    "embed.embed_tiles",
    EmbedSettings,
    "embedding",
    ["encoder", "weights", "views"],
    more=[options.overwrite],
)
def embed(result: Any, out: Path, tiles: Path) -> None:
    """Encode tiles into features, one HDF5 file per slide, for MIL and other tools.

    Example: eosin embed tiles/ -o features/ --encoder densenet121
    """
    printing.say(
        f"{result.n_slides} files of {result.dimension} features per tile "
        f"({result.n_tiles:,} tiles encoded now)"
    )
    printing.print_ends(
        {"Features": result.folder, "Next": _find_use_of_features(out, tiles)}
    )
    printing.stop_on_failures(result.failures)


def _find_use_of_features(features: Path, tiles: Path) -> str:
    """Say what comes next: a study of labelled slides, or of drawn bags."""
    from eosin.tiles import open_tile_folder

    folder = open_tile_folder(tiles)
    if folder.slide_labels is not None and not folder.has_patches:
        names = " ".join(shlex.quote(name) for name in folder.info.class_names)
        table = folder.path / "slides.csv"
        return f"eosin train {features} --cohort {table} -o run/ --classes {names}"
    if folder.tiles["label"].nunique() > 1:
        return f"eosin limit {features} {folder.path} -o limit/"
    return "give slides or tiles labels; then eosin train, see docs/train.md"


@click.command()
@click.argument("tiles", type=FILE)
@step(
    "bags.make_bags",
    BagSettings,
    "drawing",
    ["n_bags", "size", "witnesses", "folds"],
    more=[options.overwrite],
)
def bags(result: Any, out: Path, _tiles: Path) -> None:
    """Draw bags of tiles, with witnesses in the positive ones, split by patient.

    Example: eosin bags tiles/ -o bags/ --n-bags 2000 --size 40 --witnesses 20
    """
    printing.print_frame(result.counts, list(map(str, result.counts)))
    printing.print_ends(
        {"Bags": result.path, "Next": f"eosin train {out} -o run/ --from-pixels"}
    )


@click.command()
@click.argument("features", type=FILE, required=False)
@click.argument("tiles", type=FILE, required=False)
@click.option("-o", "--out", type=FILE, help="Folder to write to.")
@of_settings(
    ["bag_size", "witnesses", "bags", "aggregators", "seeds", "train_witnesses"],
    {LimitSettings: "limit studies"},
)
@click.option(
    "--plan",
    is_flag=True,
    help="Study nothing: say what so many patients can show (--patients, "
    "--prevalence).",
)
@click.option("--patients", type=int, help="With --plan: patients to be scored.")
@click.option(
    "--prevalence", type=float, help="With --plan: share of them with the finding."
)
@click.option(
    "--auc", type=float, default=0.8, show_default=True, help="With --plan: expected."
)
@click.option(
    "--plan-power",
    type=float,
    default=0.8,
    show_default=True,
    help="With --plan: chance of seeing what is there.",
)
@options.overwrite
def limit(
    features: Path | None,
    tiles: Path | None,
    out: Path | None,
    given: Given,
    plan: bool,
    patients: int | None,
    prevalence: float | None,
    auc: float,
    plan_power: float,
    overwrite: bool,
) -> None:
    """Find the smallest share of positive tiles that MIL still finds.

    FEATURES is a folder of 'eosin embed', TILES the folder that it was made from.

    \b
    Example: eosin limit features/ tiles/ -o limit/ --witnesses 20,10,5,1
    Example: eosin limit --plan --patients 160 --prevalence 0.4
    """
    if plan:
        if patients is None or prevalence is None:
            raise click.UsageError("--plan needs --patients and --prevalence")
        if features is not None or out is not None or given.options or given.overrides:
            raise click.UsageError(
                "--plan studies nothing; leave FEATURES, -o and settings out"
            )
        _plan(patients, prevalence, auc, plan_power)
        return
    if features is None or tiles is None or out is None:
        raise click.UsageError("FEATURES, TILES and -o are needed, or --plan")
    settings = given.load(LimitSettings)
    require_keras("a limit study")
    from eosin.workflows.limit import study_limit

    result = study_limit(
        features, tiles, out, settings, overwrite=overwrite, progress=TerminalProgress()
    )
    columns = ("aggregator", "training", "bags", "limit", "interval")
    printing.print_frame(result.tables.limits, columns)
    printing.say("Ceiling of the best bag score:")
    columns = ("source", "witnesses", "instance_auc", "roc_auc", "sensitivity")
    printing.print_frame(result.tables.ceilings, columns)
    printing.print_remarks("Caution", result.cautions)
    printing.print_ends({"Report": result.folder / "report.html"})


def _plan(patients: int, prevalence: float, auc: float, power: float) -> None:
    """Say what so many patients can show, before the study."""
    from eosin.evaluation import plan_auc

    plan = plan_auc(patients, prevalence, auc=auc, power=power)
    printing.say(
        f"{plan.n_positive} patients with the finding, {plan.n_negative} without."
    )
    printing.say(
        f"A ROC AUC of {auc:.2f} would have the 95 % interval {plan.low:.2f} to "
        f"{plan.high:.2f}."
    )
    for least, rival in (
        (plan.least_auc, "chance (0.50)"),
        (plan.least_better, f"a rival model of {auc:.2f} on the same patients"),
    ):
        text = "no AUC can" if least is None else f"an AUC of {least:.2f} or more can"
        printing.say(f"With a power of {power:.0%} {text} be told from {rival}.")


COMMANDS = {"embed": embed, "bags": bags, "limit": limit}
