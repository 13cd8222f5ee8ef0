"""Figures of what tiles are like, each as a matplotlib figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.reports.style import (
    MUTED,
    draw_steps,
    figure_style,
    make_figure,
    make_panels,
    pick_colour,
    shade_cells,
    write_centred,
)
from eosin.reports.words import DASH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_BINS = 40

MEASURE_TITLES = {
    "intensity": f"Intensity (mean grey, 0{DASH}255)",
    "saturation": f"Saturation (mean, 0{DASH}1)",
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
    totals = np.maximum(counts.sum(axis=1).to_numpy(), 1)
    left = np.zeros(n_rows)
    with figure_style():
        figure = make_figure(7.4, 0.9 + 0.55 * n_rows)
        axes = figure.subplots()
        axes.grid(visible=False)
        for i, name in enumerate(counts.columns):
            own = counts[name].to_numpy(np.int64)
            shares = own / totals
            colour = MUTED if name == "unlabelled" else pick_colour(i)
            axes.barh(
                range(n_rows), shares, left=left, color=colour, alpha=0.6, label=name
            )
            for row in np.flatnonzero(shares >= 0.08).tolist():
                words = f"{own[row]:,} ({shares[row]:.0%})"
                write_centred(axes, left[row] + shares[row] / 2, row, words)
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
        is_known = np.isfinite(values)
        if not is_known.any():
            continue
        edges = _find_edges(values[is_known], is_log=measure == "sharpness")
        for name, is_own in groups:
            own = values[is_own & is_known]
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
    """Draw how each measure is spread in each class, by `bin_measures`."""
    panels = list(dict.fromkeys(bins["measure"]))
    with figure_style():
        figure, grid = make_panels(len(panels), 3, (3.4, 2.6))
        for axes, measure in zip(grid, panels, strict=True):
            own = bins[bins["measure"] == measure]
            for i, (name, part) in enumerate(own.groupby("class_name", sort=False)):
                if part["n"].sum():
                    edges = np.array([*part["low"], part["high"].iloc[-1]])
                    draw_steps(axes, part["share"].to_numpy(), edges, i, str(name))
            if measure == "sharpness":
                _use_ratio_scale(axes)
            axes.set_title(MEASURE_TITLES[measure], fontsize=9.5)
            axes.set_yticks([])
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
        if panels:
            handles, names = grid[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside upper left", ncols=6)
    return figure


def draw_correlations(table: pd.DataFrame) -> "Figure":
    """Draw a matrix of correlations, shaded by their size.

    Args:
        table: Square, -1 to 1, NaN where there is none.
    """
    names = [str(name).removesuffix("_share") for name in table.columns]
    values = table.to_numpy(np.float64)
    with figure_style():
        figure = make_figure(1.6 + 0.62 * len(names), 1.3 + 0.5 * len(names))
        axes = figure.subplots()
        known = np.nan_to_num(values)
        shade_cells(axes, np.copysign(0.05 + 0.55 * np.abs(known), known), names)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        for (row, column), value in np.ndenumerate(values):
            text = DASH if np.isnan(value) else f"{value:.2f}"
            write_centred(axes, column, row, text.replace("-", "\N{MINUS SIGN}"))
    return figure


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
