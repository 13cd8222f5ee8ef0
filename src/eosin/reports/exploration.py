"""The page of an exploration: one HTML file that needs nothing but itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import write_text
from eosin.evaluation import SHOWN_MEASURES, ColourMap, CopyCount
from eosin.reports.exploration_figures import (
    MEASURE_TITLES,
    bin_measures,
    draw_balance,
    draw_colour_map,
    draw_correlations,
    draw_distributions,
)
from eosin.reports.galleries import Gallery, embed_thumbnail
from eosin.reports.pages import (
    FigureSlot,
    render_page,
    write_galleries,
    write_slots,
)

_MOST_SLIDES = 15
_MOST_CLASSES_IN_TABLE = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplorationData:
    """Everything that the page shows. Text is escaped, whatever it holds.

    Attributes:
        title: Heading.
        facts: One line below it: how many tiles of which size.
        headline: Sentences that say what matters, the first one largest.
        key_numbers: Name, value and a word on it, for the side of the headline.
        cautions: What must be known, as sentences.
        counts: Tiles by split (rows) and class (columns).
        splits: `split, patients, slides, tiles` and a column for each class.
        slides: `slide_id, patient_id, split, tiles` and a column for each class, the
            largest first.
        slides_are_groups: Whether slides are groups of patches that look alike.
        class_names: In the order of the labels.
        labels: Label of each measured tile, -1 without one, `(tiles,)`.
        measures: One row per measured tile, columns `SHOWN_MEASURES`.
        by_class: From `describe_by_class`.
        correlations: From `correlate_measures`.
        colour_map: Of the measured tiles.
        factors: Group of each measured tile, a column for each factor.
        explained: Share of the colour's variance between the groups of each factor.
        samples: Tiles of each class.
        outliers: Odd tiles, kind by kind; a kind without any has no tile.
        copies: How many copies there are of each kind.
        copy_galleries: Copies beside each other.
        next_steps: Commands with a word on each.
        method: What was done, as rows of a name and a text.
        versions: Version by package.
        created: When, as it should be printed.
    """

    title: str
    facts: str
    headline: Sequence[str]
    key_numbers: Sequence[tuple[str, str, str]]
    cautions: Sequence[str]
    counts: pd.DataFrame
    splits: pd.DataFrame
    slides: pd.DataFrame
    slides_are_groups: bool
    class_names: Sequence[str]
    labels: npt.NDArray[np.int64]
    measures: pd.DataFrame
    by_class: pd.DataFrame
    correlations: pd.DataFrame
    colour_map: ColourMap
    factors: pd.DataFrame
    explained: Mapping[str, float | None]
    samples: Sequence[Gallery]
    outliers: Sequence[Gallery]
    copies: Sequence[CopyCount]
    copy_galleries: Sequence[Gallery]
    next_steps: Sequence[tuple[str, str]]
    method: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str | None = None


def write_exploration(folder: Path, data: ExplorationData) -> None:
    """Write `report.html` and, in `figures/`, each figure as PNG and CSV.

    Args:
        folder: Where to write.
        data: What to show.

    Raises:
        RunError: A file cannot be written.
    """
    slots = _draw_figures(data)
    # First, because drawing a figure once more moves it by a hair.
    page = _render(data, slots)
    places = Path(folder) / "figures"
    write_slots(places, slots.values())
    write_galleries(places, (*data.samples, *data.outliers, *data.copy_galleries))
    write_text(Path(folder) / "report.html", page)


def render_exploration(data: ExplorationData) -> str:
    """Return the page's HTML."""
    return _render(data, _draw_figures(data))


def _render(data: ExplorationData, slots: Mapping[str, FigureSlot]) -> str:
    return render_page(
        "exploration.html.j2",
        data=data,
        slots=slots,
        embed=embed_thumbnail,
        slides=_list_rows(_choose_slides(data)),
        slide_columns=list(_choose_slides(data).columns),
        splits=_list_rows(data.splits),
        n_slides=len(data.slides),
        measures=list(_describe_measures(data)),
        shows_auc=len(data.class_names) == 2,
        explained=[(k, v) for k, v in data.explained.items() if v is not None],
    )


def _draw_figures(data: ExplorationData) -> dict[str, FigureSlot]:
    slots = [
        FigureSlot(
            "class-balance",
            "Class balance",
            _say_balance(data.counts),
            draw_balance(data.counts),
            data.counts.rename_axis("split").reset_index(),
        )
    ]
    if len(data.measures):
        slots += _draw_measures(data)
    return {slot.name: slot for slot in slots}


def _draw_measures(data: ExplorationData) -> Iterator[FigureSlot]:
    bins = bin_measures(data.measures, data.labels, data.class_names)
    yield FigureSlot(
        "distributions",
        "Distributions by class",
        "Each class adds up to 1, whatever its size. Classes that lie apart here can "
        "be told apart without looking at tissue.",
        draw_distributions(bins),
        bins,
    )
    if data.correlations.notna().any(axis=None):
        yield FigureSlot(
            "correlations",
            "Rank correlations",
            "Spearman's; orange goes together, blue runs against each other.",
            draw_correlations(data.correlations),
            data.correlations.rename_axis("measure").reset_index(),
        )
    points = data.colour_map.points
    if np.isfinite(points).any():
        yield FigureSlot(
            "colour-map",
            "Colour map",
            "Each dot is a tile, placed by its mean optical density; diamonds are "
            "means. Groups that lie apart were stained or scanned differently.",
            draw_colour_map(points, data.colour_map.shares, data.factors),
            data.factors.assign(x=points[:, 0], y=points[:, 1])
            .rename_axis("tile_id")
            .reset_index(),
        )


def _say_balance(counts: pd.DataFrame) -> str:
    totals = counts.drop(columns="unlabelled", errors="ignore").sum()
    if totals.sum() == 0:
        return "No tile has a label."
    parts = [f"{n:,} {name}" for name, n in totals.items()]
    least, most = int(totals.min()), int(totals.max())
    ratio = f"; {most / least:.1f} to 1" if least else "; a class is empty"
    return f"{', '.join(parts)}{ratio}."


def _choose_slides(data: ExplorationData) -> pd.DataFrame:
    """Choose the largest slides; of groups those of two patches or more."""
    slides = data.slides.head(_MOST_SLIDES)
    if not data.slides_are_groups:
        return slides
    return slides[slides["tiles"] > 1].drop(columns="patient_id")


def _describe_measures(data: ExplorationData) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table of measures: median and middle half by class."""
    is_binary = len(data.class_names) == 2
    for measure in SHOWN_MEASURES:
        own = data.by_class[data.by_class["measure"] == measure]
        own = own.head(_MOST_CLASSES_IN_TABLE)
        auc = float(own["roc_auc"].iloc[-1]) if is_binary else float("nan")
        yield {
            "name": MEASURE_TITLES[measure],
            "cells": [
                "\N{EN DASH}"
                if row["n"] == 0
                else f"{_format(row['median'])} ({_format(row['percentile_25'])} to "
                f"{_format(row['percentile_75'])})"
                for row in own.to_dict("records")
            ],
            "auc": "\N{EN DASH}" if np.isnan(auc) else f"{max(auc, 1 - auc):.2f}",
        }


def _format(value: float) -> str:
    """Write a measure with about three digits, and never a power of ten."""
    if abs(value) < 0.0005:
        return "0"
    digits = 0 if abs(value) >= 100 else 2 if abs(value) >= 0.095 else 3
    text = f"{value:,.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _list_rows(table: pd.DataFrame) -> list[list[tuple[str, bool]]]:
    """Turn a table into texts, and whether each is a number."""
    return [
        [
            ("\N{EN DASH}", False)
            if pd.isna(value)
            else (f"{value:,}", True)
            if isinstance(value, int | np.integer)
            else (str(value), False)
            for value in row
        ]
        for row in table.astype(object).itertuples(index=False)
    ]
