"""`eosin interpret`."""

from pathlib import Path

import typer
from rich.console import Console

from eosin.cli import options


def interpret(
    run: Path = typer.Argument(help="Folder that 'eosin train' wrote."),
    tiles: Path | None = typer.Argument(
        None, help="Its tiles, if they are no longer where they were scored."
    ),
    out: Path = options.OUT,
    evaluation: Path | None = typer.Option(
        None, help="Folder of 'eosin evaluate'. [RUN/evaluation]"
    ),
    method: str | None = typer.Option(
        None, help="How maps are made: gradcam or gradcam++. \\[gradcam]"
    ),
    features: Path | None = typer.Option(
        None, help="Folder of 'eosin embed', instead of the run's own encoder."
    ),
    clusters: int | None = typer.Option(
        None, help="How many clusters. \\[chosen by the silhouette]"
    ),
    map_method: str | None = typer.Option(
        None, "--map", help="tsne, or umap (needs umap-learn). \\[tsne]"
    ),
    config: Path | None = options.CONFIG,
    settings: list[str] | None = options.SETTINGS,
    seed: int | None = options.CONFIG_SEED,
    overwrite: bool = options.OVERWRITE,
) -> None:
    """Show what a model looks at, where it errs, and which labels it doubts.

    Example: eosin interpret run/ -o interpretation/
    """
    from eosin.core import load_config
    from eosin.workflows.interpret import InterpretConfig, interpret_run

    given = {
        "evaluation": None if evaluation is None else str(evaluation),
        "method": method,
        "features": None if features is None else str(features),
        "clusters": clusters,
        "map": map_method,
        "seed": seed,
    }
    result = interpret_run(
        run,
        load_config(
            InterpretConfig, path=config, overrides=settings or (), given=given
        ),
        out,
        tiles=tiles,
        overwrite=overwrite,
        progress=options.make_progress(),
    )
    console = Console(highlight=False)
    for sentence in result.headline:
        console.print(sentence, markup=False)
    console.print(
        f"{result.n_maps} maps, {result.n_clusters} clusters, {result.n_suspects:,} "
        f"suspected label errors of {result.n_tiles:,} held-out tiles"
    )
    options.print_remarks("Caution", result.cautions)
    options.print_ends({"Report": result.folder / "report.html"})
    if result.failures:
        first = result.failures[0]
        console.print(
            f"What could not be read, such as {first.slide_id} ({first.message}), "
            "makes the exit code 1",
            markup=False,
        )
        raise typer.Exit(1)
