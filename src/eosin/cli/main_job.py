"""Commands around the main job: demo, doctor, validate, tile."""

from pathlib import Path

import click

from eosin.cli import options, printing
from eosin.cli.options import FILE, Given, of_settings
from eosin.core import TerminalProgress
from eosin.settings import TilingSettings

_COLOURS = {
    "ok": "green",
    "warning": "yellow",
    "missing": "red",
    "error": "red",
}


def _colour(status: str) -> str:
    return f"[{_COLOURS[status]}]{status}[/{_COLOURS[status]}]"


@click.command()
@options.out("demo")
@click.option(
    "--weights",
    default="none",
    show_default=True,
    help="none trains a small network from scratch; imagenet or a weights file trains "
    "MobileNetV2.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all chance.")
@options.workers
def demo(out: Path, weights: str, seed: int, workers: int) -> None:
    """Run the whole job on made slides: tile, train, evaluate, predict.

    Example: eosin demo -o demo/
    """
    from eosin.workflows.demo import run_demo

    result = run_demo(
        out, weights=weights, seed=seed, workers=workers, progress=TerminalProgress()
    )
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
@click.argument("slides", nargs=-1, required=True, type=FILE)
@click.option("-o", "--out", type=FILE, help="CSV file to write.")
@click.option(
    "--slide-mpp", type=float, help="Micrometres per pixel where a slide is silent."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the places.")
def validate(
    slides: tuple[Path, ...], out: Path | None, slide_mpp: float | None, seed: int
) -> None:
    """Open slides, read a little everywhere, and say what is wrong with them.

    SLIDES are slides, folders of slides, or slide tables (CSV).

    Example: eosin validate slides/ -o slides-checked.csv
    """
    from eosin.core import atomic_path
    from eosin.workflows.validate import tabulate_checks, validate_slides

    checks = validate_slides(
        list(slides), slide_mpp=slide_mpp, seed=seed, progress=TerminalProgress()
    )
    rows = []
    for check in checks:
        facts = check.facts
        mpp = facts.get("mpp")
        rows.append(
            (
                check.path.name,
                _colour(check.status),
                f"{facts['width_px0']} x {facts['height_px0']}" if facts else "-",
                str(facts.get("levels", "-")),
                "-" if mpp is None else f"{mpp:.4g} ({facts['mpp_source']})",
                facts.get("vendor", "-"),
            )
        )
    printing.print_rows(("slide", "status", "size", "levels", "mpp", "vendor"), rows)
    for check in checks:
        name = check.path.name
        for problem in check.problems:
            named = problem if problem.startswith(name) else f"{name}: {problem}"
            printing.say(f"{check.status}: {named}")
    if out is not None:
        with atomic_path(out) as temporary:
            tabulate_checks(checks).to_csv(temporary, index=False)
        printing.say(f"Table {out}")
    n_bad = sum(check.status == "error" for check in checks)
    if n_bad:
        printing.say(f"{n_bad} of {len(checks)} slides cannot be used")
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("cohort", type=FILE)
@options.out()
@of_settings(
    "mpp", "tile_px", "overlap_px", "classes", kinds={TilingSettings: "tiling"}
)
@click.option(
    "--pack",
    is_flag=True,
    help="Copy the slides' own tiles into tiles/pack.arrow too, for slow disks or for "
    "sharing.",
)
@options.workers
@options.overwrite
def tile(
    cohort: Path, out: Path, given: Given, pack: bool, workers: int, overwrite: bool
) -> None:
    """Find tissue, cut the grid and label every tile from the annotations.

    COHORT is a slide table (CSV); only its column 'path' is required.

    Example: eosin tile slides.csv -o tiles/ --mpp 0.5 --classes tumor=Tumor,metastasis
    """
    settings = given.load(TilingSettings)
    from eosin.cli.next_steps import after_tiles
    from eosin.tiles import pack_tiles
    from eosin.workflows.tile import tile_cohort

    progress = TerminalProgress()
    result = tile_cohort(
        cohort,
        settings,
        out,
        workers=workers,
        overwrite=overwrite,
        progress=progress,
    )
    counts = printing.count(result.label_counts)
    printing.say(f"{result.n_tiles:,} tiles of {len(result.slides)} slides: {counts}")
    printing.print_remarks("Note", result.remarks)
    labelled = set(result.label_counts) - {"unlabelled"}
    ends: dict[str, object] = {
        "Tiles": result.folder / "tiles.parquet",
        "Overviews": result.folder / "overviews",
    }
    if pack:
        packed = pack_tiles(out, progress=progress)
        size = f"{packed.n_bytes / 1e6:,.0f} MB, {packed.n_slides} slides"
        ends["Pack"] = f"{packed.path} ({size})"
        for slide_id, reason in packed.left_out.items():
            printing.say(f"{slide_id} is not in the pack: {reason}")
    printing.print_ends(
        {
            **ends,
            "Next": after_tiles(result.folder, len(labelled)),
        }
    )
    printing.stop_on_failures(result.failures)


COMMANDS = {"demo": demo, "doctor": doctor, "validate": validate, "tile": tile}
