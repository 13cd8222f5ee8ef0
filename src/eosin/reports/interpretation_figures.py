"""The figures of an interpretation, each as a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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

# More points than that are ink.
_MOST_POINTS = 5000
_MOST_GROUPS = len(SERIES)
_MOST_LETTERS = 22


def draw_feature_map(
    places: npt.NDArray[np.float64], factors: pd.DataFrame, numbers: Sequence[int]
) -> "Figure":
    """Draw tiles on a map of the feature space, a panel for each factor.

    Args:
        places: `(tiles, 2)`; rows of NaN are left out.
        factors: Group of each tile by factor, a column each; categories, if a column
            has any, are in the order of the colours. Of more than six groups the six
            largest are coloured.
        numbers: Cluster of each tile, from 1; written where its tiles are.
    """
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    # In no order of class or slide, so that none lies on top.
    shown = np.random.default_rng(0).permutation(known)[:_MOST_POINTS]
    n_columns = min(2, len(factors.columns))
    n_rows = -(-len(factors.columns) // n_columns)
    with figure_style():
        figure = make_figure(0.2 + 4.6 * n_columns, 0.3 + 4.1 * n_rows)
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        for axes in list(grid.flat)[len(factors.columns) :]:
            axes.set_visible(False)
        for axes, name in zip(grid.flat, factors.columns, strict=False):
            groups = factors[name].astype("category")
            _draw_groups(axes, places, shown, groups)
            axes.set_title(f"By {name}")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
            _write_numbers(axes, places, np.asarray(numbers))
    return figure


def draw_silhouettes(silhouettes: Mapping[int, float], chosen: int) -> "Figure":
    """Draw the mean silhouette by number of clusters.

    Args:
        silhouettes: -1 to 1, by number of clusters.
        chosen: The number that was taken.
    """
    numbers = sorted(silhouettes)
    with figure_style():
        figure = make_figure(4.6, 2.6)
        axes = figure.subplots()
        values = [silhouettes[k] for k in numbers]
        axes.plot(numbers, values, color=SERIES[0], marker="o", markersize=4)
        if chosen in silhouettes:
            axes.plot(chosen, silhouettes[chosen], "o", color=SERIES[1], markersize=9)
        axes.set(xlabel="Clusters", ylabel="Mean silhouette")
        axes.set_xticks(numbers)
    return figure


def _draw_groups(
    axes: "Axes",
    places: npt.NDArray[np.float64],
    shown: npt.NDArray[np.int64],
    groups: pd.Series,
) -> None:
    values = groups.astype(object).to_numpy()
    largest = set(groups.value_counts().index[:_MOST_GROUPS])
    names = [name for name in groups.cat.categories if name in largest]
    is_other = ~np.isin(values[shown].astype(str), [str(name) for name in names])
    if is_other.any():
        known = pd.notna(values[shown[is_other]]).any()
        _draw_points(axes, places[shown[is_other]], MUTED)
        axes.scatter([], [], color=MUTED, s=20, label="others" if known else "none")
    for i, name in enumerate(names):
        is_own = values[shown].astype(str) == str(name)
        _draw_points(axes, places[shown[is_own]], pick_colour(i))
        axes.scatter([], [], color=pick_colour(i), s=20, label=_shorten(str(name)))
    axes.legend(loc="best", fontsize=8)


def _draw_points(axes: "Axes", places: npt.NDArray[np.float64], colour: str) -> None:
    # As pixels within the drawing: thousands of shapes would make the page slow.
    x, y = places.T
    axes.scatter(x, y, color=colour, s=9, linewidths=0, alpha=0.6, rasterized=True)


def _write_numbers(
    axes: "Axes", places: npt.NDArray[np.float64], numbers: npt.NDArray[np.int64]
) -> None:
    for number in np.unique(numbers):
        own = places[(numbers == number) & np.isfinite(places).all(axis=1)]
        if len(own):
            # The median, because a cluster may lie in several parts of the map.
            x, y = np.median(own, axis=0)
            axes.text(
                x, y, str(number), ha="center", va="center", color=INK, weight="bold"
            )


def _shorten(name: str) -> str:
    if len(name) <= _MOST_LETTERS:
        return name
    half = _MOST_LETTERS // 2
    return f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half + 1 :]}"
