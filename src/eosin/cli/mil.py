"""`eosin mil ...`: multiple-instance learning, one sub-command per step."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options

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


@mil.command()
def train(
    features: Path = typer.Argument(help="Folder of feature files."),
    cohort: Path = typer.Argument(help="Slide table (CSV) with labels."),
    out: Path = options.OUT,
    classes: list[str] = typer.Option(
        ..., "--class", help="A class in the column 'label'; the negative one first."
    ),
    aggregator: str | None = typer.Option(None, help="Method. [gated_attention]"),
    folds: int | None = typer.Option(None, help="Folds by patient. [5]"),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    seed: int | None = options.CONFIG_SEED,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Train a MIL model from slide labels and score it on held-out patients.

    Example: eosin mil train features/ slides.csv -o run/ --class normal --class tumor
    """
    from eosin.core import load_config
    from eosin.workflows.train_mil import MILStudyConfig, train_mil_study

    given = {
        "classes": tuple(classes),
        "aggregator": aggregator,
        "folds": folds,
        "seed": seed,
    }
    result = train_mil_study(
        features,
        cohort,
        load_config(MILStudyConfig, path=config, overrides=settings or (), given=given),
        out,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    for level, metrics in result.metrics.items():
        auc = metrics["roc_auc"]
        if auc["value"] is None:
            continue
        interval = (
            "" if auc["low"] is None else f" ({auc['low']:.2f}-{auc['high']:.2f})"
        )
        console.print(f"{level:8} ROC AUC {auc['value']:.3f}{interval}, n = {auc['n']}")
    for caution in result.cautions:
        console.print(f"Caution: {caution}", markup=False)
    console.print(f"Metrics  {result.folder / 'metrics.json'}")
