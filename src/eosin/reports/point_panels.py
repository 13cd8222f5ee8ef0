"""Tiles as points on a plane, a panel for each factor, coloured by its groups."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.reports.style import (
    CENTRED,
    INK,
    MUTED,
    SERIES,
    new_figure,
    new_panels,
    pick_colour,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = npt.NDArray[np.float64]

# As many groups have a colour of their own.
_MOST_GROUPS = len(SERIES)
_MOST_LETTERS = 22
# More than some thousands are ink, and a page of many megabytes.
_MOST_POINTS = 4000


def draw_colour_map(
    points: Points, shares: npt.NDArray[np.float64], factors: pd.DataFrame
) -> "Figure":
    """Draw tiles on the two directions of their colour, with the mean of each group.

    Of `points`, `(tiles, 2)`, rows of NaN are left out; `shares` are the directions'
    parts of the variance. Each column of `factors` is a panel, whose categories, if it
    has any, are the order of the colours. Of more than six groups six are coloured: of
    slides those of the oddest colour, else the largest.
    """
    axes_words = {
        "xlabel": f"Darker \N{RIGHTWARDS ARROW} ({shares[0]:.0%} of the variance)",
        "ylabel": f"Second direction ({shares[1]:.0%})",
    }
    return _draw_panels(points, factors, axes_words, {}, has_means=True)


def draw_feature_map(
    points: Points, factors: pd.DataFrame, numbers: Sequence[int]
) -> "Figure":
    """Draw tiles on a map, as `draw_colour_map`, with the number of each cluster."""
    # The median, because a cluster may lie in several parts of the map.
    middles = pd.DataFrame(points).groupby(list(numbers)).median().dropna()
    words = {str(number): (x, y) for number, x, y in middles.itertuples()}
    no_ticks: dict[str, Any] = {"xticks": [], "yticks": []}
    return _draw_panels(points, factors, no_ticks, words, has_means=False)


def draw_silhouettes(silhouettes: Mapping[int, float], chosen: int) -> "Figure":
    """Draw the mean silhouette by number of clusters, and mark the one taken."""
    numbers = sorted(silhouettes)
    with new_figure(4.6, 2.6) as (figure, axes):
        values = [silhouettes[k] for k in numbers]
        axes.plot(numbers, values, color=SERIES[0], marker="o", markersize=4)
        if chosen in silhouettes:
            axes.plot(chosen, silhouettes[chosen], "o", color=SERIES[1], markersize=9)
        axes.set(xlabel="Clusters", ylabel="Mean silhouette", xticks=numbers)
    return figure


def _draw_panels(
    points: Points,
    factors: pd.DataFrame,
    axes_words: Mapping[str, Any],
    words: Mapping[str, tuple[float, float]],
    *,
    has_means: bool,
) -> "Figure":
    """Draw a panel for each factor, with words at their places."""
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    # In no order of class or slide, so that none lies on top.
    shown = np.random.default_rng(0).permutation(known)[:_MOST_POINTS]
    with new_panels(len(factors.columns), 2, (4.7, 4.0)) as (figure, panels):
        for axes, name in zip(panels, factors.columns, strict=True):
            groups = factors[name].astype("category")
            names = _choose_groups(
                points, groups, is_by_colour=has_means and name == "slide"
            )
            _draw_groups(axes, points, shown, groups, names, has_means=has_means)
            axes.set(title=f"By {name}", **axes_words)
            for text, place in words.items():
                axes.text(*place, text, size=9.5, weight="bold", **CENTRED)
    return figure


def _choose_groups(
    points: Points, groups: "pd.Series[Any]", *, is_by_colour: bool
) -> list[str]:
    """Choose the groups to colour, in the order in which they are named."""
    table = pd.DataFrame(points, columns=["x", "y"])
    table["group"] = groups.astype(object).astype(str).to_numpy()
    table = table[groups.notna().to_numpy() & table["x"].notna()]
    sizes = table["group"].value_counts()
    chosen = sizes.index
    if is_by_colour and len(chosen) > _MOST_GROUPS:
        # A mean of two tiles is odd by chance.
        large = chosen[sizes >= min(5, sizes.max())]
        means = table[table["group"].isin(large)].groupby("group")[["x", "y"]].mean()
        away = (means - means.median()).pow(2).sum(axis=1)
        chosen = away.sort_values(ascending=False).index
    shown = set(chosen[:_MOST_GROUPS])
    return [str(name) for name in groups.cat.categories if str(name) in shown]


def _draw_groups(
    axes: "Axes",
    points: Points,
    shown: npt.NDArray[np.int64],
    groups: "pd.Series[Any]",
    names: Sequence[str],
    *,
    has_means: bool,
) -> None:
    values = groups.astype(object).to_numpy()
    texts = values.astype(str)
    is_other = ~np.isin(texts[shown], names)
    if is_other.any():
        is_known = pd.notna(values[shown[is_other]]).any()
        _draw_points(axes, points[shown[is_other]], MUTED)
        axes.scatter([], [], color=MUTED, s=20, label="others" if is_known else "none")
    for i, name in enumerate(names):
        is_own, colour = texts == name, pick_colour(i)
        _draw_points(axes, points[shown[is_own[shown]]], colour)
        mark: dict[str, Any] = {"color": colour, "label": _shorten(name)}
        if has_means:
            x, y = np.nanmean(points[is_own], axis=0)
            axes.scatter(x, y, edgecolors=INK, s=60, linewidths=1, marker="D", **mark)
        else:
            axes.scatter([], [], s=20, **mark)
    axes.legend(loc="best", markerscale=0.8 if has_means else 1.0, fontsize=8)


def _draw_points(axes: "Axes", points: Points, colour: str) -> None:
    # As pixels within the drawing: thousands of shapes would make the page slow.
    x, y = points.T
    axes.scatter(x, y, color=colour, s=9, linewidths=0, alpha=0.6, rasterized=True)


def _shorten(name: str) -> str:
    if len(name) <= _MOST_LETTERS:
        return name
    half = _MOST_LETTERS // 2
    return f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half + 1 :]}"
