"""The figures of an interpretation, each as a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.reports.grouped_points import MOST_GROUPS, draw_panels
from eosin.reports.style import INK, SERIES, figure_style, make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More points than that are ink.
_MOST_POINTS = 5000


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

    def finish(axes: "Axes") -> None:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        _write_numbers(axes, places, np.asarray(numbers))

    return draw_panels(
        places, factors, _choose_largest, finish, most_points=_MOST_POINTS, height=4.1
    )


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


def _choose_largest(_: str, groups: "pd.Series[Any]") -> list[str]:
    largest = set(groups.value_counts().index[:MOST_GROUPS])
    return [str(name) for name in groups.cat.categories if name in largest]


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
