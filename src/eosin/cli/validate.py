"""`eosin validate`."""

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from eosin.cli import options

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def validate(
    slides: list[Path] = typer.Argument(
        help="Slides, folders of slides, or slide tables (CSV)."
    ),
    out: Path | None = typer.Option(None, "-o", "--out", help="CSV file to write."),
    slide_mpp: float | None = typer.Option(
        None, help="Micrometres per pixel of slides that do not say it."
    ),
    seed: int = options.SEED,
) -> None:
    """Open slides, read a little everywhere, and say what is wrong with them.

    Example: eosin validate slides/ -o slides-checked.csv
    """
    from eosin.core import atomic_path
    from eosin.workflows.validate import tabulate_checks, validate_slides

    checks = validate_slides(
        slides, slide_mpp=slide_mpp, seed=seed, progress=options.make_progress()
    )
    console = Console(highlight=False)
    table = Table("slide", "status", "size", "levels", "mpp", "vendor")
    for check in checks:
        facts = check.facts
        colour = _COLOURS[check.status]
        mpp = facts.get("mpp")
        table.add_row(
            check.path.name,
            f"[{colour}]{check.status}[/{colour}]",
            f"{facts['width_px0']} x {facts['height_px0']}" if facts else "-",
            str(facts.get("levels", "-")),
            "-" if mpp is None else f"{mpp:.4g} ({facts['mpp_source']})",
            facts.get("vendor", "-"),
        )
    console.print(table)
    for check in checks:
        for problem in check.problems:
            named = (
                problem
                if problem.startswith(check.path.name)
                else (f"{check.path.name}: {problem}")
            )
            console.print(f"{check.status}: {named}", markup=False, soft_wrap=True)
    if out is not None:
        with atomic_path(out) as temporary:
            tabulate_checks(checks).to_csv(temporary, index=False)
        console.print(f"Table {out}")
    n_bad = sum(check.status == "error" for check in checks)
    if n_bad:
        console.print(f"{n_bad} of {len(checks)} slides cannot be used")
        raise typer.Exit(1)
