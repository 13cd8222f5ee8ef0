"""From the cells of a limit study to its tables, and what must be said of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import write_csv
from eosin.evaluation import (
    DetectionLimit,
    bootstrap_limit,
    draw_means,
    find_sensitivity,
    interpolate_limit,
)
from eosin.settings import LimitSettings
from eosin.studies.limit_cells import Cell, find_auc
from eosin.studies.limit_sides import StudyTiles

Floats = npt.NDArray[np.float64]

NOT_REACHED = "not reached"
GROUP = ("training", "bags", "aggregator")
TABLES = ("cells", "summary", "limits", "ceilings", "sources", "splits")
_SHARES = ("accuracy", "precision", "recall", "specificity")
_COUNTS = ("true_positive", "false_positive", "true_negative", "false_negative")
_MEASURES = ("roc_auc", *_SHARES, "sensitivity", "attention_auc")
_CELL_COLUMNS = (
    *("witnesses", "rate", "roc_auc", *_SHARES, *_COUNTS),
    *("sensitivity", "attention_auc", "val_roc_auc", "seconds"),
)

# Fewer on a test side, and the study is about these few.
_FEW_PATIENTS = 5
# An instance AUC of colour alone from which on it may be what is found.
_MUCH_COLOUR = 0.7


@dataclass(frozen=True, eq=False)
class LimitTables:
    """The tables of a study.

    Attributes:
        cells: One row per training, bags, aggregator, seed and witnesses.
        summary: The same with the mean over seeds and `<measure>_sd`, and the
            intervals `roc_auc_low`, `roc_auc_high`, `sensitivity_low`,
            `sensitivity_high` over patients and seeds; confusion is summed.
        limits: One row per training, bags and aggregator: `rate`, `is_at_most`,
            `low`, `high`, `text`, `val_roc_auc`.
        ceilings: One row per source (`features`, `colour`) and witnesses: mean over
            the folds of `instance_auc`, `roc_auc`, `sensitivity`.
    """

    cells: pd.DataFrame
    summary: pd.DataFrame
    limits: pd.DataFrame
    ceilings: pd.DataFrame


def tabulate_study(
    found: Mapping[Cell, Mapping[str, Any]],
    ceilings: Sequence[Mapping[str, Any]],
    config: LimitSettings,
) -> LimitTables:
    """Make the tables of what `run_cell` and, for every fold, `measure_ceiling` gave.

    What a threshold calls is pooled over the folds, each with its own threshold. AUC
    and sensitivity at a specificity are found within each fold and averaged, because
    scores of different models do not compare.
    """
    by_fold = [
        row
        for cell, content in found.items()
        for row in _list_rates(cell, content, config)
    ]
    cells = _pool_folds(pd.DataFrame(by_fold))
    summaries, limits = [], []
    for group, own in cells.groupby(list(GROUP), sort=False):
        contents = {c: found[c] for c in found if c.group == group}
        powers = _average_folds(contents, "resampled_sensitivity")
        summary = _average_seeds(own)
        for name, values in (
            ("sensitivity", powers),
            ("roc_auc", _average_folds(contents, "resampled_auc")),
        ):
            means = draw_means(values, seed=config.seed)
            ends = np.quantile(means, [0.025, 0.975], axis=0)
            summary[f"{name}_low"], summary[f"{name}_high"] = ends
        summaries.append(summary)
        limit = _find_limit(summary, powers, config)
        limit["val_roc_auc"] = float(own["val_roc_auc"].mean())
        limits.append(dict(zip(GROUP, group, strict=True)) | limit)
    counts = list(_COUNTS)
    summary = pd.concat(summaries, ignore_index=True)
    summary = summary[[*summary.columns.drop(counts), *counts]]
    return LimitTables(
        cells, summary, pd.DataFrame(limits), _tabulate_ceilings(ceilings, config)
    )


def _list_rates(
    cell: Cell, content: Mapping[str, Any], config: LimitSettings
) -> Iterator[dict[str, Any]]:
    """Yield a row per number of witnesses."""
    low, threshold = np.asarray(content["negatives"]), content["threshold"]
    n_false = int((low >= threshold).sum())
    attention = np.array(content["attention_auc"], np.float64)
    for place, n in enumerate(config.witnesses):
        high = np.asarray(content["positives"][place])
        n_true = int((high >= threshold).sum())
        yield {
            **dict(zip(GROUP, cell.group, strict=True)),
            "seed": cell.seed,
            "witnesses": n,
            "rate": n / config.bag_size,
            "roc_auc": find_auc(low, high),
            "true_positive": n_true,
            "false_positive": n_false,
            "true_negative": len(low) - n_false,
            "false_negative": len(high) - n_true,
            "sensitivity": find_sensitivity(low, high, specificity=config.specificity),
            "attention_auc": attention[place],
            "val_roc_auc": content["val_roc_auc"],
            "seconds": content["seconds"],
        }


def _pool_folds(rows: pd.DataFrame) -> pd.DataFrame:
    """Average and sum over the folds, and derive the shares of what was called."""
    by_cell = rows.groupby([*GROUP, "seed", "witnesses", "rate"], sort=False)
    means = by_cell[["roc_auc", "sensitivity", "attention_auc", "val_roc_auc"]]
    table = means.agg(_mean).join(by_cell[[*_COUNTS, "seconds"]].sum()).reset_index()
    true, false = table["true_positive"], table["false_positive"]
    missed, spared = table["false_negative"], table["true_negative"]
    table["accuracy"] = (true + spared) / (true + false + spared + missed)
    # Where nothing was called, 0 / 0 is NaN.
    table["precision"] = true / (true + false)
    table["recall"] = true / (true + missed)
    table["specificity"] = spared / (spared + false)
    return table[[*GROUP, "seed", *_CELL_COLUMNS]]


def _mean(values: pd.Series) -> float:
    """Average; NaN where one is, which the mean of pandas leaves out."""
    return float(np.mean(values.to_numpy()))


def _average_folds(contents: Mapping[Cell, Mapping[str, Any]], name: str) -> Floats:
    """Average what resampled patients gave, `(resamples, seeds, rates)`."""
    by_seed: dict[int, list[Any]] = {}
    for cell, content in contents.items():
        by_seed.setdefault(cell.seed, []).append(content[name])
    return np.stack([np.mean(folds, axis=0) for folds in by_seed.values()], axis=1)


def _average_seeds(cells: pd.DataFrame) -> pd.DataFrame:
    """Average one group's cells over the seeds, a row per number of witnesses."""
    by_rate = cells.groupby([*GROUP, "witnesses", "rate"], sort=False)
    table = by_rate.size().to_frame("seeds")
    for name in _MEASURES:
        table[name] = by_rate[name].agg(pd.Series.mean)
        table[f"{name}_sd"] = by_rate[name].agg(pd.Series.std)
    return table.join(by_rate[list(_COUNTS)].sum()).reset_index()


def _find_limit(
    summary: pd.DataFrame, powers: Floats, config: LimitSettings
) -> dict[str, Any]:
    order = np.argsort(config.witnesses)
    rates = summary["rate"].to_numpy()[order].tolist()
    means = summary["sensitivity"].to_numpy()[order].tolist()
    found = interpolate_limit(rates, means, power=config.power)
    interval = bootstrap_limit(
        rates, powers[..., order], power=config.power, seed=config.seed
    )
    ends = [say_limit(end, config.bag_size) for end in (interval.low, interval.high)]
    return {
        "rate": found.rate,
        "is_at_most": found.is_at_most,
        "low": interval.low.rate,
        "high": interval.high.rate,
        "share_reached": interval.share_reached,
        "limit": say_limit(found, config.bag_size),
        "interval": ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}",
    }


def say_limit(limit: DetectionLimit, size: int) -> str:
    """Say a limit in witnesses per bag."""
    if limit.rate is None:
        return NOT_REACHED
    sign = "\N{LESS-THAN OR EQUAL TO} " if limit.is_at_most else ""
    return f"{sign}{limit.rate * size:.3g} of {size}"


def _tabulate_ceilings(
    ceilings: Sequence[Mapping[str, Any]], config: LimitSettings
) -> pd.DataFrame:
    """Average the folds, a row per source and number of witnesses."""
    rows = [
        {
            "source": source,
            "witnesses": n,
            "rate": n / config.bag_size,
            "instance_auc": ceiling["instance_auc"],
            "roc_auc": ceiling["roc_auc"][place],
            "sensitivity": ceiling["sensitivity"][place],
        }
        for fold in ceilings
        for source, ceiling in fold.items()
        for place, n in enumerate(config.witnesses)
    ]
    by_rate = pd.DataFrame(rows).groupby(["source", "witnesses", "rate"], sort=False)
    return by_rate.agg(_mean).reset_index()


def write_tables(
    out: Path, data: StudyTiles, *, tables: LimitTables, sources: pd.DataFrame
) -> None:
    """Write the tables of a study as CSV, each whole or not at all."""
    frames = {**vars(tables), "sources": sources, "splits": data.splits}
    for name in TABLES:
        write_csv(out / f"{name}.csv", frames[name], float_format="%.6g")


def find_cautions(
    data: StudyTiles, sources: pd.DataFrame, tables: LimitTables
) -> Iterator[str]:
    """Say what must be known before believing the numbers, as sentences."""
    test = sources[sources["side"] == "test"]
    least = int(test["patients_with_witnesses"].min())
    if least < _FEW_PATIENTS:
        yield (
            f"All positive test bags are drawn from {test['witness_tiles'].sum():,} "
            f"witness tiles of {test['patients_with_witnesses'].sum()} patients, "
            f"{least} in the smallest fold: more bags make the numbers smoother, not "
            "surer. The intervals over patients say how sure they are."
        )
    if not data.knows_patients:
        yield "Patients are not known; sides share no slide, but may share a patient."
    colour = tables.ceilings[tables.ceilings["source"] == "colour"]
    if len(colour) and colour["instance_auc"].iloc[0] >= _MUCH_COLOUR:
        yield (
            "The mean colour of a tile alone tells witnesses with an AUC of "
            f"{colour['instance_auc'].iloc[0]:.2f} on held-out patients; what a model "
            "finds may be colour, not tissue."
        )
