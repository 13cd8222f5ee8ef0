"""`eosin mil ...`: multiple-instance learning, one sub-command per step."""

import typer
from rich.console import Console

mil = typer.Typer(
    name="mil",
    help="Multiple-instance learning: models from labels of slides or patients.",
    no_args_is_help=True,
)


@mil.command()
def plan(
    patients: int = typer.Option(..., help="Patients that will be scored."),
    prevalence: float = typer.Option(..., help="Share of them with the finding."),
    auc: float = typer.Option(0.8, help="ROC AUC that is expected."),
    power: float = typer.Option(0.8, help="Chance of seeing what is there."),
) -> None:
    """Say what so many patients can show, before the study.

    Example: eosin mil plan --patients 160 --prevalence 0.4
    """
    from eosin.evaluation import plan_auc

    found = plan_auc(patients, prevalence, auc=auc, power=power)
    console = Console(highlight=False)
    console.print(
        f"{found.n_positive} patients with the finding, {found.n_negative} without."
    )
    console.print(
        f"A ROC AUC of {auc:.2f} would have the 95 % interval {found.low:.2f} to "
        f"{found.high:.2f}."
    )
    for least, rival in (
        (found.least_auc, "chance (0.50)"),
        (found.least_better, f"a rival model of {auc:.2f} on the same patients"),
    ):
        text = "no AUC can" if least is None else f"an AUC of {least:.2f} or more can"
        console.print(f"With a power of {power:.0%} {text} be told from {rival}.")
