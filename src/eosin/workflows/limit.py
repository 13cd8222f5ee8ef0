"""How few positive tiles in a bag multiple-instance learning still finds."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from eosin.core import WATCHED, Progress, Showable, open_run, read_json, write_json
from eosin.reports import make_limit_page, write_page
from eosin.runs.origin import caution_learnt
from eosin.settings import LimitSettings, require_settings
from eosin.studies.limit_cells import (
    Cell,
    draw_test_bags,
    list_cells,
    measure_ceiling,
    run_cell,
)
from eosin.studies.limit_sides import FoldBags, StudyTiles, read_study_tiles
from eosin.studies.limit_tables import (
    TABLES,
    LimitTables,
    find_cautions,
    tabulate_study,
    write_tables,
)
from eosin.tiles import TileFolder, open_tile_folder

_CELLS = "cells"
_OUTPUTS = (
    _CELLS,
    "figures",
    "report.html",
    "run.json",
    *(f"{name}.csv" for name in TABLES),
)


@dataclass(frozen=True, eq=False)
class LimitResult(Showable):
    """What `study_limit` made.

    Attributes:
        folder: Where it lies.
        tables: Cells, their summary, the limits and the ceilings.
        sources: Patients and tiles of every side.
        cautions: What must be known before believing the numbers.
    """

    pictures = ("figures/sensitivity.png",)

    folder: Path
    tables: LimitTables
    sources: pd.DataFrame
    cautions: tuple[str, ...]


def study_limit(
    features: Path,
    tiles: Path,
    out: Path,
    settings: LimitSettings | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> LimitResult:
    """Find the smallest share of positive tiles that MIL still finds.

    In each fold, bags are drawn from tiles of disjoint sets of patients. A model is
    trained for every cell; its best epoch and its threshold are chosen on validation
    bags, and bags of every witness rate from the held-out patients test it. Beside
    them stands the ceiling: what the best bag score would reach if instances were told
    apart as well as a classifier that knows their labels does.

    Writes `cells/` (each cell when it is done; a killed study goes on with the next),
    `cells.csv`, `summary.csv`, `limits.csv`, `ceilings.csv`, `sources.csv`,
    `splits.csv`, `report.html`, `figures/` and `run.json`.

    Args:
        features: Folder of the tiles' features, by `embed_tiles` or another tool.
        tiles: A folder of `eosin tile` or `eosin import` with labelled tiles.
        out: The folder to write to.
        settings: Which cells.
        overwrite: Replace a result of other settings.
        progress: Told how far it is, and about how long the rest takes.

    Raises:
        ConfigError: The witness class is not one of the tiles'.
        CohortError: The patients cannot be split.
        ManifestError: Tiles and features do not fit, or a side has too few tiles.
        RunError: `out` holds other work or cannot be written.
    """
    settings = require_settings(settings, LimitSettings)
    folder = open_tile_folder(tiles)
    data = read_study_tiles(Path(features), folder, settings)
    out = Path(out)
    with open_run(
        out,
        "limit",
        settings=asdict(settings),
        inputs={"tiles": folder.sha256, "features": data.sha256},
        seed=settings.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            _run_cells(data, settings, out, progress or Progress())
        result = _collect(data, settings, out, caution_learnt(features, data.table))
        if record.is_done and (out / "report.html").exists():
            return result
        record.reopen()
        write_tables(out, data, tables=result.tables, sources=result.sources)
        _write_page(result, data, folder, settings)
        limits = result.tables.limits.astype(object)
        record.notes["limits"] = limits.where(limits.notna(), None).to_dict("records")
        record.notes["cautions"] = list(result.cautions)
        return result


def _run_cells(
    data: StudyTiles, settings: LimitSettings, out: Path, progress: Progress
) -> None:
    """Run every cell that has not been run; each is written when it is done."""
    cells = list_cells(settings)
    (out / _CELLS).mkdir(parents=True, exist_ok=True)
    # Cells take as long as they have bags.
    n_left = sum(cell.n_bags for cell in cells if not _find_cell(out, cell).exists())
    n_done, started = 0, time.monotonic()
    with progress.task("Training models", len(cells)) as task:
        for fold in range(settings.folds):
            own = [cell for cell in cells if cell.fold == fold]
            left = [cell for cell in own if not _find_cell(out, cell).exists()]
            task.advance(len(own) - len(left))
            ceiling = _find_ceiling(out, fold)
            if not left and ceiling.exists():
                continue
            bags = FoldBags(data, fold, settings)
            if not ceiling.exists():
                write_json(ceiling, measure_ceiling(data, bags, settings))
            test = draw_test_bags(bags, settings)
            for cell in left:
                write_json(_find_cell(out, cell), run_cell(cell, bags, test, settings))
                n_done, n_left = n_done + cell.n_bags, n_left - cell.n_bags
                minutes = (time.monotonic() - started) / n_done * n_left / 60
                task.advance(note=f"about {minutes:.0f} min left")


def _find_cell(out: Path, cell: Cell) -> Path:
    return out / _CELLS / f"{cell.name}.json"


def _find_ceiling(out: Path, fold: int) -> Path:
    return out / _CELLS / f"ceiling_{fold}.json"


def _collect(
    data: StudyTiles, settings: LimitSettings, out: Path, learnt: Sequence[str]
) -> LimitResult:
    """Read all cells and make the tables."""
    results = {cell: read_json(_find_cell(out, cell)) for cell in list_cells(settings)}
    ceilings = [read_json(_find_ceiling(out, fold)) for fold in range(settings.folds)]
    sources = data.count_sources()
    tables = tabulate_study(results, ceilings, settings)
    cautions = (*learnt, *find_cautions(data, sources, tables))
    return LimitResult(out, tables, sources, cautions)


def _write_page(
    result: LimitResult, data: StudyTiles, folder: TileFolder, settings: LimitSettings
) -> None:
    tables, names = result.tables, data.class_names
    n_witnesses = int(data.is_witness.sum())
    words = [
        f"{n_witnesses:,} tiles of {names[1]} and "
        f"{len(data.is_witness) - n_witnesses:,} of {names[0]}",
        f"{folder.info.tile_px} px",
    ]
    if folder.info.mpp is not None:
        words.append(f"{folder.info.mpp:g} mpp")
    title = f"Limit of detection: {names[1]}"
    shown = vars(tables) | {"sources": result.sources}
    page = make_limit_page(title, words, settings, shown, result.cautions)
    write_page(page, result.folder)
