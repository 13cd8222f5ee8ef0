"""`eosin train`."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options


def train(
    tiles: Path = typer.Argument(help="Folder that 'eosin tile' wrote."),
    out: Path = options.OUT,
    encoder: str | None = typer.Option(None, help="Encoder. [densenet121]"),
    weights: str | None = typer.Option(
        None, help="imagenet, none, or a weights file. [imagenet]"
    ),
    fine_tune: str | None = typer.Option(
        None, help="none, last (the last block) or all. [none]"
    ),
    folds: int | None = typer.Option(
        None, help="Folds of a cross-validation. [one split]"
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    seed: int | None = options.CONFIG_SEED,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Train a tile classifier, split by patient, and choose its thresholds.

    Example: eosin train tiles/ -o run/ --encoder densenet121 --weights imagenet
    """
    from eosin.core import load_config
    from eosin.workflows.train_tiles import TrainConfig, train_classifier

    given = {
        "encoder": encoder,
        "weights": weights,
        "fine_tune": fine_tune,
        "folds": folds,
        "seed": seed,
    }
    result = train_classifier(
        tiles,
        load_config(TrainConfig, path=config, overrides=settings or (), given=given),
        out,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    for caution in result.card.cautions:
        console.print(f"Caution: {caution}", markup=False)
    aucs = ", ".join(
        "undefined (a class is absent)" if auc is None else f"{auc:.3f}"
        for auc in result.validation_aucs
    )
    console.print(f"Tile ROC AUC on validation patients: {aucs}")
    console.print(
        f"Model  {out / 'model.onnx' if len(result.card.models) == 1 else out}"
    )
    console.print(f"Curves {out / 'history.png'}")
    console.print(f"Next   eosin evaluate {out}")
