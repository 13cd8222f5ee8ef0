"""The figures of a training: its epochs, and its learning rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.reports.style import (
    INK,
    MUTED,
    figure_style,
    make_panels,
    pick_colour,
    whole_numbers,
)
from eosin.reports.words import name_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PANELS = 4
# Columns of a history that say nothing about how well training went.
_NOT_METRICS = {
    *("epoch", "fold", "seed", "stage"),
    *("learning_rate", "seconds", "n_tiles"),
}


@dataclass(frozen=True, eq=False)
class LearningRatePanel:
    """One range test, as its figure shows it.

    Attributes:
        title: What was trained.
        table: Columns `learning_rate`, `loss` and `smoothed`, a row for each step.
        steepest: Where the smoothed loss falls fastest; None where it never falls.
        minimum: Where it is lowest.
        suggested: What to train with; None where nothing can be said.
    """

    title: str
    table: pd.DataFrame
    steepest: float | None
    minimum: float
    suggested: float | None


def draw_history(history: pd.DataFrame) -> "Figure | None":
    """Draw how training went, a panel for each metric; None where nothing is drawn.

    Args:
        history: A row for each epoch. `val_x` is drawn beside `x`, each `fold` and
            `seed` as a line of its own; a change in `stage` is marked.
    """
    panels = _find_panels(history)
    models, keys = [history], [name for name in ("fold", "seed") if name in history]
    if keys:
        models = [rows for _, rows in history.groupby(keys, sort=True)]
    if not panels:
        return None
    with figure_style():
        figure, grid = make_panels(len(panels), 2, (3.7, 2.7))
        for axes, name in zip(grid, panels, strict=True):
            for i, column in enumerate((name, f"val_{name}")):
                if column not in history:
                    continue
                word = "validation" if i else "training"
                for number, rows in enumerate(models):
                    axes.plot(
                        np.arange(1, len(rows) + 1),
                        rows[column].to_numpy(dtype=float),
                        color=pick_colour(i),
                        linestyle="-" if i else "--",
                        marker="o" if len(rows) < 25 else None,
                        markersize=3.5,
                        label="_" + word if number else word,
                    )
            for epoch in _find_stage_changes(models[0]):
                axes.axvline(epoch, color=MUTED, linewidth=1, linestyle=":")
            axes.set(title=name_columns(name)[name], xlabel="Epoch")
            axes.xaxis.set_major_locator(whole_numbers(8))
            axes.legend(loc="best")
    return figure


def draw_learning_rates(panels: Sequence[LearningRatePanel]) -> "Figure":
    """Draw the loss over the learning rate, a panel for each test."""
    with figure_style():
        figure, grid = make_panels(len(panels), len(panels), (4.8, 3.9))
        for axes, panel in zip(grid, panels, strict=True):
            _draw_rates(axes, panel)
    return figure


def _draw_rates(axes: "Axes", panel: LearningRatePanel) -> None:
    rates = panel.table["learning_rate"].to_numpy(float)
    smoothed = panel.table["smoothed"].to_numpy(float)
    axes.plot(
        rates,
        panel.table["loss"].to_numpy(float),
        color=pick_colour(5),
        linewidth=0.8,
        label="each step",
    )
    axes.plot(rates, smoothed, color=pick_colour(0), label="smoothed")
    marks = (("steepest", panel.steepest, "v"), ("lowest", panel.minimum, "o"))
    for name, rate, marker in marks:
        if rate is not None:
            axes.plot(
                [rate],
                [np.interp(rate, rates, smoothed)],
                color=MUTED,
                linestyle="none",
                marker=marker,
                label=f"{name}, {rate:.1e}",
            )
    if panel.suggested is not None:
        axes.axvline(
            panel.suggested,
            color=INK,
            linewidth=1.2,
            linestyle="--",
            label=f"suggested, {panel.suggested:.1e}",
        )
    axes.set(
        xscale="log",
        title=panel.title,
        xlabel="Learning rate",
        ylabel="Training loss",
        ylim=_find_limits(smoothed),
    )
    # Powers of ten as plain text: names of classes may hold signs of mathematics, so
    # that no text of a figure is read as such.
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:.0e}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)


def _find_limits(smoothed: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Show where the loss falls; its explosion would press that flat."""
    lowest, first = float(smoothed.min()), float(smoothed[0])
    room = max(first - lowest, 0.1 * abs(first), 1e-6)
    return lowest - 0.3 * room, first + 0.8 * room


def _find_panels(history: pd.DataFrame) -> list[str]:
    """Choose the metrics to draw: the loss first, then those with a validation."""
    numbers = [
        str(name)
        for name in history.select_dtypes("number").columns
        if history[name].notna().any()
    ]
    names = dict.fromkeys(name.removeprefix("val_") for name in numbers)
    shown = [name for name in names if name not in _NOT_METRICS]
    shown.sort(key=lambda name: (name != "loss", f"val_{name}" not in numbers))
    return shown[:_MOST_PANELS]


def _find_stage_changes(history: pd.DataFrame) -> list[float]:
    if "stage" not in history:
        return []
    stages = history["stage"].astype(str).to_numpy()
    return [float(i) + 0.5 for i in range(1, len(stages)) if stages[i] != stages[i - 1]]
