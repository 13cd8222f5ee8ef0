"""`eosin mil ...`: multiple-instance learning, one sub-command per step."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options
from eosin.cli.evaluate import print_evaluation
from eosin.cli.mil_limit import limit
from eosin.cli.mil_predict import predict
from eosin.cli.mil_train import train

mil = typer.Typer(
    name="mil",
    help="Multiple-instance learning: models from labels of slides or patients.",
    no_args_is_help=True,
)
mil.command()(limit)
mil.command()(predict)
mil.command()(train)


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


@mil.command()
def evaluate(
    run: Path = typer.Argument(help="Folder that 'eosin mil train' wrote."),
    on: Path | None = typer.Option(
        None, "--on", help="Features of an external cohort, none of it seen."
    ),
    cohort: Path | None = typer.Option(
        None, "--cohort", help="Slide table (CSV) of that cohort, with labels."
    ),
    out: Path | None = typer.Option(
        None, "-o", "--out", help="Folder to write to. [RUN/evaluation]"
    ),
    resamples: int = typer.Option(1000, help="Resamples of patients for intervals."),
    seed: int = options.SEED,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Score a MIL model on patients it never saw, with intervals and a report.

    Example: eosin mil evaluate run/
    Example: eosin mil evaluate run/ --on features/ --cohort slides.csv -o external/
    """
    from eosin.workflows.evaluate_mil import evaluate_mil_run

    result = evaluate_mil_run(
        run,
        on=on,
        cohort=cohort,
        out=out,
        n_bootstrap=resamples,
        seed=seed,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    new = "new_slides.csv" if result.is_of_bags else "new_features/"
    print_evaluation(result, f"eosin mil predict {run} {new} -o out/")
