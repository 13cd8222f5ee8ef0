"""`eosin train`."""

from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from eosin.cli import options


def _print_recipes(value: bool) -> None:
    if value:
        from eosin.workflows.recipes import RECIPES

        console = Console(highlight=False)
        for recipe in RECIPES.values():
            console.print(f"{recipe.name}\n  {recipe.summary}", markup=False)
            settings: dict[str, Any] = {
                "encoder": " or ".join(recipe.encoders),
                **recipe.settings,
            }
            text = ", ".join(f"{name} = {value}" for name, value in settings.items())
            console.print(f"  {text}", markup=False)
        raise typer.Exit


def train(
    tiles: Path = typer.Argument(help="Folder that 'eosin tile' wrote."),
    out: Path = options.OUT,
    recipe: str | None = typer.Option(
        None,
        help="Named settings to begin from: xception-baseline, mobilenetv2-baseline, "
        "densenet-onecycle or best.",
    ),
    encoder: str | None = typer.Option(None, help="Encoder. \\[densenet121]"),
    weights: str | None = typer.Option(
        None, help="imagenet, none, or a weights file. \\[imagenet]"
    ),
    fine_tune: str | None = typer.Option(
        None, help="none, last (the last block), all, or progressive. \\[none]"
    ),
    folds: int | None = typer.Option(
        None, help="Folds of a cross-validation. \\[one split]"
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    seed: int | None = options.CONFIG_SEED,
    overwrite: bool = options.OVERWRITE,
    list_recipes: bool = typer.Option(
        False,
        "--list-recipes",
        callback=_print_recipes,
        is_eager=True,
        help="Print the recipes and their settings.",
    ),
) -> None:
    """Train a tile classifier, split by patient, and choose its thresholds.

    Example: eosin train tiles/ -o run/ --encoder densenet121 --weights imagenet
    Example: eosin train tiles/ -o run/ --recipe best --folds 5
    """
    from eosin.workflows.train_tiles import TrainConfig, train_classifier

    del list_recipes
    console = Console(highlight=False)
    result = train_classifier(
        tiles,
        options.load_training(
            TrainConfig,
            config,
            settings,
            recipe=recipe,
            encoder=encoder,
            weights=weights,
            fine_tune=fine_tune,
            folds=folds,
            seed=seed,
        ),
        out,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    options.print_remarks("Caution", result.card.cautions)
    aucs = ", ".join(
        "undefined (a class is absent)" if auc is None else f"{auc:.3f}"
        for auc in result.validation_aucs
    )
    console.print(f"Tile ROC AUC on validation patients: {aucs}")
    options.print_ends(
        {
            "Model": out / "model.onnx" if len(result.card.models) == 1 else out,
            "Curves": out / "history.png",
            "Next": f"eosin evaluate {out}",
        }
    )
