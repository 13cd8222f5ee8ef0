"""Commands for patches and looking: fetch, import, explore, clean, interpret."""

from pathlib import Path
from typing import Any

import click

from eosin.cli import options, printing
from eosin.cli.options import FILE, step
from eosin.settings import (
    CleanSettings,
    ExploreSettings,
    FetchSettings,
    ImportSettings,
    InterpretSettings,
)


@click.command()
@click.argument("data", type=click.Choice(["pcam"]))
@step(
    "fetch.fetch_data",
    FetchSettings,
    "downloads",
    ["splits", "address"],
    what=(),
)
def fetch(result: Any, out: Path) -> None:
    """Download a published data set; the same command goes on after a break.

    pcam is PatchCamelyon, 7.5 GiB, CC0, doi 10.5281/zenodo.2546921.

    Example: eosin fetch pcam -o pcam/ --splits valid
    """
    printing.say(
        f"{len(result.fetched)} files fetched, {len(result.kept)} were there; all "
        "checksums are right"
    )
    printing.print_ends({"Next": f"eosin import pcam {out} -o tiles/"})


@click.command("import")
@click.argument("layout", type=click.Choice(["kaggle", "pcam", "folder"]))
@click.argument("source", type=FILE)
@step(
    "import_patches.import_patches",
    ImportSettings,
    "imports",
    ["mpp", "group_regex", "slide_map", "allow_missing"],
    what=["source"],
    more=[options.workers, options.overwrite],
)
def import_(result: Any, out: Path, _source: Path) -> None:
    """Put a patch data set behind a tile table; its pixels stay where they are.

    LAYOUT is kaggle (files and train_labels.csv), pcam (.h5 files) or folder (folders
    called like classes).

    \b
    Example: eosin import kaggle histopathologic-cancer-detection/ -o tiles/
    Example: eosin import folder oral/ -o tiles/ --group-regex '(patient\\d+)'
    """
    mpp = "of unknown mpp" if result.mpp is None else f"at {result.mpp:.4g} mpp"
    printing.say(
        f"{result.n_tiles:,} patches of {result.tile_px} px {mpp} in "
        f"{result.n_groups:,} groups: {printing.count(result.label_counts)}"
    )
    printing.print_remarks("Note", result.warnings)
    printing.print_remarks("Caution", result.cautions)
    printing.print_ends(
        {"Tiles": out / "tiles.parquet", "Next": f"eosin train {out} -o run/"}
    )
    printing.stop_on_unreadable(result.failures, "; --allow-missing lets them pass")


@click.command()
@click.argument("tiles", type=FILE)
@step(
    "explore.explore_tiles",
    ExploreSettings,
    "exploring",
    ["features", "sample"],
    more=[options.workers, options.overwrite],
)
def explore(result: Any, out: Path, tiles: Path) -> None:
    """Show what tiles hold: classes, colours, batches, outliers, duplicates.

    TILES is a folder of 'eosin tile', 'eosin import' or 'eosin clean'.

    Example: eosin explore tiles/ -o explore/
    """
    for sentence in result.headline:
        printing.say(sentence)
    odd = printing.count(result.n_outliers)
    printing.say(f"Outliers of {result.n_measured:,} looked at: {odd}")
    for copies in result.copies:
        printing.say(
            f"{copies.kind.capitalize()} duplicates: {copies.n_tiles:,} in "
            f"{copies.n_groups:,} groups, {copies.n_conflicting:,} with another label"
        )
    printing.print_remarks("Caution", result.cautions)
    printing.print_ends(
        {"Report": out / "report.html", "Next": f"eosin clean {tiles} -o cleaned/"}
    )
    printing.stop_on_unreadable(result.failures, "; 'eosin clean' drops them")


@click.command()
@click.argument("tiles", type=FILE)
@step(
    "clean.clean_tiles",
    CleanSettings,
    "cleaning",
    ["rules", "near", "keep", "drop"],
    more=[options.workers, options.overwrite],
)
def clean(result: Any, out: Path, _tiles: Path) -> None:
    """Drop the tiles that rules name, into a new folder; the old one stays.

    \b
    Example: eosin clean tiles/ -o cleaned/
    Example: eosin clean tiles/ -o cleaned/ --rules blank,conflicting,duplicates
    """
    n_dropped = result.n_before - result.n_after
    parts = printing.count(result.n_by_rule)
    printing.say(f"Dropped {n_dropped:,} of {result.n_before:,} tiles: {parts}")
    left = printing.count(result.label_counts)
    printing.say(f"Left    {result.n_after:,}: {left}")
    printing.print_remarks("Note", result.warnings)
    printing.print_ends(
        {"Log": out / "dropped.csv", "Next": f"eosin train {out} -o run/"}
    )
    printing.stop_on_unreadable(result.failures, "; the rule unreadable drops them")


@click.command()
@click.argument("run", type=FILE)
@click.argument("tiles", type=FILE, required=False)
@step(
    "interpret.interpret",
    InterpretSettings,
    "interpretation",
    ["evaluation", "method", "features", "clusters", "map"],
    what=["run"],
    needs="interpretation",
    more=[options.overwrite],
)
def interpret(result: Any, out: Path, _run: Path) -> None:
    """Show what a tile classifier looks at, where it errs, which labels it doubts.

    RUN is a tile classifier's folder that 'eosin train' wrote; TILES are its tiles, if
    they are no longer where they were scored.

    Example: eosin interpret run/ -o interpretation/
    """
    for sentence in result.headline:
        printing.say(sentence)
    printing.say(
        f"{result.n_maps} maps, {result.n_clusters} clusters, {result.n_suspects:,} "
        f"suspected label errors of {result.n_tiles:,} held-out tiles"
    )
    printing.print_remarks("Caution", result.cautions)
    printing.print_ends({"Report": out / "report.html"})
    printing.stop_on_unreadable(result.failures, "")


COMMANDS = {
    "fetch": fetch,
    "import": import_,
    "explore": explore,
    "clean": clean,
    "interpret": interpret,
}
