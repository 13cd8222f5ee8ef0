"""From a trained run to a page of what its model looks at, and where it errs."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eosin.core import (
    ConfigError,
    Progress,
    RunRecord,
    SlideFailure,
    atomic_path,
    fingerprint_file,
    open_run,
)
from eosin.evaluation import LabelErrors, MapMethod, find_label_errors
from eosin.reports import write_interpretation
from eosin.workflows.class_maps import ClassMapper, write_class_maps
from eosin.workflows.exploration_galleries import choose_mark
from eosin.workflows.feature_space import FeatureSpaceMaker, SpaceOptions
from eosin.workflows.held_out_tiles import HeldOutTiles, open_held_out_tiles
from eosin.workflows.interpretation import CamMethod, ClassMap, Interpretation, Rows
from eosin.workflows.interpretation_page import build_page, list_space_tiles
from eosin.workflows.tile_scan import require_other_folder

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


@dataclass(frozen=True, kw_only=True)
class InterpretConfig:
    """How a model is looked into.

    Attributes:
        evaluation: A folder of `eosin evaluate`; None takes `evaluation` in the run
            folder.
        method: How maps are made: `gradcam` or `gradcam++`.
        layer: Name of the layer that is mapped; None takes the last one that is fine
            enough to say where.
        shown: Tiles of a kind and class in a gallery at most.
        per_slide: Tiles of one slide among these at most; 0 for any number.
        features: A folder of `eosin embed`, or a NumPy file of one row for each row of
            `tiles.parquet`; None takes the run's own encoder.
        clusters: How many; None chooses by the silhouette.
        most_clusters: The largest number that is tried, 2 or more.
        map: How the feature space is laid out: `tsne`, or `umap`, which needs
            umap-learn.
        sample: Held-out tiles in the feature space at most, drawn at random; 0 for
            all.
        mark_px: Side of the central square that decides the label, in a tile's own
            pixels; 0 marks none, None marks 32 in PatchCamelyon's patches.
        seed: Of everything random.
    """

    evaluation: str | None = None
    method: CamMethod = "gradcam"
    layer: str | None = None
    shown: int = 12
    per_slide: int = 3
    features: str | None = None
    clusters: int | None = None
    most_clusters: int = 10
    map: MapMethod = "tsne"
    sample: int = 5000
    mark_px: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("shown", 1),
            ("per_slide", 0),
            ("clusters", 1),
            ("most_clusters", 2),
            ("sample", 0),
            ("mark_px", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} must be {least} or more, got {value}")


@dataclass(frozen=True)
class InterpretResult:
    """What `interpret_run` found.

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

    folder: Path
    n_tiles: int
    n_maps: int
    n_clusters: int
    n_suspects: int
    headline: tuple[str, ...]
    cautions: tuple[str, ...]
    failures: tuple[SlideFailure, ...]


def interpret_run(
    run: Path,
    config: InterpretConfig,
    out: Path,
    *,
    tiles: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> InterpretResult:
    """Show what a trained model looks at, where it errs, and how it sees tiles.

    Writes `report.html`, `figures/` (each figure as PNG, its numbers as CSV), `maps/`
    (maps as PNG, as array, and a table of them), `clusters.csv`, `tiles.csv`,
    `label_errors.csv` and `run.json`. All of it is about tiles that the model was not
    trained on; without predictions of `eosin evaluate` there are clusters only.

    Args:
        run: A folder of `eosin train`.
        config: How.
        out: The folder to write to.
        tiles: Where the tiles lie now; None takes them from where they were scored.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished model, another one was scored, or it has no
            such layer.
        ManifestError: The tiles are gone, are others, or none was held out; or the
            features are not of these tiles.
        ConfigError: There are fewer tiles than clusters.
        MissingExtraError: `umap` needs umap-learn.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    held_out = open_held_out_tiles(
        run,
        tiles=tiles,
        evaluation=None if config.evaluation is None else Path(config.evaluation),
    )
    out = Path(out)
    require_other_folder(held_out.folder, out)
    inputs = dict(held_out.inputs)
    if config.features is not None and Path(config.features).is_file():
        inputs["features"] = fingerprint_file(Path(config.features))
    with open_run(
        out,
        "interpret",
        settings={
            "run": str(held_out.run.resolve()),
            "tiles": str(held_out.folder.path.resolve()),
            **asdict(config),
        },
        inputs=inputs,
        seed=config.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            _interpret(held_out, config, record, progress)
        notes = record.notes
        return InterpretResult(
            out,
            notes["n_tiles"],
            notes["n_maps"],
            notes["n_clusters"],
            notes["n_suspects"],
            tuple(notes["headline"]),
            tuple(notes["cautions"]),
            tuple(record.failures),
        )


def _interpret(
    held_out: HeldOutTiles,
    config: InterpretConfig,
    record: RunRecord,
    progress: Progress,
) -> None:
    out = record.folder
    failures: list[SlideFailure] = []
    maker = FeatureSpaceMaker(
        held_out,
        SpaceOptions(
            features=config.features,
            sample=config.sample,
            clusters=config.clusters,
            most_clusters=config.most_clusters,
            method=config.map,
            seed=config.seed,
        ),
        out / "state",
        failures,
    )
    maps = _map_classes(held_out, config, failures, progress)
    space = maker.make(progress)
    labelled = np.flatnonzero(held_out.labels >= 0)
    record.failures[:] = _unite(failures)[:_RECORDED_FAILURES]
    found = Interpretation(
        held_out=held_out,
        method=config.method,
        shown=config.shown,
        mark_px=choose_mark(held_out.folder, config.mark_px),
        maps=maps,
        space=space,
        errors=_find_errors(held_out, labelled),
        labelled=labelled,
        n_unreadable=len(_unite(failures)),
        cautions=_find_cautions(held_out, maker.cautions, _unite(failures)),
    )
    page = build_page(
        found,
        map_method=config.map,
        versions=_list_versions(),
        out=str(out),
        progress=progress,
    )
    write_class_maps(maps, held_out, out / "maps", mark_px=found.mark_px)
    _write_tables(found, out)
    write_interpretation(out, page)
    shutil.rmtree(out / "state", ignore_errors=True)
    record.notes |= {
        "n_tiles": len(held_out.rows),
        "n_maps": sum(m.strength is not None for m in maps),
        "n_clusters": 0 if space is None else space.clustering.n_clusters,
        "n_suspects": 0 if found.errors is None else len(found.errors.rows),
        "layers": sorted({m.layer for m in maps if m.layer}),
        "headline": list(page.headline),
        "cautions": list(page.cautions),
    }


def _map_classes(
    held_out: HeldOutTiles,
    config: InterpretConfig,
    failures: list[SlideFailure],
    progress: Progress,
) -> tuple[ClassMap, ...]:
    if held_out.probabilities is None:
        return ()
    mapper = ClassMapper(held_out, config.method, config.layer, failures)
    return mapper.make(
        shown=config.shown, per_slide=config.per_slide, progress=progress
    )


def _find_errors(held_out: HeldOutTiles, labelled: Rows) -> LabelErrors | None:
    if held_out.probabilities is None or not len(labelled):
        return None
    return find_label_errors(
        held_out.labels[labelled], held_out.probabilities[labelled]
    )


def _unite(failures: list[SlideFailure]) -> list[SlideFailure]:
    """Name each tile once, though several parts have tried to read it."""
    return list({failure.slide_id: failure for failure in failures}.values())


def _find_cautions(
    held_out: HeldOutTiles, made: list[str], failures: list[SlideFailure]
) -> tuple[str, ...]:
    cautions = list(made)
    if held_out.probabilities is None:
        cautions.insert(
            0,
            f"There are no held-out predictions, so no tile is mapped and no label "
            f"doubted; run 'eosin evaluate {held_out.run}' first.",
        )
    if failures:
        first = failures[0]
        cautions.append(
            f"{len(failures):,} tiles or models could not be read and were left out, "
            f"such as {first.slide_id} ({first.message})."
        )
    known = dict.fromkeys((*held_out.card.cautions, *held_out.folder.info.cautions))
    return (*cautions, *known)


def _write_tables(found: Interpretation, out: Path) -> None:
    tables: dict[str, pd.DataFrame] = {"label_errors.csv": found.list_suspects()}
    if found.space is not None:
        tables |= {
            "clusters.csv": found.space.clusters.round(6),
            "tiles.csv": list_space_tiles(found, found.space),
        }
    for name, table in tables.items():
        with atomic_path(out / name) as temporary:
            table.to_csv(temporary, index=False)


def _list_versions() -> dict[str, Any]:
    from eosin import __version__  # noqa: PLC0415 - at the top it would be a circle

    return {"eosin": __version__, "numpy": np.__version__, "pandas": pd.__version__}
