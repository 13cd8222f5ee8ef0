"""Counts, numbers, intervals and measures in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from eosin.core import plural
from eosin.evaluation import UNITS, LevelResult, MetricResult, format_ends
from eosin.tiles import TileFolder

# A number and its sign must not be torn apart at a line's end.
_PERCENT = "\N{NARROW NO-BREAK SPACE}%"
CONFIDENCE = f"95{_PERCENT}"
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Nouns:
    """What tiles, slides and patients of a study are called, where they are others.

    Attributes:
        tile: `patch` of tiles by themselves.
        slide: What is scored as a whole: `group` of patches that look alike, `bag`
            that was drawn, `patient` whose slides are one bag.
        patient: What is never divided between splits.
    """

    tile: str = "tile"
    slide: str = "slide"
    patient: str = "patient"

    @classmethod
    def of_study(cls, unit: str, folder: TileFolder | None) -> Self:
        """Name what a model is scored on.

        Args:
            unit: What a label belongs to.
            folder: Its tiles, where they are known.
        """
        if unit == "bag":
            return cls(slide="bag", patient="bag")
        if unit == "patient":
            return cls(slide="patient")
        return cls() if folder is None else cls.of_tiles(folder)

    @classmethod
    def of_tiles(cls, folder: TileFolder) -> Self:
        """Name what a tile folder holds: patches are in no slide that is known."""
        if not folder.has_patches:
            return cls()
        if folder.info.grouping == "estimated":
            return cls(tile="patch", slide="group", patient="group")
        return cls(tile="patch")

    def of(self, unit: str) -> str:
        """Return what a unit is called."""
        return str(getattr(self, unit, unit))

    @property
    def words(self) -> dict[str, str]:
        """What each unit is called."""
        return {unit: self.of(unit) for unit in UNITS}


def count(n: int, noun: str) -> str:
    """Write a number and its noun, in the plural where that is due."""
    return f"{n:,} {noun if n == 1 else plural(noun)}"


def with_article(noun: str) -> str:
    """Write a noun behind `a` or `an`."""
    return f"{'an' if noun[:1].lower() in tuple('aeiou') else 'a'} {noun}"


def name_columns(*names: str, **others: str) -> dict[str, str]:
    """Call columns by their names in words, others by what is given for them."""
    texts = [
        name.replace("_", " ").replace("roc auc", "ROC AUC").replace(" auc", " AUC")
        for name in names
    ]
    heads = [text[:1].upper() + text[1:] for text in texts]
    return dict(zip(names, heads, strict=True)) | others


def list_facts(
    class_names: Sequence[str], tile_px: int | None, mpp: float | None
) -> tuple[str, str, str]:
    """Say which classes, and what tiles, for the line below a title."""
    resolution = "mpp unknown" if mpp is None else f"{mpp:.4g} mpp"
    return " / ".join(class_names), f"{tile_px} px", resolution


def format_number(value: float | None, digits: int = 2) -> str:
    """Write a value with fixed decimals; a dash where there is none."""
    if value is None or np.isnan(value):
        return DASH
    return f"{value:.{digits}f}"


def format_percent(share: float | None) -> str:
    """Write a share as whole per cents; a dash where there is none."""
    if share is None or not np.isfinite(share):
        return DASH
    return f"{100 * share:.0f}{_PERCENT}"


def format_measure(value: float) -> str:
    """Write a measure with about three digits, and never a power of ten."""
    if abs(value) < 0.0005:
        return "0"
    digits = 0 if abs(value) >= 100 else 2 if abs(value) >= 0.095 else 3
    return f"{value:,.{digits}f}".replace("-", MINUS)


def format_interval(metric: MetricResult) -> str:
    """Write an interval as `0.88 to 0.97`, or `none`.

    An interval without width is none either: nothing varied that could be measured.
    """
    ends = format_ends(metric.low, metric.high)
    return "none" if ends is None else " to ".join(ends)


def say_auc(result: LevelResult) -> str:
    """Say the AUC with its interval in brackets' words."""
    metric = result.metrics["roc_auc"]
    value = format_number(metric.value)
    if metric.low is None:
        return f"AUC {value}, no interval"
    if metric.low == metric.high:
        return f"AUC {value} in every resample, so no interval can be given"
    return f"AUC {value}, {CONFIDENCE} interval {format_interval(metric)}"


def say_confusion(result: LevelResult, class_names: Sequence[str], noun: str) -> str:
    """Say a confusion matrix in words, for who cannot see the figure."""
    parts = []
    for name, row in zip(class_names, result.confusion, strict=True):
        called = ", ".join(
            f"{n:,} as {other}" for n, other in zip(row, class_names, strict=True) if n
        )
        parts.append(
            f"Of {count(int(row.sum()), f'{name} {noun}')}: {called}"
            if row.sum()
            else f"There is no {name} {noun}"
        )
    return ". ".join(parts) + "."
