"""`eosin mil train`: a MIL model from labels of slides, patients or drawn bags."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from eosin.cli import options


def train(
    features: Path = typer.Argument(
        help="Folder of feature files; with --encoder, of tiles."
    ),
    cohort: Path = typer.Argument(
        help="Slide table (CSV) with labels; with --encoder, bags of 'bags make'."
    ),
    out: Path = options.OUT,
    classes: list[str] | None = typer.Option(
        None, "--class", help="A class in the column 'label'; the negative one first."
    ),
    aggregator: str | None = typer.Option(None, help="Method. \\[gated_attention]"),
    folds: int | None = typer.Option(None, help="Folds by patient. [5]"),
    by: str | None = typer.Option(
        None, help="A bag is a slide or a patient. \\[slide]"
    ),
    seeds: int | None = typer.Option(None, help="Models per fold, averaged. [1]"),
    columns: str | None = typer.Option(
        None, help="Columns of the slide table that are told too, such as age,sex."
    ),
    choose: list[str] | None = typer.Option(
        None, help="Let each fold choose, such as aggregator=max,attention or lr=.."
    ),
    encoder: str | None = typer.Option(
        None, help="Train this encoder too, from pixels of drawn bags."
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    seed: int | None = options.CONFIG_SEED,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Train a MIL model from slide labels and score it on held-out patients.

    Example: eosin mil train features/ slides.csv -o run/ --class normal --class tumor
    """
    from eosin.core import ConfigError, load_config
    from eosin.workflows.train_mil import MILStudyConfig, train_mil_study

    given = {"aggregator": aggregator, "n_seeds": seeds, "seed": seed}
    of_features = {
        "classes": tuple(classes) if classes else None,
        "folds": folds,
        "per": by,
        "columns": columns,
        "choose": tuple(choose) if choose else None,
    }
    how: dict[str, Any] = {
        "overwrite": overwrite,
        "progress": options.make_progress(),
    }
    if encoder is None:
        chosen = load_config(
            MILStudyConfig,
            path=config,
            overrides=settings or (),
            given=given | of_features,
            defaults={"classes": ()},
        )
        result = train_mil_study(features, cohort, chosen, out, **how)
    else:
        from eosin.workflows.train_mil_pixels import PixelMILConfig, train_pixel_mil

        if wrong := [name for name, value in of_features.items() if value is not None]:
            raise ConfigError(
                f"with --encoder the bag table says what {', '.join(wrong)} would say; "
                "leave it out"
            )
        own = load_config(
            PixelMILConfig,
            path=config,
            overrides=settings or (),
            given=given | {"encoder": encoder},
        )
        result = train_pixel_mil(features, cohort, own, out, **how)
    # Drawn bags stand as slides and as patients, of which they are neither.
    levels = result.metrics if encoder is None else {"bag": result.metrics["slide"]}
    _say_metrics(levels)
    options.print_remarks("Caution", result.cautions)
    options.print_ends(
        {
            "Metrics": result.folder / "metrics.json",
            "Next": f"eosin mil evaluate {result.folder}",
        }
    )


def _say_metrics(levels: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Print each level's ROC AUC with its interval."""
    console = Console(highlight=False)
    for level, metrics in levels.items():
        auc = metrics["roc_auc"]
        if auc["value"] is None:
            continue
        console.print(f"{level:8} ROC AUC {options.format_metric(auc)}, n = {auc['n']}")
