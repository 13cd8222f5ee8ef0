"""From the cells of a limit study to its tables, and what must be said of them."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import atomic_path
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
_MEASURES = (
    "roc_auc",
    "accuracy",
    "precision",
    "recall",
    "specificity",
    "sensitivity",
    "attention_auc",
)
TABLES = ("cells", "summary", "limits", "ceilings", "sources", "splits")

# Fewer on a test side, and the study is about these few.
_FEW_PATIENTS = 5
# An instance AUC of colour alone from which on it may be what is found.
_MUCH_COLOUR = 0.7


GROUP = ("training", "bags", "aggregator")


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
    """Make the tables of a study.

    What a threshold calls is pooled over the folds, each with its own threshold. AUC
    and sensitivity at a specificity are found within each fold and averaged, because
    scores of different models do not compare.

    Args:
        found: What `run_cell` gave for every cell.
        ceilings: What `measure_ceiling` gave for every fold.
        config: The study's.
    """
    groups: dict[tuple[Any, ...], dict[int, list[Mapping[str, Any]]]] = {}
    for cell, content in found.items():
        key = (cell.training, cell.n_bags, cell.aggregator)
        groups.setdefault(key, {}).setdefault(cell.seed, []).append(content)
    cells, summary, limits = [], [], []
    for key, by_seed in groups.items():
        head = dict(zip(GROUP, key, strict=True))
        own = [
            {**head, "seed": seed, **row}
            for seed, folds in by_seed.items()
            for row in _tabulate_seed(folds, config)
        ]
        rows, limit = _summarise(own, by_seed, config)
        cells += own
        summary += [{**head, **row} for row in rows]
        limits.append({**head, **limit})
    return LimitTables(
        pd.DataFrame(cells),
        pd.DataFrame(summary),
        pd.DataFrame(limits),
        _tabulate_ceilings(ceilings, config),
    )


def _tabulate_seed(
    folds: Sequence[Mapping[str, Any]], config: LimitSettings
) -> list[dict[str, Any]]:
    """Make one row per number of witnesses, the folds together."""
    rows = []
    for place, n in enumerate(config.witnesses):
        counts = np.zeros(4, np.int64)
        aucs, sensitivities, attention = [], [], []
        for fold in folds:
            low = np.asarray(fold["negatives"])
            high = np.asarray(fold["positives"][place])
            aucs.append(find_auc(low, high))
            sensitivities.append(
                find_sensitivity(low, high, specificity=config.specificity)
            )
            n_true = int((high >= fold["threshold"]).sum())
            n_false = int((low >= fold["threshold"]).sum())
            counts += (n_true, n_false, len(low) - n_false, len(high) - n_true)
            auc = fold["attention_auc"][place]
            attention.append(math.nan if auc is None else auc)
        rows.append(
            {
                "witnesses": n,
                "rate": n / config.bag_size,
                "roc_auc": float(np.mean(aucs)),
                **_derive(*counts.tolist()),
                "sensitivity": float(np.mean(sensitivities)),
                "attention_auc": float(np.mean(attention)),
                "val_roc_auc": float(np.mean([fold["val_roc_auc"] for fold in folds])),
                "seconds": float(sum(fold["seconds"] for fold in folds)),
            }
        )
    return rows


def _derive(tp: int, fp: int, tn: int, fn: int) -> dict[str, Any]:
    """Derive the usual shares from a confusion matrix."""
    return {
        "accuracy": (tp + tn) / (tp + fp + tn + fn),
        "precision": tp / (tp + fp) if tp + fp else math.nan,
        "recall": tp / (tp + fn),
        "specificity": tn / (tn + fp),
        "true_positive": tp,
        "false_positive": fp,
        "true_negative": tn,
        "false_negative": fn,
    }


def _summarise(
    own: Sequence[Mapping[str, Any]],
    by_seed: Mapping[int, Sequence[Mapping[str, Any]]],
    config: LimitSettings,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Average over seeds, and find the limit with its interval."""
    table = pd.DataFrame(own)
    powers, aucs = (
        np.stack(
            [
                np.mean([fold[name] for fold in folds], axis=0)
                for folds in by_seed.values()
            ],
            axis=1,
        )
        for name in ("resampled_sensitivity", "resampled_auc")
    )
    bands = {
        name: np.quantile(draw_means(values, seed=config.seed), [0.025, 0.975], axis=0)
        for name, values in (("sensitivity", powers), ("roc_auc", aucs))
    }
    rows = []
    for place, n in enumerate(config.witnesses):
        part = table[table["witnesses"] == n]
        row = {"witnesses": n, "rate": n / config.bag_size, "seeds": len(part)}
        for name in _MEASURES:
            row[name] = float(part[name].mean())
            row[f"{name}_sd"] = float(part[name].std()) if len(part) > 1 else math.nan
        for name, (low, high) in bands.items():
            row |= {f"{name}_low": low[place], f"{name}_high": high[place]}
        for name in ("true_positive", "false_positive"):
            row[name] = int(part[name].sum())
        for name in ("true_negative", "false_negative"):
            row[name] = int(part[name].sum())
        rows.append(row)
    limit = _find_limit(rows, powers, config)
    return rows, {**limit, "val_roc_auc": float(table["val_roc_auc"].mean())}


def _find_limit(
    rows: Sequence[Mapping[str, Any]], powers: Floats, config: LimitSettings
) -> dict[str, Any]:
    order = np.argsort(config.witnesses)
    rates = [rows[i]["rate"] for i in order]
    found = interpolate_limit(
        rates, [rows[i]["sensitivity"] for i in order], power=config.power
    )
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
    rows = []
    sources = dict.fromkeys(itertools.chain(*ceilings))
    for source in sources:
        own = [fold[source] for fold in ceilings if source in fold]
        for place, n in enumerate(config.witnesses):
            rows.append(
                {
                    "source": source,
                    "witnesses": n,
                    "rate": n / config.bag_size,
                    "instance_auc": float(np.mean([f["instance_auc"] for f in own])),
                    "roc_auc": float(np.mean([f["roc_auc"][place] for f in own])),
                    "sensitivity": float(
                        np.mean([f["sensitivity"][place] for f in own])
                    ),
                }
            )
    return pd.DataFrame(rows)


def write_tables(
    out: Path, data: StudyTiles, *, tables: LimitTables, sources: pd.DataFrame
) -> None:
    """Write the tables of a study as CSV, each whole or not at all.

    Raises:
        RunError: A file cannot be written.
    """
    frames = (
        tables.cells,
        tables.summary,
        tables.limits,
        tables.ceilings,
        sources,
        data.splits,
    )
    for name, frame in zip(TABLES, frames, strict=True):
        with atomic_path(out / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g")


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
