"""The figure of a learning-rate range test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from eosin.reports.style import INK, MUTED, figure_style, make_figure, pick_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_IN = (4.8, 4.2)


@dataclass(frozen=True, eq=False)
class LearningRatePanel:
    """One test, as the figure shows it.

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


def draw_learning_rates(panels: Sequence[LearningRatePanel]) -> "Figure":
    """Draw the loss over the learning rate, a panel for each test.

    Args:
        panels: One or more.
    """
    width, height = _SIZE_IN
    with figure_style():
        figure = make_figure(width * len(panels), height)
        grid = figure.subplots(1, len(panels), squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=True):
            _draw_panel(axes, panel)
    return figure


def _draw_panel(axes: "Axes", panel: LearningRatePanel) -> None:
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


def _find_limits(
    smoothed: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
) -> tuple[float, float]:
    """Show where the loss falls; its explosion would press that flat."""
    lowest, first = float(smoothed.min()), float(smoothed[0])
    room = max(first - lowest, 0.1 * abs(first), 1e-6)
    return lowest - 0.3 * room, first + 0.8 * room
