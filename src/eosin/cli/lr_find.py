"""`eosin lr-find`."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options


def lr_find(
    tiles: Path = typer.Argument(help="Folder that 'eosin tile' wrote."),
    out: Path = options.OUT,
    recipe: str | None = typer.Option(
        None, help="Named settings to begin from, as of 'eosin train'."
    ),
    encoder: str | None = typer.Option(None, help="Encoder. \\[densenet121]"),
    weights: str | None = typer.Option(
        None, help="imagenet, none, or a weights file. \\[imagenet]"
    ),
    fine_tune: str | None = typer.Option(
        None,
        help="none (the head alone), or last, all, progressive: fine-tuning is tested "
        "as well. \\[none]",
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    seed: int | None = options.CONFIG_SEED,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Find which learning rates a training takes, by a range test.

    Example: eosin lr-find tiles/ -o rates/ --encoder densenet121 --fine-tune last
    """
    from eosin.workflows.find_lr import (
        RULE,
        SOURCE,
        FindLRConfig,
        find_learning_rates,
    )

    console = Console(highlight=False)
    result = find_learning_rates(
        tiles,
        options.load_training(
            FindLRConfig,
            config,
            settings,
            recipe=recipe,
            encoder=encoder,
            weights=weights,
            fine_tune=fine_tune,
            seed=seed,
        ),
        out,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    for name, rate in result.suggested.items():
        text = (
            "nothing can be suggested: the loss did not fall beyond its noise"
            if rate is None
            else f"{rate:.1e}"
        )
        console.print(f"{name}: {text}")
    options.print_ends(
        {
            "Rule": f"{RULE} ({SOURCE})",
            "Curve": out / "curve.png",
            "Next": f"eosin train {tiles} -o run/ --config {out / 'suggested.toml'}, "
            "with the options given here",
        }
    )
