"""From a tile folder to a page that shows what is in it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import (
    ConfigError,
    ManifestError,
    Progress,
    RunRecord,
    SlideFailure,
    atomic_path,
    fingerprint_file,
    hash_file,
    open_run,
)
from eosin.evaluation import (
    COPY_KINDS,
    CopyCount,
    CopyKind,
    OutlierLimits,
    count_copies,
    find_copies,
    find_outliers,
    measure_isolation,
)
from eosin.reports import write_exploration
from eosin.workflows.exploration import Exploration
from eosin.workflows.exploration_page import build_page
from eosin.workflows.tile_features import read_tile_features
from eosin.workflows.tile_folder import TileFolder, open_tile_folder
from eosin.workflows.tile_scan import (
    ScanPlan,
    TileScan,
    fill_unread,
    find_near_groups,
    read_contents,
    read_near_groups,
    require_other_folder,
    scan_tiles,
)

_OUTPUTS = (
    "report.html",
    "figures",
    "measures.csv",
    "outliers.csv",
    "duplicates.csv",
    "run.json",
)
_RECORDED_FAILURES = 100


@dataclass(frozen=True, kw_only=True)
class ExploreConfig(OutlierLimits):
    """What is looked at.

    Attributes:
        features: A folder of `eosin embed`, or a NumPy file of one row for each row of
            `tiles.parquet`, in which isolated tiles are looked for. None looks for
            none.
        sample: Tiles that are measured at most, drawn at random; 0 measures all.
            Copies are looked for among all tiles.
        shown: Tiles in a gallery at most.
        near_duplicates: Whether tiles that look alike are looked for, beside identical
            ones.
        mark_px: Side of the central square that is marked in galleries, in a tile's
            own pixels; 0 marks none, None marks 32 in PatchCamelyon's patches, whose
            label is that of their centre.
        seed: Decides who is in the sample and in the galleries.
    """

    features: str | None = None
    sample: int = 20_000
    shown: int = 24
    near_duplicates: bool = True
    mark_px: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("sample", 0), ("shown", 1), ("mark_px", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} must be {least} or more, got {value}")


@dataclass(frozen=True)
class ExploreResult:
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

    folder: Path
    n_tiles: int
    n_measured: int
    n_outliers: Mapping[str, int]
    copies: tuple[CopyCount, ...]
    headline: tuple[str, ...]
    cautions: tuple[str, ...]
    failures: tuple[SlideFailure, ...]


def explore_tiles(
    tiles: Path,
    config: ExploreConfig,
    out: Path,
    *,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExploreResult:
    """Show what a tile folder holds, and what may be wrong with it.

    Writes `report.html`, `figures/` (each figure as PNG, its numbers as CSV),
    `measures.csv`, `outliers.csv`, `duplicates.csv` and `run.json`. The tile folder
    stays as it is.

    Args:
        tiles: A folder of `eosin tile`, `eosin import` or `eosin clean`.
        config: What is looked at.
        out: The folder to write to.
        workers: Threads that read tiles.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ManifestError: `tiles` is no such folder, has no tiles, or none of those that
            were tried can be read; or the features are not of these tiles.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    folder = open_tile_folder(tiles)
    out = Path(out)
    require_other_folder(folder, out)
    if folder.tiles.empty:
        raise ManifestError(f"{folder.path}: the tile table is empty")
    inputs = {
        "tiles.parquet": folder.sha256,
        "slides.csv": hash_file(folder.path / "slides.csv"),
    }
    if config.features is not None and Path(config.features).is_file():
        inputs["features"] = fingerprint_file(Path(config.features))
    with open_run(
        out,
        "explore",
        settings={"tiles": str(folder.path.resolve()), **asdict(config)},
        inputs=inputs,
        seed=config.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            _explore(folder, config, record, workers, progress)
        notes = record.notes
        return ExploreResult(
            out,
            notes["n_tiles"],
            notes["n_measured"],
            notes["n_outliers"],
            tuple(CopyCount(**count) for count in notes["copies"]),
            tuple(notes["headline"]),
            tuple(notes["cautions"]),
            tuple(record.failures),
        )


def _explore(
    folder: TileFolder,
    config: ExploreConfig,
    record: RunRecord,
    workers: int,
    progress: Progress,
) -> None:
    record.failures.clear()
    table = folder.tiles
    sample = _draw_sample(len(table), config)
    content = read_contents(table)
    near = read_near_groups(table) if config.near_duplicates else None
    needs_looks = config.near_duplicates and near is None
    needs_all = content is None or needs_looks
    rows = np.arange(len(table)) if needs_all else sample
    plan = ScanPlan(
        rows=rows,
        is_measured=np.isin(rows, sample),
        hashes=content is None,
        looks=needs_looks,
    )
    scan = scan_tiles(folder, plan, workers=workers, progress=progress)
    _record_failures(folder, scan, record)
    if content is None:
        content = fill_unread(scan)
    if needs_looks:
        near = find_near_groups(scan, content, progress)
    kinds: tuple[CopyKind, ...] = COPY_KINDS if config.near_duplicates else ("exact",)
    copies = find_copies(table, content, near)
    measures = scan.make_table(len(table))
    outliers = find_outliers(measures, config)
    measured = sample[measures["intensity"].notna().to_numpy()[sample]]
    explored = Exploration(
        folder=folder,
        shown=config.shown,
        seed=config.seed,
        mark_px=config.mark_px,
        is_sample=len(sample) < len(table),
        measured=measured,
        measures=measures,
        outliers=outliers,
        isolation=_find_isolation(folder, config, measured),
        copies=copies,
        copy_counts=tuple(count_copies(copies, kinds)),
        n_unreadable=len(scan.errors),
        limits=config,
    )
    page = build_page(explored, versions=_list_versions(), progress=progress)
    _write_tables(explored, record.folder)
    write_exploration(record.folder, page)
    record.notes |= {
        "n_tiles": len(table),
        "n_measured": len(measured),
        "n_unreadable": len(scan.errors),
        "n_outliers": {str(k): int(n) for k, n in outliers.sum().items()},
        "copies": [asdict(count) for count in explored.copy_counts],
        "headline": list(page.headline),
        "cautions": list(page.cautions),
    }


def _draw_sample(n_tiles: int, config: ExploreConfig) -> npt.NDArray[np.int64]:
    if not 0 < config.sample < n_tiles:
        return np.arange(n_tiles)
    rng = np.random.default_rng(config.seed)
    return np.sort(rng.choice(n_tiles, config.sample, replace=False))


def _record_failures(folder: TileFolder, scan: TileScan, record: RunRecord) -> None:
    """Record the tiles that cannot be read.

    Raises:
        ManifestError: Not one can be read.
    """
    names = folder.tiles["tile_id"].astype(str).to_numpy(object)
    rows = sorted(scan.errors)
    if len(rows) == len(scan.rows):
        raise ManifestError(
            f"{folder.path}: not one of {len(rows):,} tiles can be read; the first: "
            f"{scan.errors[rows[0]]}"
        )
    record.failures += [
        SlideFailure(names[row], "explore", scan.errors[row])
        for row in rows[:_RECORDED_FAILURES]
    ]


def _find_isolation(
    folder: TileFolder, config: ExploreConfig, measured: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64] | None:
    if config.features is None:
        return None
    features = read_tile_features(Path(config.features), folder.tiles, measured)
    return measure_isolation(features, seed=config.seed)


def _write_tables(explored: Exploration, out: Path) -> None:
    """Write what was found tile by tile."""
    columns = ["tile_id", "slide_id", "patient_id", "split", "label"]
    tiles = explored.folder.tiles[columns]
    rows = explored.measured
    measures = pd.concat([tiles, explored.measures], axis=1).iloc[rows]
    if explored.isolation is not None:
        measures["isolation"] = explored.isolation
    odd = explored.outliers.any(axis=1)
    outliers = pd.concat([tiles, explored.outliers.astype(int)], axis=1)[odd]
    for name, table in (
        ("measures.csv", measures),
        ("outliers.csv", outliers),
        ("duplicates.csv", explored.copies),
        ("figures/slides.csv", explored.slides),
    ):
        with atomic_path(out / name) as temporary:
            table.to_csv(temporary, index=False)


def _list_versions() -> dict[str, Any]:
    from eosin import __version__  # noqa: PLC0415 - at the top it would be a circle

    return {"eosin": __version__, "numpy": np.__version__, "pandas": pd.__version__}
