"""Figures of how good a model is and of what tiles are like, drawn with matplotlib.

They are drawn with its object interface: no window system, no global figures.
`render_png` and `render_inline_svg` turn them into files or pages.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.evaluation import CURVE_GRID, Curve, LevelResult
from eosin.reports.style import (
    CENTRED,
    GRID,
    INK,
    MUTED,
    SERIES,
    SURFACE,
    new_figure,
    new_panels,
    pick_colour,
)
from eosin.reports.words import CONFIDENCE, DASH, MINUS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Three beside each other fill a page; their text then has the page's size.
_SIZE_IN = (3.7, 3.4)
_SMALL = 8.5
_GUESSING: dict[str, Any] = {"color": MUTED, "lw": 1, "ls": ":", "label": "guessing"}
# By kind of curve: its area, drawn how, place of the legend, names of the axes.
_CURVES = {
    "roc": ("AUC", "default", "lower right", f"1 {MINUS} specificity", "Sensitivity"),
    "precision": ("AP", "steps-pre", "lower left", "Recall (sensitivity)", "Precision"),
}
_N_BINS = 40

MEASURE_TITLES = {
    "intensity": f"Intensity (mean grey, 0{DASH}255)",
    "saturation": f"Saturation (mean, 0{DASH}1)",
    "haematoxylin": "Haematoxylin (mean density)",
    "eosin": "Eosin (mean density)",
    "sharpness": "Sharpness (variance of the Laplacian)",
    "white_share": "White (share of the area)",
}


def draw_curves(
    kind: Literal["roc", "precision"],
    result: LevelResult,
    baseline: LevelResult | None,
    over: str,
) -> "Figure":
    """Draw a curve for every class; of two with the band over `over`, and baseline."""
    area, drawstyle, place, *titles = _CURVES[kind]
    curves: Sequence[Curve] = getattr(result, f"{kind}_curves")
    others: Sequence[Curve] = getattr(baseline, f"{kind}_curves", ())
    # Of more classes the band and the baseline would tangle.
    is_one = len(curves) == 1
    with new_figure(*_SIZE_IN) as (figure, axes):
        if kind == "roc":
            axes.plot([0, 1], [0, 1], **_GUESSING)
        elif is_one and curves[0].chance is not None:
            axes.axhline(curves[0].chance, **_GUESSING)
        for i, curve in enumerate(curves):
            # With one curve, orange as everywhere for the positive class.
            colour = pick_colour(i + is_one)
            if curve.band is not None and is_one:
                words = f"{CONFIDENCE} band over {over}"
                ends, look = (curve.band.low, curve.band.high), {"alpha": 0.16, "lw": 0}
                axes.fill_between(CURVE_GRID, *ends, label=words, color=colour, **look)
            words = f"{curve.class_name}: {area} {curve.area:.2f}"
            line = {"color": colour, "drawstyle": drawstyle, "label": words}
            axes.plot(curve.x, curve.y, **line)
        if len(others) == 1:
            words = f"mean colour alone: {area} {others[0].area:.2f}"
            line = {"color": INK, "drawstyle": drawstyle, "label": words}
            axes.plot(others[0].x, others[0].y, lw=1.2, ls="--", **line)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), box_aspect=0.9)
        axes.set(xlabel=titles[0], ylabel=titles[1])
        frame = {"facecolor": SURFACE, "edgecolor": GRID, "framealpha": 0.85}
        axes.legend(loc=place, frameon=True, **frame)
    return figure


def draw_confusion(result: LevelResult, class_names: Sequence[str]) -> "Figure":
    """Draw counts by label and called class, shaded by their share of the label."""
    counts, n = result.confusion, len(class_names)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    size_in = max(3.7, 1.4 + 0.75 * n), max(3.4, 1.0 + 0.7 * n)
    with new_figure(*size_in) as (figure, axes):
        # Blue on the diagonal, where calls are right.
        strengths = (0.06 + 0.44 * shares) * np.where(np.eye(n, dtype=bool), -1, 1)
        _shade_cells(axes, strengths, class_names)
        for row, column in np.ndindex(n, n):
            look = CENTRED | {"weight": "bold" if row == column else "normal"}
            number = f"{counts[row, column]:,}"
            axes.text(column, row - 0.1, number, size=13 if n <= 3 else 10, **look)
            share = f"{shares[row, column]:.0%}" if totals[row, 0] else "no row"
            axes.text(column, row + 0.22, share, size=_SMALL, **CENTRED)
        axes.set(xlabel="Called by the model", ylabel="Truth")
    return figure


def draw_reliability(result: LevelResult, nouns: str) -> "Figure":
    """Draw how often rows (`nouns`) of a probability came true, and how many were."""
    bins = result.reliability
    is_filled = bins.n > 0
    width = 1 / len(bins.n)
    middles = (np.arange(len(bins.n)) + 0.5) * width
    heights = {"height_ratios": [4, 1]}
    with new_figure(*_SIZE_IN, 2, sharex=True, gridspec_kw=heights) as (figure, panels):
        axes, below = panels
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=":")
        observed = bins.mean_probability[is_filled], bins.observed_share[is_filled]
        axes.plot(*observed, color=SERIES[0], marker="o", markersize=5)
        axes.set(ylabel="Observed share", xlim=(0, 1), ylim=(-0.02, 1.02))
        below.bar(middles, bins.n, width=0.9 * width, color=SERIES[0], alpha=0.5)
        below.grid(visible=False)
        below.set(xlabel="Probability given by the model", ylabel=nouns)
        below.locator_params("y", nbins=2, integer=True, steps=None)
    return figure


def draw_score_histogram(
    result: LevelResult, class_names: Sequence[str], nouns: str
) -> "Figure":
    """Draw how the probabilities of each class's rows (`nouns`) are spread."""
    edges = np.linspace(0, 1, 21)
    of = class_names[1] if len(class_names) == 2 else "the called class"
    with new_figure(*_SIZE_IN) as (figure, axes):
        for i, name in enumerate(class_names):
            scores = result.scores_by_class[i]
            if len(scores):
                shares = np.histogram(scores, edges)[0] / len(scores)
                _draw_steps(axes, shares, edges, i, f"{name} ({len(scores):,})")
        if result.threshold is not None and not result.threshold_range:
            words = f"threshold {result.threshold:.2f}"
            axes.axvline(result.threshold, color=INK, lw=1.2, ls="--", label=words)
        axes.set(xlim=(0, 1), xlabel=f"Probability of {of}")
        axes.set(ylabel=f"Share of the class's {nouns}")
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        # Above the axes, where no bar can lie under it.
        figure.legend(loc="outside upper left", ncols=min(3, len(class_names)))
    return figure


def draw_balance(counts: pd.DataFrame) -> "Figure":
    """Draw the share of each class (a column) in each split (a row) of tiles."""
    splits = range(len(counts))
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0).to_numpy()
    lefts = shares.cumsum(axis=1) - shares
    with new_figure(7.4, 0.9 + 0.55 * len(counts)) as (figure, axes):
        axes.grid(visible=False)
        for i, name in enumerate(counts.columns):
            colour = MUTED if name == "unlabelled" else pick_colour(i)
            look = {"left": lefts[:, i], "color": colour, "alpha": 0.6}
            axes.barh(splits, shares[:, i], label=name, **look)
        for column, row in np.argwhere(shares.T >= 0.08):
            share = shares[row, column]
            words = f"{counts.iloc[row, column]:,} ({share:.0%})"
            middle = lefts[row, column] + share / 2
            axes.text(middle, row, words, size=_SMALL, **CENTRED)
        axes.set(xlim=(0, 1), ylim=(len(counts) - 0.4, -0.6), xticks=[])
        axes.set_yticks(splits, counts.index.astype(str))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.legend(loc="outside upper left", ncols=min(5, len(counts.columns)))
    return figure


def bin_measures(
    measures: pd.DataFrame,
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """Count each class's measures in bins: `measure, class_name, low, high, n, share`.

    A label of -1 is none; where no tile has one, all are the class `all`. What lies
    beyond the 0.5 % at either end counts in the first or last bin. Sharpness has bins
    of equal ratio.
    """
    groups = {name: labels == i for i, name in enumerate(class_names)}
    if not (labels >= 0).any():
        groups = {"all": np.ones(len(labels), bool)}
    parts = []
    for measure in MEASURE_TITLES:
        values = measures[measure].to_numpy(np.float64)
        is_known = np.isfinite(values)
        if not is_known.any():
            continue
        edges = _find_edges(values[is_known], is_log=measure == "sharpness")
        for name, is_own in groups.items():
            own = np.clip(values[is_own & is_known], edges[0], edges[-1])
            bins: dict[str, Any] = {"measure": measure, "class_name": name}
            bins |= {"low": edges[:-1], "high": edges[1:]}
            parts.append(pd.DataFrame(bins | {"n": np.histogram(own, edges)[0]}))
            parts[-1]["share"] = parts[-1]["n"] / max(1, len(own))
    return pd.concat(parts, ignore_index=True)


def draw_distributions(bins: pd.DataFrame) -> "Figure":
    """Draw how each measure is spread in each class, by `bin_measures`."""
    measures = bins["measure"].unique()
    with new_panels(len(measures), 3, (3.4, 2.6)) as (figure, panels):
        for axes, measure in zip(panels, measures, strict=True):
            own = bins[bins["measure"] == measure]
            for i, (name, part) in enumerate(own.groupby("class_name", sort=False)):
                if part["n"].sum():
                    edges = np.array([*part["low"], part["high"].iloc[-1]])
                    _draw_steps(axes, part["share"].to_numpy(), edges, i, str(name))
            if measure == "sharpness":
                _use_ratio_scale(axes)
            axes.set_title(MEASURE_TITLES[measure], fontsize=9.5)
            axes.set_yticks([])
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=6)
    return figure


def draw_correlations(table: pd.DataFrame) -> "Figure":
    """Draw a square of correlations, shaded by their size; NaN where there is none."""
    names = [str(name).removesuffix("_share") for name in table.columns]
    values = table.to_numpy(np.float64)
    size_in = 1.6 + 0.62 * len(names), 1.3 + 0.5 * len(names)
    with new_figure(*size_in) as (figure, axes):
        known = np.nan_to_num(values)
        _shade_cells(axes, np.copysign(0.05 + 0.55 * np.abs(known), known), names)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        for (row, column), value in np.ndenumerate(values):
            text = DASH if np.isnan(value) else f"{value:.2f}"
            text = text.replace("-", MINUS)
            axes.text(column, row, text, size=_SMALL, **CENTRED)
    return figure


def _draw_steps(
    axes: "Axes", shares: Any, edges: npt.NDArray[np.float64], i: int, label: str
) -> None:
    """Draw a histogram's outline over its tinted area, in the colour of series `i`."""
    colour = pick_colour(i)
    axes.stairs(shares, edges, color=colour, linewidth=1.7, label=label)
    axes.stairs(shares, edges, fill=True, alpha=0.16, color=colour)


def _shade_cells(
    axes: "Axes", strengths: npt.NDArray[np.float64], names: Sequence[str]
) -> None:
    """Draw a square of cells, orange above 0 and blue below, as strong as they say."""
    from matplotlib.patches import Rectangle

    n = len(names)
    axes.grid(visible=False)
    for (row, column), strength in np.ndenumerate(strengths):
        corner, colour = (column - 0.48, row - 0.47), SERIES[int(strength > 0)]
        look: dict[str, Any] = {"facecolor": colour, "alpha": abs(strength), "lw": 0}
        axes.add_patch(Rectangle(corner, 0.96, 0.94, **look))
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    axes.set_xticks(range(n), names)
    axes.set_yticks(range(n), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _use_ratio_scale(axes: "Axes") -> None:
    """Set a logarithmic axis, with plain numbers: no text here is mathematics."""
    from matplotlib import ticker

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
    space = np.geomspace if is_log else np.linspace
    return np.asarray(space(low, high, _N_BINS + 1))
