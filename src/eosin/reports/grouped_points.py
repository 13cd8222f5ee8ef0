"""Tiles as points on a plane, a panel for each factor, coloured by its groups."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.reports.style import (
    INK,
    MUTED,
    SERIES,
    figure_style,
    make_figure,
    pick_colour,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_GROUPS = len(SERIES)
"""As many groups have a colour of their own."""

_MOST_LETTERS = 22

Points = npt.NDArray[np.float64]
ChooseGroups = Callable[[str, "pd.Series[Any]"], Sequence[str]]
"""From a factor's name and categories to those that are coloured, in their order."""


def draw_panels(
    points: Points,
    factors: pd.DataFrame,
    choose: ChooseGroups,
    finish: Callable[["Axes"], None],
    *,
    most_points: int,
    height: float,
    marks_means: bool = False,
) -> "Figure":
    """Draw points, a panel for each factor.

    Args:
        points: `(tiles, 2)`; rows of NaN are left out.
        factors: Group of each tile by factor, a column each.
        choose: Which groups are coloured; the rest is grey.
        finish: Called with each panel at its end.
        most_points: Points that are drawn, spread evenly over the table: more than
            some thousands are ink, and a page of many megabytes.
        height: Of a panel, in inches.
        marks_means: Whether a diamond stands at the mean of each coloured group.
    """
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    # In no order of class or slide, so that none lies on top.
    shown = np.random.default_rng(0).permutation(known)[:most_points]
    n_columns = min(2, len(factors.columns))
    n_rows = -(-len(factors.columns) // n_columns)
    with figure_style():
        figure = make_figure(0.2 + 4.6 * n_columns, 0.3 + height * n_rows)
        grid = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
        for axes in grid[len(factors.columns) :]:
            axes.set_visible(False)
        for axes, name in zip(grid, factors.columns, strict=False):
            groups = factors[name].astype("category")
            chosen = choose(str(name), groups)
            _draw_groups(axes, points, shown, groups, chosen, marks_means=marks_means)
            axes.set_title(f"By {name}")
            finish(axes)
    return figure


def _draw_groups(
    axes: "Axes",
    points: Points,
    shown: npt.NDArray[np.int64],
    groups: "pd.Series[Any]",
    names: Sequence[str],
    *,
    marks_means: bool,
) -> None:
    values = groups.astype(object).to_numpy()
    texts = values.astype(str)
    is_other = ~np.isin(texts[shown], names)
    if is_other.any():
        known = pd.notna(values[shown[is_other]]).any()
        _draw_points(axes, points[shown[is_other]], MUTED)
        axes.scatter([], [], color=MUTED, s=20, label="others" if known else "none")
    for i, name in enumerate(names):
        is_own, colour, label = texts == name, pick_colour(i), _shorten(name)
        _draw_points(axes, points[shown[is_own[shown]]], colour)
        if marks_means:
            x, y = np.nanmean(points[is_own], axis=0)
            axes.scatter(
                x,
                y,
                color=colour,
                edgecolors=INK,
                s=60,
                linewidths=1,
                marker="D",
                label=label,
            )
        else:
            axes.scatter([], [], color=colour, s=20, label=label)
    axes.legend(loc="best", markerscale=0.8 if marks_means else 1.0, fontsize=8)


def _draw_points(axes: "Axes", points: Points, colour: str) -> None:
    # As pixels within the drawing: thousands of shapes would make the page slow.
    x, y = points.T
    axes.scatter(x, y, color=colour, s=9, linewidths=0, alpha=0.6, rasterized=True)


def _shorten(name: str) -> str:
    if len(name) <= _MOST_LETTERS:
        return name
    half = _MOST_LETTERS // 2
    return f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half + 1 :]}"
