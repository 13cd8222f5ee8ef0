"""`eosin doctor`."""

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

_COLOURS = {"ok": "green", "warning": "yellow", "missing": "red"}


def doctor(
    folder: Path = typer.Argument(Path(), help="Where results would be written."),
) -> None:
    """Check the installation: versions, readers, devices, memory, disk, weights.

    Example: eosin doctor
    """
    from eosin.workflows.doctor import examine_machine

    findings = examine_machine(folder)
    table = Table("", "status", "found")
    for finding in findings:
        colour = _COLOURS[finding.status]
        table.add_row(
            finding.name, f"[{colour}]{finding.status}[/{colour}]", finding.text
        )
    Console(highlight=False).print(table)
    if any(finding.status == "missing" for finding in findings):
        raise typer.Exit(1)
