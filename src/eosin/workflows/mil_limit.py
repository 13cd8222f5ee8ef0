"""How few positive tiles in a bag multiple-instance learning still finds."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from eosin.bags import BagDraw
from eosin.core import (
    ConfigError,
    Progress,
    Task,
    open_run,
    read_json,
    write_json,
)
from eosin.models import find_aggregator
from eosin.reports import LimitReport, write_limit_report
from eosin.training import MILConfig
from eosin.workflows.encoder_patients import caution_learnt
from eosin.workflows.limit_cells import (
    MIXTURE,
    Cell,
    draw_test_bags,
    find_training_witnesses,
    measure_ceiling,
    run_cell,
)
from eosin.workflows.limit_sides import FoldBags, StudyTiles, read_study_tiles
from eosin.workflows.limit_tables import LimitTables, tabulate_study
from eosin.workflows.limit_writing import TABLES, find_cautions, write_tables
from eosin.workflows.tile_folder import TileFolder, open_tile_folder

_CELLS = "cells"
_OUTPUTS = (
    _CELLS,
    "figures",
    "report.html",
    "run.json",
    *(f"{name}.csv" for name in TABLES),
)


@dataclass(frozen=True, kw_only=True)
class LimitConfig:
    """Which cells a limit study has, and how each is trained.

    Attributes:
        bag_size: Instances of every bag.
        witnesses: Witnesses of the positive test bags, 1 to `bag_size` each.
        bags: Training bags, even numbers; smaller sets are the beginning of larger.
        aggregators: Methods, of `eosin.models.AGGREGATORS`.
        seeds: Of the weights and of which training bags are drawn.
        train_witnesses: Witnesses of the positive training and validation bags: a
            number, or `mixture`, which takes those of `witnesses` in turn.
        witness_class: The class that is looked for; None takes every class but the
            negative one.
        folds: Sides by patient; 1 makes train, val and test once, more hold every
            patient out once.
        val_fraction: Share of the training patients that validate, above 0.
        test_fraction: Share of the patients that test, with one fold.
        val_bags: Validation bags, an even number.
        test_bags: Test bags of each fold and witness rate, an even number; negative
            ones are the same for every rate.
        n_resamples: Resampled sets of test patients, for the intervals, 2 or more.
        resample_bags: Bags of each kind and resampled set.
        specificity: At which sensitivity is told, (0, 1).
        power: Sensitivity at the limit, (0, 1).
        components: Main components that features are reduced to, for speed; None
            leaves them as they are.
        widths: Widths of the dense layers before the aggregator.
        dropout: Share of the projected features dropped in training, [0, 1).
        epochs: Epochs at most.
        patience: Epochs without a better validation loss before training stops.
        learning_rate: The schedule's peak.
        weight_decay: Of the optimiser.
        batch: Bags per step.
        seed: Of the folds, the validation and the test bags.
    """

    bag_size: int = 40
    witnesses: tuple[int, ...] = (20, 10, 5, 1)
    bags: tuple[int, ...] = (500, 1000, 2000)
    aggregators: tuple[str, ...] = ("gated_attention", "concat40")
    seeds: tuple[int, ...] = (0, 1, 2)
    train_witnesses: tuple[str, ...] = ("20", MIXTURE)
    witness_class: str | None = None
    folds: int = 4
    val_fraction: float = 0.25
    test_fraction: float = 0.25
    val_bags: int = 200
    test_bags: int = 400
    n_resamples: int = 60
    resample_bags: int = 40
    specificity: float = 0.95
    power: float = 0.9
    components: int | None = 128
    widths: tuple[int, ...] = (128,)
    dropout: float = 0.25
    epochs: int = 20
    patience: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("witnesses", "bags", "aggregators", "seeds", "train_witnesses"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ConfigError(
                    f"{name} must be one or more, each once, got "
                    f"{', '.join(map(str, values)) or 'none'}"
                )
        for training in self.train_witnesses:
            if training != MIXTURE and not training.isdecimal():
                raise ConfigError(
                    f"train_witnesses must be numbers or '{MIXTURE}', got '{training}'"
                )
        self._check_bags()
        self._check_ranges()
        for name in self.aggregators:
            taken = find_aggregator(name).n_instances
            if taken is not None and self.bag_size > taken:
                raise ConfigError(
                    f"{name} takes bags of at most {taken}, got bag_size "
                    f"{self.bag_size}; leave it out"
                )

    def _check_bags(self) -> None:
        trained = [
            n for t in self.train_witnesses for n in find_training_witnesses(t, self)
        ]
        for n_bags in (*self.bags, self.val_bags, self.test_bags):
            for n in {*self.witnesses, *trained}:
                BagDraw(n_bags=n_bags, size=self.bag_size, witnesses=(n,))

    def _check_ranges(self) -> None:
        if self.folds < 1 or not 0 < self.val_fraction < 1:
            raise ConfigError(
                "folds must be 1 or more and val_fraction lie between 0 and 1, got "
                f"{self.folds} and {self.val_fraction:g}"
            )
        if self.folds == 1 and not 0 < self.test_fraction < 1 - self.val_fraction:
            raise ConfigError(
                "test_fraction must be above 0 and leave something to train on, got "
                f"{self.test_fraction:g}"
            )
        if not 0 < self.specificity < 1 or not 0 < self.power < 1:
            raise ConfigError(
                "specificity and power must lie between 0 and 1, got "
                f"{self.specificity:g} and {self.power:g}"
            )
        if self.n_resamples < 2 or self.resample_bags < 2:
            raise ConfigError(
                "n_resamples and resample_bags must be 2 or more, got "
                f"{self.n_resamples} and {self.resample_bags}"
            )
        if self.components is not None and self.components < 1:
            raise ConfigError(
                f"components must be 1 or more, or none, got {self.components}"
            )

    @property
    def training(self) -> MILConfig:
        """The settings of one training, but for its seed."""
        return MILConfig(
            epochs=self.epochs,
            monitor="val_loss",
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            batch=self.batch,
            patience=self.patience,
        )

    def list_cells(self) -> list[Cell]:
        """List all cells, those of one fold together."""
        return [
            Cell(*parts)
            for parts in itertools.product(
                range(self.folds),
                self.train_witnesses,
                self.bags,
                self.aggregators,
                self.seeds,
            )
        ]


@dataclass(frozen=True, eq=False)
class LimitResult:
    """What `study_limit` made.

    Attributes:
        folder: Where it lies.
        tables: Cells, their summary, the limits and the ceilings.
        sources: Patients and tiles of every side.
        cautions: What must be known before believing the numbers.
    """

    folder: Path
    tables: LimitTables
    sources: pd.DataFrame
    cautions: tuple[str, ...]


def study_limit(
    features: Path,
    tiles: Path,
    config: LimitConfig,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
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
        config: Which cells.
        out: The folder to write to.
        overwrite: Replace a result of other settings.
        progress: Told how far it is, and about how long the rest takes.

    Raises:
        ConfigError: The witness class is not one of the tiles'.
        CohortError: The patients cannot be split.
        ManifestError: Tiles and features do not fit, or a side has too few tiles.
        RunError: `out` holds other work or cannot be written.
    """
    folder = open_tile_folder(tiles)
    data = read_study_tiles(Path(features), folder, config)
    out = Path(out)
    with open_run(
        out,
        "mil limit",
        settings=asdict(config),
        inputs={"tiles": folder.sha256, "features": data.sha256},
        seed=config.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            _run_cells(data, config, out, progress or Progress())
        result = _collect(data, config, out)
        learnt = caution_learnt(features, data.table)
        result = replace(result, cautions=(*learnt, *result.cautions))
        if record.is_done and (out / "report.html").exists():
            return result
        record.reopen()
        write_tables(out, data, tables=result.tables, sources=result.sources)
        _write_page(result, data, folder, config)
        limits = result.tables.limits.astype(object)
        record.notes["limits"] = limits.where(limits.notna(), None).to_dict("records")
        record.notes["cautions"] = list(result.cautions)
        return result


def _run_cells(
    data: StudyTiles, config: LimitConfig, out: Path, progress: Progress
) -> None:
    """Run every cell that has not been run; each is written when it is done."""
    cells = config.list_cells()
    (out / _CELLS).mkdir(parents=True, exist_ok=True)
    clock = _Clock([c for c in cells if not _find_cell(out, c).exists()])
    with progress.task("Training models", len(cells)) as task:
        for fold in range(config.folds):
            own = [cell for cell in cells if cell.fold == fold]
            left = [cell for cell in own if not _find_cell(out, cell).exists()]
            task.advance(len(own) - len(left))
            ceiling = _find_ceiling(out, fold)
            if not left and ceiling.exists():
                continue
            bags = FoldBags(data, fold, config)
            if not ceiling.exists():
                write_json(ceiling, measure_ceiling(data, bags, config))
            test = draw_test_bags(bags, config)
            for cell in left:
                write_json(_find_cell(out, cell), run_cell(cell, bags, test, config))
                clock.tell(task, cell)


class _Clock:
    """Says about how long the cells that are left will take."""

    def __init__(self, left: Sequence[Cell]) -> None:
        self._work_left = sum(cell.n_bags for cell in left)
        self._work_done = 0
        self._started = time.monotonic()

    def tell(self, task: Task, cell: Cell) -> None:
        """Count a cell as done; cells take as long as they have bags."""
        self._work_done += cell.n_bags
        self._work_left -= cell.n_bags
        per_bag = (time.monotonic() - self._started) / self._work_done
        minutes = per_bag * self._work_left / 60
        task.advance(note=f"about {minutes:.0f} min left")


def _find_cell(out: Path, cell: Cell) -> Path:
    return out / _CELLS / f"{cell.name}.json"


def _find_ceiling(out: Path, fold: int) -> Path:
    return out / _CELLS / f"ceiling_{fold}.json"


def _collect(data: StudyTiles, config: LimitConfig, out: Path) -> LimitResult:
    """Read all cells and make the tables."""
    found = {cell: read_json(_find_cell(out, cell)) for cell in config.list_cells()}
    ceilings = [read_json(_find_ceiling(out, fold)) for fold in range(config.folds)]
    sources = data.count_sources()
    tables = tabulate_study(found, ceilings, config)
    cautions = tuple(find_cautions(data, sources, tables))
    return LimitResult(out, tables, sources, cautions)


def _describe(config: LimitConfig) -> dict[str, str]:
    rates = ", ".join(map(str, config.witnesses))
    sides = (
        "one split by patient into train, val and test"
        if config.folds == 1
        else f"{config.folds} folds by patient, each held out once"
    )
    return {
        "Sides": f"{sides}; bags of a side are drawn from its own patients' tiles",
        "Bags": f"{config.bag_size} tiles, half of the bags positive; test bags with "
        f"{rates} witnesses, {config.test_bags} per fold and rate",
        "Training": f"features reduced to {config.components or 'no fewer'} "
        f"components, dense layers {', '.join(map(str, config.widths))}, at most "
        f"{config.epochs} epochs, the best by validation loss",
        "Threshold": "of accuracy, precision, recall and confusion: the highest "
        "sensitivity + specificity on validation bags, whose witness rates are those "
        "of training",
        "Sensitivity": f"at {config.specificity:.0%} specificity on the held-out "
        "patients' own negative bags, within each fold, averaged over folds",
        "Limit": f"the smallest witness rate from which on the sensitivity is "
        f"{config.power:.0%} or more, interpolated in the logarithm of the rate; the "
        "interval is of 95 %, over test patients drawn with replacement and seeds",
        "Ceiling": "the likelihood ratio of whole bags, whose tiles are scored by a "
        "logistic regression that was taught the training tiles' own labels",
    }


def _write_page(
    result: LimitResult, data: StudyTiles, folder: TileFolder, config: LimitConfig
) -> None:
    tables, names = result.tables, data.class_names
    n_witnesses = int(data.is_witness.sum())
    facts = f"{n_witnesses:,} tiles of {names[1]} and "
    facts += f"{len(data.is_witness) - n_witnesses:,} of {names[0]}, "
    facts += f"{folder.info.tile_px} px"
    if folder.info.mpp is not None:
        facts += f" at {folder.info.mpp:g} mpp"
    write_limit_report(
        result.folder,
        LimitReport(
            title=f"Limit of detection: {names[1]}",
            facts=facts,
            bag_size=config.bag_size,
            specificity=config.specificity,
            power=config.power,
            summary=tables.summary,
            cells=tables.cells,
            limits=tables.limits,
            ceilings=tables.ceilings,
            sources=result.sources,
            cautions=result.cautions,
            method=_describe(config),
        ),
    )
