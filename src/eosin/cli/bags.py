"""Commands for bags: embed, bags, limit."""

from pathlib import Path

import click

from eosin.cli import options, printing
from eosin.cli.options import FILE, Given, of_settings
from eosin.core import TerminalProgress
from eosin.settings import BagSettings, EmbedSettings, LimitSettings


@click.command()
@click.argument("tiles", type=FILE)
@options.out()
@of_settings("encoder", "weights", "views", kinds={EmbedSettings: "embedding"})
@options.overwrite
def embed(tiles: Path, out: Path, given: Given, overwrite: bool) -> None:
    """Encode tiles into features, one HDF5 file per slide, for MIL and other tools.

    Example: eosin embed tiles/ -o features/ --encoder densenet121
    """
    settings = given.load(EmbedSettings)
    from eosin.cli.next_steps import after_features
    from eosin.tiles import open_tile_folder
    from eosin.workflows.embed import embed_tiles

    result = embed_tiles(
        tiles, settings, out, overwrite=overwrite, progress=TerminalProgress()
    )
    printing.say(
        f"{result.n_slides} files of {result.dimension} features per tile "
        f"({result.n_tiles:,} tiles encoded now)"
    )
    printing.print_ends(
        {
            "Features": result.folder,
            "Next": after_features(out, open_tile_folder(tiles)),
        }
    )
    printing.stop_on_failures(result.failures)


@click.command()
@click.argument("tiles", type=FILE)
@options.out()
@of_settings("n_bags", "size", "witnesses", "folds", kinds={BagSettings: "drawing"})
@options.overwrite
def bags(tiles: Path, out: Path, given: Given, overwrite: bool) -> None:
    """Draw bags of tiles, with witnesses in the positive ones, split by patient.

    Example: eosin bags tiles/ -o bags/ --n-bags 2000 --size 40 --witnesses 20
    """
    settings = given.load(BagSettings)
    from eosin.workflows.bags import make_bags

    result = make_bags(tiles, settings, out, overwrite=overwrite)
    printing.print_frame(result.counts, list(map(str, result.counts)))
    printing.print_ends(
        {"Bags": result.path, "Next": f"eosin train {out} -o run/ --from-pixels"}
    )


@click.command()
@click.argument("features", type=FILE, required=False)
@click.argument("tiles", type=FILE, required=False)
@click.option("-o", "--out", type=FILE, help="Folder to write to.")
@of_settings(
    "bag_size",
    "witnesses",
    "bags",
    "aggregators",
    "seeds",
    "train_witnesses",
    kinds={LimitSettings: "limit studies"},
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
        _plan(patients, prevalence, auc, plan_power)
        return
    if features is None or tiles is None or out is None:
        raise click.UsageError("FEATURES, TILES and -o are needed, or --plan")
    settings = given.load(LimitSettings)
    from eosin.core import require_extra

    require_extra("train", modules=("keras", "torch"), purpose="a limit study")
    from eosin.workflows.limit import study_limit

    result = study_limit(
        features, tiles, settings, out, overwrite=overwrite, progress=TerminalProgress()
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

    found = plan_auc(patients, prevalence, auc=auc, power=power)
    printing.say(
        f"{found.n_positive} patients with the finding, {found.n_negative} without."
    )
    printing.say(
        f"A ROC AUC of {auc:.2f} would have the 95 % interval {found.low:.2f} to "
        f"{found.high:.2f}."
    )
    for least, rival in (
        (found.least_auc, "chance (0.50)"),
        (found.least_better, f"a rival model of {auc:.2f} on the same patients"),
    ):
        text = "no AUC can" if least is None else f"an AUC of {least:.2f} or more can"
        printing.say(f"With a power of {power:.0%} {text} be told from {rival}.")


COMMANDS = {"embed": embed, "bags": bags, "limit": limit}
