"""Commands that train and score: train, evaluate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from eosin.cli import options, printing
from eosin.cli.options import FILE, Given, of_settings
from eosin.core import ConfigError, TerminalProgress, plural, require_keras
from eosin.settings import (
    RECIPES,
    BagTraining,
    PixelTraining,
    RateSearch,
    Settings,
    TileTraining,
    load_with_recipe,
    say_order,
)

Kind = TypeVar("Kind", bound=TileTraining)

_KINDS: dict[type[Settings], str] = {
    TileTraining: "tile classifiers",
    BagTraining: "bag models",
    PixelTraining: "models from pixels",
    RateSearch: "range tests",
}
_SHOWN = (
    "roc_auc",
    "average_precision",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
)


def _print_recipes(context: click.Context, _option: Any, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    for recipe in RECIPES.values():
        printing.say(f"{recipe.name}\n  {recipe.summary}")
        settings = {"encoder": " or ".join(recipe.encoders), **recipe.settings}
        text = ", ".join(f"{name} = {value}" for name, value in settings.items())
        printing.say(f"  {text}")
    context.exit()


@click.command()
@click.argument("data", type=FILE)
@options.output()
@click.option(
    "--unit",
    type=click.Choice(["tile", "slide", "patient"]),
    help="What labels belong to: tiles train a classifier of tiles, slides or patients "
    "a model of bags (multiple-instance learning). [tile; with features and bags: "
    "slide]",
)
@click.option(
    "--cohort", type=FILE, help="With features: the slide table (CSV) with labels."
)
@click.option(
    "--from-pixels",
    is_flag=True,
    help="With drawn bags: train the encoder too, not a model of its features.",
)
@click.option(
    "--tiles", type=FILE, help="With drawn bags: their tiles, if these have moved."
)
@of_settings(
    [
        *("recipe", "encoder", "weights", "fine_tune", "aggregator", "folds"),
        *("classes", "columns", "choose", "n_seeds"),
    ],
    _KINDS,
)
@click.option(
    "--find-lr",
    is_flag=True,
    help="Train nothing: find which learning rates a tile classifier takes, by a range "
    "test.",
)
@click.option(
    "--list-recipes",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_recipes,
    help="Print the recipes and their settings.",
)
@options.overwrite
def train(
    data: Path,
    out: Path,
    unit: str | None,
    cohort: Path | None,
    from_pixels: bool,
    tiles: Path | None,
    given: Given,
    find_lr: bool,
    overwrite: bool,
) -> None:
    """Train a model, split by patient; what is given decides which kind.

    DATA is a folder of tiles (a tile classifier, or with --unit slide a model of bags
    from slide labels alone: multiple-instance learning, MIL, with attention), of
    feature files with their slide table, or of drawn bags.

    \b
    Example: eosin train tiles/ -o run/
    Example: eosin train tiles/ -o run/ --recipe best --folds 5
    Example: eosin train tiles/ -o run/ --unit slide
    Example: eosin train features/ --cohort slides.csv -o run/ --classes normal tumor
    Example: eosin train bags/ -o run/ --from-pixels
    Example: eosin train tiles/ -o rates/ --find-lr
    """
    how: dict[str, Any] = {"overwrite": overwrite, "progress": TerminalProgress()}
    if find_lr:
        if cohort or tiles or from_pixels or unit not in (None, "tile"):
            raise ConfigError("--find-lr is for tile classifiers, which tiles train")
        _find_learning_rates(data, out, given, how)
        return
    settings = _load(data, unit, cohort, from_pixels, given)
    require_keras("training")
    from eosin.workflows.train import train as run_training

    result = run_training(data, out, settings, cohort=cohort, tiles=tiles, **how)
    printing.print_remarks("Caution", result.warnings)
    printing.print_remarks("Classes", [say_order(result.card.class_names)])
    aucs = ", ".join(
        "undefined (a class is absent)" if auc is None else f"{auc:.3f}"
        for auc in result.validation_aucs
    )
    model = out / "model.keras"
    what = result.words[result.card.unit].capitalize()
    owners = plural(result.words["patient"])
    printing.say(f"{what} ROC AUC on validation {owners}: {aucs}")
    printing.print_ends(
        {
            "Model": model if model.exists() else out,
            "Curves": out / "history.png",
            "Next": f"eosin evaluate {out}",
        }
    )


def _load(
    data: Path, unit: str | None, cohort: Path | None, from_pixels: bool, given: Given
) -> TileTraining | BagTraining | PixelTraining:
    """Find the kind of model by what was given, and make its settings."""
    has_bags = (data / "bags.parquet").exists() or data.name == "bags.parquet"
    if from_pixels and not has_bags:
        raise ConfigError(
            f"{data}: --from-pixels is for drawn bags; draw them by 'eosin bags'"
        )
    if has_bags and unit is not None:
        raise ConfigError(
            f"{data}: drawn bags have labels of their own; leave --unit {unit} out"
        )
    if has_bags:
        return given.load(PixelTraining) if from_pixels else given.load(BagTraining)
    if cohort is not None and unit == "tile":
        raise ConfigError(
            "--unit tile is for folders of tiles; features have labels of slides or "
            "patients"
        )
    if cohort is not None or unit in ("slide", "patient"):
        return given.load(BagTraining, unit=unit)
    return _load_recipe(TileTraining, given)


def _load_recipe(kind: type[Kind], given: Given) -> Kind:
    """Make settings that may begin from a recipe, and say what it cannot have."""

    def find_obstacle(settings: Kind) -> str | None:
        # Keras takes seconds: only where a recipe names several encoders.
        from eosin.studies.encoders import find_obstacle

        return find_obstacle(settings)

    settings, remarks = load_with_recipe(
        lambda defaults: given.load(kind, defaults=defaults), find_obstacle
    )
    printing.print_remarks("Note", remarks)
    return settings


def _find_learning_rates(
    tiles: Path, out: Path, given: Given, how: Mapping[str, Any]
) -> None:
    settings = _load_recipe(RateSearch, given)
    require_keras("a range test")
    from eosin.workflows.find_lr import RULE, SOURCE, find_learning_rates

    result = find_learning_rates(tiles, out, settings, **how)
    for name, rate in result.suggested.items():
        text = "nothing can be suggested: the loss did not fall beyond its noise"
        if rate is not None:
            text = f"{rate:.1e}"
        printing.say(f"{name}: {text}")
    printing.print_ends(
        {
            "Rule": f"{RULE} ({SOURCE})",
            "Curve": out / "curve.png",
            "Next": f"eosin train {tiles} -o run/ --config {out / 'suggested.toml'}, "
            "with the options given here",
        }
    )


@click.command()
@click.argument("run", type=FILE)
@click.option("-o", "--out", type=FILE, help="Folder to write to. [RUN/evaluation]")
@click.option(
    "--on",
    type=FILE,
    help="An external cohort, none of it seen: a tile folder, or with --cohort "
    "features.",
)
@click.option(
    "--cohort", type=FILE, help="Slide table (CSV) of external features, with labels."
)
@click.option(
    "--resamples",
    "n_bootstrap",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Resamples of patients for the intervals.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the resamples."
)
@options.overwrite
def evaluate(run: Path, out: Path | None, **chosen: Any) -> None:
    """Score a model on patients it never saw, with intervals and a report.

    RUN is a folder that 'eosin train' wrote, of any kind of model.

    \b
    Example: eosin evaluate run/
    Example: eosin evaluate run/ --on other_tiles/ -o external/
    """
    from eosin.workflows.evaluate import evaluate as run_evaluation

    result = run_evaluation(run, out, **chosen, progress=TerminalProgress())
    levels = result.metrics.values()
    rows = [["scored", *(f"{level['roc_auc']['n']:,}" for level in levels)]]
    for name in _SHOWN:
        cells = [printing.format_metric(level[name]) for level in levels]
        rows.append([name.replace("_", " "), *cells])
    if result.thresholds:
        ends = [_say_threshold(result.thresholds[level]) for level in result.metrics]
        rows.append(["threshold", *ends])
    heads = [plural(result.words[level]) for level in result.metrics]
    printing.print_rows(("", *heads), rows)
    if (finest := next(iter(result.baseline), None)) is not None:
        auc = printing.format_metric(result.baseline[finest]["roc_auc"])
        noun = result.words[finest]
        printing.say(f"Colour alone, for comparison: {noun} roc auc {auc}")
    printing.print_remarks("Caution", result.cautions)
    printing.print_ends(
        {"Report": result.folder / "report.html", "Next": _find_use_of_model(run)}
    )


def _find_use_of_model(run: Path) -> str:
    """Say what comes next: what the model was trained on, and new."""
    from eosin.runs.card import Card

    card, what = Card.read(run), "new_slides/ -o out/"
    if card.training_data.get("are_patches"):
        what = "new_patches/ -o out/"
    elif card.learner == "bags" and card.sees.encoder_sha256 is None:
        what = "new_features/ --cohort new_slides.csv -o out/"
    return f"eosin predict {run} {what}"


def _say_threshold(ends: Sequence[float]) -> str:
    """Say from which probability is called, or from which ones by folds."""
    return "-".join(dict.fromkeys(f"{end:.3f}" for end in ends))


COMMANDS = {"train": train, "evaluate": evaluate}
