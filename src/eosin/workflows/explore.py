"""From a tile folder to a page that shows what is in it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from eosin.bags import read_tile_features
from eosin.core import (
    WATCHED,
    ManifestError,
    Progress,
    RunRecord,
    Showable,
    SlideFailure,
    fingerprint_file,
    open_run,
    write_csv,
)
from eosin.exploring.copies import (
    COPY_KINDS,
    CopyCount,
    CopyKind,
    count_copies,
    find_contents,
    find_copies,
    find_near_groups,
    plan_scan,
)
from eosin.exploring.exploration import Exploration
from eosin.exploring.scan import scan_tiles
from eosin.exploring.statistics import find_outliers, measure_isolation
from eosin.reports import make_exploration_page, write_page
from eosin.settings import ExploreSettings, require_settings
from eosin.tiles import TileFolder, open_tile_folder

_OUTPUTS = (
    "report.html",
    "figures",
    "measures.csv",
    "outliers.csv",
    "duplicates.csv",
    "run.json",
)


@dataclass(frozen=True)
class ExploreResult(Showable):
    """What `explore_tiles` found.

    Attributes:
        folder: Where it lies.
        n_tiles: Tiles in the table.
        n_measured: Tiles that were measured.
        n_outliers: Measured tiles by kind of outlier.
        copies: How many copies there are of each kind.
        headline: What matters, as sentences.
        cautions: What must be known, as sentences.
        failures: Tiles that could not be read, 100 at most.
    """

    pictures = ("figures/distributions.png",)

    folder: Path
    n_tiles: int
    n_measured: int
    n_outliers: Mapping[str, int]
    copies: tuple[CopyCount, ...]
    headline: tuple[str, ...]
    cautions: tuple[str, ...]
    failures: tuple[SlideFailure, ...] = ()


def explore_tiles(
    tiles: Path,
    out: Path,
    settings: ExploreSettings | None = None,
    *,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> ExploreResult:
    """Show what a tile folder holds, and what may be wrong with it.

    Writes `report.html`, `figures/` (each figure as PNG, its numbers as CSV),
    `measures.csv`, `outliers.csv`, `duplicates.csv` and `run.json`. The tile folder
    stays as it is.

    Args:
        tiles: A folder of `eosin tile`, `eosin import` or `eosin clean`.
        out: The folder to write to.
        settings: What is looked at.
        workers: Threads that read tiles.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ManifestError: `tiles` is no such folder, has no tiles, or none of those that
            were tried can be read; or the features are not of these tiles.
        RunError: `out` holds other work or cannot be written.
    """
    settings = require_settings(settings, ExploreSettings)
    progress = progress or Progress()
    folder = open_tile_folder(tiles)
    out = Path(out)
    folder.require_other(out)
    if folder.tiles.empty:
        raise ManifestError(f"{folder.path}: the tile table is empty")
    inputs = folder.inputs
    if settings.features is not None and Path(settings.features).is_file():
        inputs["features"] = fingerprint_file(Path(settings.features))
    with open_run(
        out,
        "explore",
        settings={"tiles": str(folder.path.resolve()), **asdict(settings)},
        inputs=inputs,
        seed=settings.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        return record.once(
            ExploreResult,
            lambda: _explore(folder, settings, record, workers, progress),
        )


def _explore(
    folder: TileFolder,
    settings: ExploreSettings,
    record: RunRecord,
    workers: int,
    progress: Progress,
) -> ExploreResult:
    table = folder.tiles
    sample = np.arange(len(table))
    if 0 < settings.sample < len(table):
        rng = np.random.default_rng(settings.seed)
        sample = np.sort(rng.choice(sample, settings.sample, replace=False))
    plan = plan_scan(folder, sample, exact=True, near=settings.near_duplicates)
    with folder.open_reader() as reader:
        scan = scan_tiles(reader.read_each, plan, workers=workers, progress=progress)
    scan.require_one(f"{folder.path}: not one of {len(scan.rows):,} tiles")
    record.failures += scan.list_failures(table, "explore")
    kinds: tuple[CopyKind, ...] = ("exact",)
    near = None
    if settings.near_duplicates:
        kinds, near = COPY_KINDS, find_near_groups(table, scan, progress)
    copies = find_copies(table, find_contents(table, scan), near)
    measures = scan.make_table(len(table))
    measured = sample[measures["intensity"].notna().to_numpy()[sample]]
    isolation = None
    if settings.features is not None:
        features = read_tile_features(
            Path(settings.features), table, measured, folder=folder
        )
        isolation = measure_isolation(features, seed=settings.seed)
    explored = Exploration(
        folder=folder,
        settings=settings,
        measured=measured,
        measures=measures,
        outliers=find_outliers(measures, settings),
        isolation=isolation,
        copies=copies,
        copy_counts=tuple(count_copies(copies, kinds)),
        n_unreadable=len(scan.errors),
    )
    page = make_exploration_page(explored, progress)
    _write_tables(explored, record.folder)
    write_page(page, record.folder)
    record.notes["n_unreadable"] = len(scan.errors)
    return ExploreResult(
        folder=record.folder,
        n_tiles=len(table),
        n_measured=len(measured),
        n_outliers={str(k): int(n) for k, n in explored.outliers.sum().items()},
        copies=explored.copy_counts,
        headline=tuple(page.headline),
        cautions=tuple(page.cautions),
    )


def _write_tables(explored: Exploration, out: Path) -> None:
    """Write what was found tile by tile."""
    columns = ["tile_id", "slide_id", "patient_id", "split", "label"]
    tiles = explored.folder.tiles[columns]
    measures = tiles.join(explored.measures).iloc[explored.measured]
    if explored.isolation is not None:
        measures["isolation"] = explored.isolation
    is_odd = explored.outliers.any(axis=1)
    write_csv(out / "measures.csv", measures)
    write_csv(out / "outliers.csv", tiles.join(explored.outliers.astype(int))[is_odd])
    write_csv(out / "duplicates.csv", explored.copies)
    write_csv(out / "figures" / "slides.csv", explored.slides)
