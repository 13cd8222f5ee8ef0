"""The figures of an exploration, each as a matplotlib figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.reports.grouped_points import MOST_GROUPS, draw_panels
from eosin.reports.style import MUTED, SERIES, figure_style, make_figure, pick_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

_N_BINS = 40
# More points than that are ink, and a page of many megabytes.
_MOST_POINTS = 3000

MEASURE_TITLES = {
    "intensity": "Intensity (mean grey, 0\N{EN DASH}255)",
    "saturation": "Saturation (mean, 0\N{EN DASH}1)",
    "haematoxylin": "Haematoxylin (mean density)",
    "eosin": "Eosin (mean density)",
    "sharpness": "Sharpness (variance of the Laplacian)",
    "white_share": "White (share of the area)",
}


def draw_balance(counts: pd.DataFrame) -> "Figure":
    """Draw the share of each class in each split, with the number of tiles.

    Args:
        counts: Tiles by split (rows) and class (columns); a last column `unlabelled`
            where there are such tiles.
    """
    n_rows = len(counts)
    with figure_style():
        figure = make_figure(7.4, 0.9 + 0.55 * n_rows)
        axes = figure.subplots()
        axes.grid(visible=False)
        totals = counts.sum(axis=1).to_numpy()
        left = np.zeros(n_rows)
        for i, name in enumerate(counts.columns):
            own = counts[name].to_numpy(np.int64)
            shares = own / np.maximum(totals, 1)
            colour = MUTED if name == "unlabelled" else pick_colour(i)
            axes.barh(
                range(n_rows), shares, left=left, color=colour, alpha=0.6, label=name
            )
            for row in np.flatnonzero(shares >= 0.08).tolist():
                axes.text(
                    left[row] + shares[row] / 2,
                    row,
                    f"{own[row]:,} ({shares[row]:.0%})",
                    ha="center",
                    va="center",
                    fontsize=8.5,
                )
            left += shares
        axes.set(xlim=(0, 1), ylim=(n_rows - 0.4, -0.6))
        axes.set_yticks(range(n_rows), [str(name) for name in counts.index])
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.legend(loc="outside upper left", ncols=min(5, len(counts.columns)))
    return figure


def bin_measures(
    measures: pd.DataFrame,
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """Count the measures of each class in bins, as `draw_distributions` draws them.

    Args:
        measures: One row per tile; the columns that have a title.
        labels: Label of each, -1 without one.
        class_names: In the order of the labels.

    Returns:
        `measure, class_name, low, high, n, share`. What lies beyond the 0.5 % at
        either end counts in the first or last bin. Sharpness has bins of equal
        ratio. Where no tile has a label, all are one class, `all`.
    """
    groups = [(name, labels == i) for i, name in enumerate(class_names)]
    if not (labels >= 0).any():
        groups = [("all", np.ones(len(labels), bool))]
    rows = []
    for measure in MEASURE_TITLES:
        values = measures[measure].to_numpy(np.float64)
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        edges = _find_edges(known, is_log=measure == "sharpness")
        for name, is_own in groups:
            own = values[is_own & np.isfinite(values)]
            counts = np.histogram(np.clip(own, edges[0], edges[-1]), edges)[0]
            shares = counts / max(1, len(own))
            rows += [
                (measure, name, *row)
                for row in zip(edges[:-1], edges[1:], counts, shares, strict=True)
            ]
    return pd.DataFrame(
        rows, columns=["measure", "class_name", "low", "high", "n", "share"]
    )


def draw_distributions(bins: pd.DataFrame) -> "Figure":
    """Draw how each measure is spread in each class.

    Args:
        bins: From `bin_measures`.
    """
    panels = list(dict.fromkeys(bins["measure"]))
    n_rows = max(1, -(-len(panels) // 3))
    with figure_style():
        figure = make_figure(10.4, 0.4 + 2.5 * n_rows)
        grid = figure.subplots(n_rows, 3, squeeze=False)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        for axes, measure in zip(grid.flat, panels, strict=False):
            own = bins[bins["measure"] == measure]
            for i, (name, part) in enumerate(own.groupby("class_name", sort=False)):
                if part["n"].sum() == 0:
                    continue
                edges = [*part["low"], part["high"].iloc[-1]]
                colour = pick_colour(i)
                shares = part["share"].to_numpy()
                axes.stairs(shares, edges, color=colour, linewidth=1.6, label=name)
                axes.stairs(shares, edges, fill=True, alpha=0.16, color=colour)
            if measure == "sharpness":
                _use_ratio_scale(axes)
            axes.set_title(MEASURE_TITLES[measure], fontsize=9.5)
            axes.set_yticks([])
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
        if panels:
            handles, names = grid.flat[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside upper left", ncols=6)
    return figure


def draw_correlations(table: pd.DataFrame) -> "Figure":
    """Draw a matrix of correlations, shaded by their size.

    Args:
        table: Square, -1 to 1, NaN where there is none.
    """
    names = [str(name).removesuffix("_share") for name in table.columns]
    n = len(names)
    with figure_style():
        figure = make_figure(1.6 + 0.62 * n, 1.3 + 0.5 * n)
        axes = figure.subplots()
        axes.grid(visible=False)
        values = table.to_numpy(np.float64)
        for row, column in np.ndindex(n, n):
            value = float(values[row, column])
            if np.isnan(value):
                text, strength = "\N{EN DASH}", 0.0
            else:
                text, strength = f"{value:.2f}".replace("-", "\N{MINUS SIGN}"), value
            axes.add_patch(_make_cell(column, row, strength))
            axes.text(column, row, text, ha="center", va="center", fontsize=8.5)
        axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
        axes.set_xticks(range(n), names, rotation=40, ha="right")
        axes.set_yticks(range(n), names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def draw_colour_map(
    points: npt.NDArray[np.float64],
    shares: npt.NDArray[np.float64],
    factors: pd.DataFrame,
) -> "Figure":
    """Draw tiles on the two directions of their colour, a panel for each factor.

    Args:
        points: `(tiles, 2)`; rows of NaN are left out.
        shares: Part of the variance of each direction, `(2,)`.
        factors: Group of each tile by factor; a column each, whose categories, if it
            has any, are the order of the colours. Of more than six groups six are
            coloured: of slides those of the oddest colour, else the largest.
    """

    def choose(name: str, groups: "pd.Series[Any]") -> list[str]:
        return _choose_groups(points, groups, by_colour=name == "slide")

    def finish(axes: "Axes") -> None:
        axes.set(
            xlabel=f"Darker \N{RIGHTWARDS ARROW} ({shares[0]:.0%} of the variance)",
            ylabel=f"Second direction ({shares[1]:.0%})",
        )

    return draw_panels(
        points,
        factors,
        choose,
        finish,
        most_points=_MOST_POINTS,
        height=3.9,
        marks_means=True,
    )


def _use_ratio_scale(axes: "Axes") -> None:
    """Set a logarithmic axis, with plain numbers: no text here is mathematics."""
    from matplotlib import ticker  # noqa: PLC0415  only drawing needs it

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 3), numticks=6))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.5g}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())


def _find_edges(
    values: npt.NDArray[np.float64], *, is_log: bool
) -> npt.NDArray[np.float64]:
    low, high = np.percentile(values, (0.5, 99.5))
    if is_log:
        low, high = max(low, 1e-2), max(high, 2e-2)
    if high <= low:
        low, high = (low / 2, low * 2) if is_log else (low - 0.5, low + 0.5)
    if is_log:
        return np.asarray(np.geomspace(low, high, _N_BINS + 1))
    return np.linspace(low, high, _N_BINS + 1)


def _make_cell(x: int, y: int, value: float) -> "Rectangle":
    from matplotlib import patches  # noqa: PLC0415  only drawing needs it

    return patches.Rectangle(
        (x - 0.48, y - 0.47),
        0.96,
        0.94,
        facecolor=SERIES[1] if value > 0 else SERIES[0],
        alpha=0.05 + 0.55 * abs(value),
        linewidth=0,
    )


def _choose_groups(
    points: npt.NDArray[np.float64], groups: "pd.Series[Any]", *, by_colour: bool
) -> list[str]:
    """Choose the groups to colour, in the order in which they are named."""
    table = pd.DataFrame(points, columns=["x", "y"])
    table["group"] = groups.astype(object).astype(str).to_numpy()
    table = table[groups.notna().to_numpy() & table["x"].notna()]
    sizes = table["group"].value_counts()
    chosen = list(sizes.index)
    if by_colour and len(chosen) > MOST_GROUPS:
        # A mean of two tiles is odd by chance.
        large = sizes.index[sizes >= min(5, sizes.max())]
        means = table[table["group"].isin(large)].groupby("group")[["x", "y"]].mean()
        away = (means - means.median()).pow(2).sum(axis=1)
        chosen = list(away.sort_values(ascending=False).index)
    shown = set(chosen[:MOST_GROUPS])
    return [str(name) for name in groups.cat.categories if str(name) in shown]
