"""From a trained run to a page of what its model looks at, and where it errs."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from eosin.core import (
    WATCHED,
    Progress,
    RunRecord,
    Showable,
    SlideFailure,
    fingerprint_file,
    open_run,
    write_csv,
)
from eosin.exploring.clusters import import_umap
from eosin.exploring.feature_space import make_feature_space
from eosin.exploring.held_out_tiles import HeldOutTiles, open_held_out_tiles
from eosin.exploring.interpretation import Interpretation
from eosin.exploring.label_errors import find_label_errors
from eosin.heatmaps import choose_mark
from eosin.inference import note_calls
from eosin.reports import make_interpretation_page, write_page
from eosin.settings import InterpretSettings, require_settings
from eosin.studies.class_maps import map_classes, write_class_maps

_OUTPUTS = (
    "report.html",
    "figures",
    "maps",
    "clusters.csv",
    "tiles.csv",
    "label_errors.csv",
    "state",
    "run.json",
)
_RECORDED_FAILURES = 100


@dataclass(frozen=True)
class InterpretResult(Showable):
    """What `interpret` found.

    Attributes:
        folder: Where it lies.
        n_tiles: Held-out tiles.
        n_maps: Maps that were made.
        n_clusters: Clusters; 0 where there are too few tiles.
        n_suspects: Suspected label errors.
        headline: What matters, as sentences.
        cautions: What must be known, as sentences.
        failures: Tiles and models that were given up on, 100 at most.
    """

    pictures = ("figures/right-*.png",)

    folder: Path
    n_tiles: int
    n_maps: int
    n_clusters: int
    n_suspects: int
    headline: tuple[str, ...]
    cautions: tuple[str, ...]
    failures: tuple[SlideFailure, ...] = ()


def interpret(
    run: Path,
    out: Path,
    settings: InterpretSettings | None = None,
    *,
    tiles: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> InterpretResult:
    """Show what a trained model looks at, where it errs, and how it sees tiles.

    Writes `report.html`, `figures/` (each figure as PNG, its numbers as CSV), `maps/`
    (maps as PNG, as array, and a table of them), `clusters.csv`, `tiles.csv`,
    `label_errors.csv` and `run.json`. All of it is about tiles that the model was not
    trained on; without predictions of `eosin evaluate` there are clusters only.

    Args:
        run: A folder of `eosin train`.
        out: The folder to write to.
        settings: How.
        tiles: Where the tiles lie now; None takes them from where they were scored.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished tile classifier, another one was scored, or
            it has no such layer.
        ManifestError: The tiles are gone, are others, or none was held out; or the
            features are not of these tiles.
        ConfigError: There are fewer tiles than clusters.
        MissingExtraError: `umap` needs the extra `umap`.
        RunError: `out` holds other work or cannot be written.
    """
    settings = require_settings(settings, InterpretSettings)
    if settings.map == "umap":
        # Else it would be missed after hours of encoding.
        import_umap()
    progress = progress or Progress()
    evaluation = None if settings.evaluation is None else Path(settings.evaluation)
    held_out = open_held_out_tiles(run, tiles=tiles, evaluation=evaluation)
    out = Path(out)
    held_out.folder.require_other(out)
    inputs = dict(held_out.inputs)
    if settings.features is not None and Path(settings.features).is_file():
        inputs["features"] = fingerprint_file(Path(settings.features))
    with open_run(
        out,
        "interpret",
        settings={
            "run": str(held_out.run.resolve()),
            "tiles": str(held_out.folder.path.resolve()),
            **asdict(settings),
        },
        inputs=inputs,
        seed=settings.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        return record.once(
            InterpretResult, lambda: _interpret(held_out, settings, record, progress)
        )


def _interpret(
    held_out: HeldOutTiles,
    settings: InterpretSettings,
    record: RunRecord,
    progress: Progress,
) -> InterpretResult:
    out = record.folder
    failures: list[SlideFailure] = []
    remarks: list[str] = []
    maps = map_classes(held_out, settings, failures, progress)
    errors = None
    labelled = np.flatnonzero(held_out.labels >= 0)
    if held_out.probabilities is not None and len(labelled):
        errors = find_label_errors(
            held_out.labels[labelled], held_out.probabilities[labelled]
        )
    space = make_feature_space(
        held_out,
        settings,
        out / "state",
        failures=failures,
        cautions=remarks,
        progress=progress,
    )
    # Each tile is named once, though several parts have tried to read it.
    failures = list({failure.slide_id: failure for failure in failures}.values())
    record.failures += failures[:_RECORDED_FAILURES]
    found = Interpretation(
        held_out=held_out,
        settings=settings,
        mark_px=choose_mark(held_out.folder, settings.mark_px),
        maps=maps,
        space=space,
        errors=errors,
        labelled=labelled,
        cautions=_find_cautions(held_out, remarks, failures),
    )
    page = make_interpretation_page(found, out=str(out), progress=progress)
    write_class_maps(maps, held_out, out / "maps", mark_px=found.mark_px)
    tables = {"label_errors.csv": found.list_suspects()}
    if space is not None:
        tables["clusters.csv"] = space.clusters.round(6)
        tables["tiles.csv"] = space.list_tiles(held_out)
    for name, table in tables.items():
        write_csv(out / name, table)
    write_page(page, out)
    shutil.rmtree(out / "state", ignore_errors=True)
    if settings.features is None:
        record.notes |= note_calls(held_out.folder.info.tile_px)
    record.notes["layers"] = sorted({m.layer for m in maps if m.layer})
    return InterpretResult(
        folder=out,
        n_tiles=len(held_out.rows),
        n_maps=sum(m.strength is not None for m in maps),
        n_clusters=0 if space is None else space.clustering.n_clusters,
        n_suspects=0 if errors is None else len(errors.rows),
        headline=tuple(page.headline),
        cautions=tuple(page.cautions),
    )


def _find_cautions(
    held_out: HeldOutTiles, made: list[str], failures: list[SlideFailure]
) -> tuple[str, ...]:
    cautions = list(made)
    if held_out.probabilities is None:
        bare = "There are no held-out predictions, so no tile is mapped and no label"
        cautions = [
            f"{bare} doubted; run 'eosin evaluate {held_out.run}' first.",
            *made,
        ]
    if failures:
        first = failures[0]
        cautions.append(
            f"{len(failures):,} tiles or models could not be read and were left out, "
            f"such as {first.slide_id} ({first.message})."
        )
    card, folder = held_out.card, held_out.folder
    known = dict.fromkeys((*card.cautions, *folder.info.cautions))
    return (*cautions, *card.caution_made(folder), *known)
