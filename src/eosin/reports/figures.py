"""Figures of how good a model is, each as a matplotlib figure.

Drawn with matplotlib's object interface: no window system, no global figures.
`render_png`, `render_svg` and `render_inline_svg` turn them into files or pages.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eosin.evaluation import CURVE_GRID, Curve, LevelResult
from eosin.reports.style import (
    GRID,
    INK,
    MUTED,
    SERIES,
    SURFACE,
    draw_steps,
    figure_style,
    make_figure,
    pick_colour,
    shade_cells,
    whole_numbers,
    write_centred,
)
from eosin.reports.words import CONFIDENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Three beside each other fill a page; their text then has the page's size.
_SIZE_IN = (3.7, 3.4)
_GUESSING: dict[str, Any] = {"color": MUTED, "lw": 1, "ls": ":", "label": "guessing"}


def draw_roc_curves(
    result: LevelResult, baseline: LevelResult | None, over: str
) -> "Figure":
    """Draw the ROC curve of every class, with its band and the baseline's curve.

    Args:
        result: The model at one level.
        baseline: The baseline at the same level, drawn dashed; None for none.
        over: What was drawn anew for the band.
    """
    with figure_style():
        figure = make_figure(*_SIZE_IN)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], **_GUESSING)
        other = () if baseline is None else baseline.roc_curves
        _draw_curves(axes, result.roc_curves, other, over)
        axes.set(xlabel="1 \N{MINUS SIGN} specificity", ylabel="Sensitivity")
        _finish_square(axes, legend="lower right")
    return figure


def draw_precision_curves(
    result: LevelResult, baseline: LevelResult | None, over: str
) -> "Figure":
    """Draw the precision-recall curve of every class; as `draw_roc_curves`."""
    curves = result.precision_curves
    other = () if baseline is None else baseline.precision_curves
    with figure_style():
        figure = make_figure(*_SIZE_IN)
        axes = figure.subplots()
        if len(curves) == 1 and curves[0].chance is not None:
            axes.axhline(curves[0].chance, **_GUESSING)
        _draw_curves(axes, curves, other, over, area="AP", drawstyle="steps-pre")
        axes.set(xlabel="Recall (sensitivity)", ylabel="Precision")
        _finish_square(axes, legend="lower left")
    return figure


def draw_confusion(result: LevelResult, class_names: Sequence[str]) -> "Figure":
    """Draw counts by label and called class, shaded by their share of the label."""
    counts, n = result.confusion, len(class_names)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    with figure_style():
        figure = make_figure(max(3.7, 1.4 + 0.75 * n), max(3.4, 1.0 + 0.7 * n))
        axes = figure.subplots()
        # Blue on the diagonal, where calls are right.
        strengths = (0.06 + 0.44 * shares) * np.where(np.eye(n, dtype=bool), -1, 1)
        shade_cells(axes, strengths, class_names)
        for row, column in np.ndindex(n, n):
            write_centred(
                axes,
                column,
                row - 0.1,
                f"{counts[row, column]:,}",
                size=13 if n <= 3 else 10,
                weight="bold" if row == column else "normal",
            )
            share = f"{shares[row, column]:.0%}" if totals[row, 0] else "no row"
            write_centred(axes, column, row + 0.22, share)
        axes.set(xlabel="Called by the model", ylabel="Truth")
    return figure


def draw_reliability(result: LevelResult, nouns: str) -> "Figure":
    """Draw how often rows of a probability came true, and how many there were.

    Args:
        result: The model at one level.
        nouns: What the rows are, several of them.
    """
    bins = result.reliability
    is_filled = bins.n > 0
    width = 1 / len(bins.n)
    middles = (np.arange(len(bins.n)) + 0.5) * width
    with figure_style():
        figure = make_figure(*_SIZE_IN)
        axes, below = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1]}
        )
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
        axes.plot(
            bins.mean_probability[is_filled],
            bins.observed_share[is_filled],
            color=SERIES[0],
            marker="o",
            markersize=5,
        )
        axes.set(ylabel="Observed share", xlim=(0, 1), ylim=(-0.02, 1.02))
        below.bar(middles, bins.n, width=0.9 * width, color=SERIES[0], alpha=0.5)
        below.grid(visible=False)
        below.set(xlabel="Probability given by the model", ylabel=nouns)
        below.yaxis.set_major_locator(whole_numbers(2))
    return figure


def draw_score_histogram(
    result: LevelResult, class_names: Sequence[str], nouns: str
) -> "Figure":
    """Draw how each class's probabilities are spread, and the threshold.

    Args:
        result: The model at one level.
        class_names: In the order of the labels.
        nouns: What the rows are, several of them.
    """
    edges = np.linspace(0, 1, 21)
    of = class_names[1] if len(class_names) == 2 else "the called class"
    with figure_style():
        figure = make_figure(*_SIZE_IN)
        axes = figure.subplots()
        for i, name in enumerate(class_names):
            scores = result.scores_by_class[i]
            if len(scores):
                shares = np.histogram(scores, edges)[0] / len(scores)
                draw_steps(axes, shares, edges, i, f"{name} ({len(scores):,})")
        if result.threshold is not None and not result.threshold_range:
            words = f"threshold {result.threshold:.2f}"
            axes.axvline(result.threshold, color=INK, lw=1.2, ls="--", label=words)
        axes.set(
            xlim=(0, 1),
            xlabel=f"Probability of {of}",
            ylabel=f"Share of the class's {nouns}",
        )
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        # Above the axes, where no bar can lie under it.
        figure.legend(loc="outside upper left", ncols=min(3, len(class_names)))
    return figure


def _draw_curves(
    axes: "Axes",
    curves: Sequence[Curve],
    baseline: Sequence[Curve],
    over: str,
    area: str = "AUC",
    drawstyle: Literal["default", "steps-pre"] = "default",
) -> None:
    """Draw curves, and of two classes the band and the baseline: more would tangle."""
    # With one curve, orange as everywhere for the positive class.
    is_one = len(curves) == 1
    for i, curve in enumerate(curves):
        look: dict[str, Any] = {"color": pick_colour(i + is_one)}
        if curve.band is not None and is_one:
            words = f"{CONFIDENCE} band over {over}"
            ends = curve.band.low, curve.band.high
            axes.fill_between(CURVE_GRID, *ends, alpha=0.16, lw=0, label=words, **look)
        words = f"{curve.class_name}: {area} {curve.area:.2f}"
        axes.plot(curve.x, curve.y, drawstyle=drawstyle, label=words, **look)
    if len(baseline) == 1:
        words = f"mean colour alone: {area} {baseline[0].area:.2f}"
        look = {"color": INK, "lw": 1.2, "ls": "--", "label": words}
        axes.plot(baseline[0].x, baseline[0].y, drawstyle=drawstyle, **look)


def _finish_square(
    axes: "Axes", *, legend: Literal["lower left", "lower right"]
) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_box_aspect(0.9)
    if axes.get_legend_handles_labels()[0]:
        box = axes.legend(loc=legend)
        box.set_frame_on(True)
        box.get_frame().set(facecolor=SURFACE, edgecolor=GRID, alpha=0.85)
