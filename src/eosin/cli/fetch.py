"""`eosin fetch`."""

from pathlib import Path
from typing import Literal

import typer
from rich.console import Console

from eosin.cli import options


def fetch(
    data: Literal["pcam"] = typer.Argument(
        help="pcam: PatchCamelyon, 7.5 GiB, CC0, doi 10.5281/zenodo.2546921."
    ),
    out: Path = options.OUT,
    split: list[str] | None = typer.Option(
        None, help="train, valid or test; may be repeated. \\[all]"
    ),
    address: str | None = typer.Option(
        None, help="Another place of the files, {name} for a file's name."
    ),
) -> None:
    """Download a published data set; the same command goes on after a break.

    Example: eosin fetch pcam -o pcam/ --split valid
    """
    from eosin.workflows.fetch import FetchConfig, fetch_data

    given = {"splits": tuple(split)} if split else {}
    result = fetch_data(
        FetchConfig(data=data, address=address, **given),
        out,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    console.print(
        f"{len(result.fetched)} files fetched, {len(result.kept)} were there; all "
        "checksums are right"
    )
    console.print(f"Next eosin import pcam {out} -o tiles/", markup=False)
