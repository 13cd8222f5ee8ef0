"""The figures of a report, each as a matplotlib figure.

Drawn with matplotlib's object interface: no window system, no global figures.
`render_png`, `render_svg` and `render_inline_svg` turn them into files or pages.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from eosin.evaluation import CURVE_GRID, LEVELS, Curve, LevelResult
from eosin.reports.style import (
    GRID,
    INK,
    MUTED,
    SERIES,
    SURFACE,
    figure_style,
    make_figure,
    pick_colour,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import Formatter, Locator

# Three beside each other fill a page; their text then has the page's size.
_SIZE_IN = (3.7, 3.4)
_MOST_PANELS = 4
# Columns of a history that say nothing about how well training went.
_NOT_METRICS = {"epoch", "fold", "stage", "learning_rate", "seconds", "n_tiles"}


def draw_roc_curves(result: LevelResult, baseline: LevelResult | None) -> "Figure":
    """Draw the ROC curve of every class, with its band and the baseline's curve.

    Args:
        result: The model at one level.
        baseline: The baseline at the same level, drawn dashed; None for none.
    """
    with figure_style():
        figure = make_figure(*_SIZE_IN)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
        axes.annotate(
            "guessing",
            (0.7, 0.7),
            xytext=(4, -11),
            textcoords="offset points",
            color=MUTED,
            fontsize=8.5,
        )
        _draw_curves(axes, result, result.roc_curves, area="AUC")
        if baseline is not None:
            _draw_baseline(axes, baseline.roc_curves, area="AUC")
        axes.set(xlabel="1 \N{MINUS SIGN} specificity", ylabel="Sensitivity")
        _finish_square(axes, legend="lower right")
    return figure


def draw_precision_curves(
    result: LevelResult, baseline: LevelResult | None
) -> "Figure":
    """Draw the precision-recall curve of every class, likewise.

    Args:
        result: The model at one level.
        baseline: The baseline at the same level, drawn dashed; None for none.
    """
    with figure_style():
        figure = make_figure(*_SIZE_IN)
        axes = figure.subplots()
        for curve in result.precision_curves[:1]:
            if len(result.precision_curves) == 1 and curve.chance is not None:
                axes.axhline(curve.chance, color=MUTED, linewidth=1, linestyle=":")
                axes.annotate(
                    "guessing",
                    (0.02, curve.chance),
                    xytext=(0, 4),
                    textcoords="offset points",
                    color=MUTED,
                    fontsize=8.5,
                )
        curves = result.precision_curves
        _draw_curves(axes, result, curves, area="AP", is_step=True)
        if baseline is not None:
            _draw_baseline(axes, baseline.precision_curves, area="AP", is_step=True)
        axes.set(xlabel="Recall (sensitivity)", ylabel="Precision")
        _finish_square(axes, legend="lower left")
    return figure


def draw_confusion(result: LevelResult, class_names: Sequence[str]) -> "Figure":
    """Draw counts by label and called class, shaded by their share of the label.

    Args:
        result: The model at one level.
        class_names: In the order of the labels.
    """
    counts = result.confusion
    n = len(class_names)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(
        counts, totals, out=np.zeros(counts.shape, dtype=float), where=totals > 0
    )
    with figure_style():
        figure = make_figure(max(3.7, 1.4 + 0.75 * n), max(3.4, 1.0 + 0.7 * n))
        axes = figure.subplots()
        axes.grid(visible=False)
        for row, column in np.ndindex(n, n):
            share = shares[row, column]
            is_right = row == column
            axes.add_patch(_shaded_cell(column, row, share, is_right=is_right))
            axes.text(
                column,
                row - 0.1,
                f"{counts[row, column]:,}",
                ha="center",
                va="center",
                fontsize=13 if n <= 3 else 10,
                fontweight="bold" if is_right else "normal",
            )
            axes.text(
                column,
                row + 0.22,
                f"{share:.0%}" if totals[row, 0] else "no row",
                ha="center",
                va="center",
                fontsize=8.5,
            )
        axes.set(
            xlim=(-0.5, n - 0.5),
            ylim=(n - 0.5, -0.5),
            xlabel="Called by the model",
            ylabel="Truth",
        )
        axes.set_xticks(range(n), class_names)
        axes.set_yticks(range(n), class_names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def draw_reliability(result: LevelResult) -> "Figure":
    """Draw how often rows of a probability came true, and how many there were.

    Args:
        result: The model at one level.
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
        below.set(xlabel="Probability given by the model", ylabel=f"{result.level}s")
        below.yaxis.set_major_locator(_whole_numbers(2))
    return figure


def draw_score_histogram(result: LevelResult, class_names: Sequence[str]) -> "Figure":
    """Draw how each class's probabilities are spread, and the threshold.

    Args:
        result: The model at one level.
        class_names: In the order of the labels.
    """
    edges = np.linspace(0, 1, 21)
    is_binary = len(class_names) == 2
    with figure_style():
        figure = make_figure(*_SIZE_IN)
        axes = figure.subplots()
        for i, name in enumerate(class_names):
            scores = result.scores_by_class[i]
            if len(scores) == 0:
                continue
            shares = np.histogram(scores, edges)[0] / len(scores)
            colour = pick_colour(i)
            label = f"{name} ({len(scores):,})"
            axes.stairs(shares, edges, color=colour, linewidth=1.8, label=label)
            axes.stairs(shares, edges, fill=True, alpha=0.16, color=colour)
        if result.threshold is not None and not result.threshold_range:
            axes.axvline(result.threshold, color=INK, linewidth=1.2, linestyle="--")
            is_low = result.threshold < 0.75
            axes.annotate(
                f"threshold {result.threshold:.2f}",
                (result.threshold, 0.97),
                xycoords=("data", "axes fraction"),
                xytext=(4 if is_low else -4, 0),
                textcoords="offset points",
                ha="left" if is_low else "right",
                va="top",
                fontsize=8.5,
            )
        axes.set_xlim(0, 1)
        axes.set_xlabel(
            f"Probability of {class_names[1]}"
            if is_binary
            else "Probability of the called class"
        )
        axes.set_ylabel(f"Share of the class's {result.level}s")
        axes.yaxis.set_major_formatter(_percent())
        # Above the axes, where no bar can lie under it.
        figure.legend(loc="outside upper left", ncols=min(3, len(class_names)))
    return figure


def draw_history(history: pd.DataFrame) -> "Figure | None":
    """Draw how training went, a panel for each metric; None where nothing is drawn.

    Args:
        history: A row for each epoch. `val_x` is drawn beside `x`; a change in
            `stage` is marked.
    """
    panels = _find_panels(history)
    folds = (
        [rows for _, rows in history.groupby("fold", sort=True)]
        if "fold" in history.columns
        else [history]
    )
    if not panels:
        return None
    n_columns = min(2, len(panels))
    n_rows = -(-len(panels) // n_columns)
    with figure_style():
        figure = make_figure(3.7 * n_columns, 2.8 * n_rows)
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        for axes, name in zip(grid.flat, panels, strict=False):
            for i, column in enumerate((name, f"val_{name}")):
                if column not in history.columns:
                    continue
                word = "validation" if i else "training"
                for number, rows in enumerate(folds):
                    axes.plot(
                        np.arange(1, len(rows) + 1),
                        rows[column].to_numpy(dtype=float),
                        color=pick_colour(i),
                        linestyle="-" if i else "--",
                        marker="o" if len(rows) < 25 else None,
                        markersize=3.5,
                        label="_" + word if number else word,
                    )
            for epoch in _find_stage_changes(folds[0]):
                axes.axvline(epoch, color=MUTED, linewidth=1, linestyle=":")
            axes.set(title=_title(name), xlabel="Epoch")
            axes.xaxis.set_major_locator(_whole_numbers(8))
            axes.legend(loc="best")
    return figure


def _draw_curves(
    axes: "Axes",
    result: LevelResult,
    curves: Sequence[Curve],
    *,
    area: str,
    is_step: bool = False,
) -> None:
    # Of drawn bags the patients are not told apart.
    resampled = "patients" if result.level in LEVELS else f"{result.level}s"
    # With one curve, orange as everywhere for the positive class.
    first = 1 if len(curves) == 1 else 0
    for i, curve in enumerate(curves):
        colour = pick_colour(i + first)
        if curve.band is not None and len(curves) == 1:
            axes.fill_between(
                CURVE_GRID,
                curve.band.low,
                curve.band.high,
                color=colour,
                alpha=0.16,
                linewidth=0,
                label=f"95\N{NARROW NO-BREAK SPACE}% band over {resampled}",
            )
        axes.plot(
            curve.x,
            curve.y,
            color=colour,
            drawstyle="steps-pre" if is_step else "default",
            label=f"{curve.class_name}: {area} {curve.area:.2f}",
        )


def _draw_baseline(
    axes: "Axes", curves: Sequence[Curve], *, area: str, is_step: bool = False
) -> None:
    """Draw the baseline of two classes; with more it would only tangle."""
    if len(curves) != 1:
        return
    axes.plot(
        curves[0].x,
        curves[0].y,
        color=INK,
        linewidth=1.2,
        linestyle="--",
        drawstyle="steps-pre" if is_step else "default",
        label=f"mean colour alone: {area} {curves[0].area:.2f}",
    )


def _finish_square(
    axes: "Axes", *, legend: Literal["lower left", "lower right"]
) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_box_aspect(0.9)
    if axes.get_legend_handles_labels()[0]:
        box = axes.legend(loc=legend)
        box.set_frame_on(True)
        box.get_frame().set(facecolor=SURFACE, edgecolor=GRID, alpha=0.85)


def _shaded_cell(x: int, y: int, share: float, *, is_right: bool) -> "Patch":
    from matplotlib.patches import Rectangle  # noqa: PLC0415  only drawing needs it

    return Rectangle(
        (x - 0.48, y - 0.47),
        0.96,
        0.94,
        facecolor=SERIES[0] if is_right else SERIES[1],
        alpha=0.06 + 0.44 * share,
        linewidth=0,
    )


def _whole_numbers(most: int) -> "Locator":
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  only drawing needs it

    return MaxNLocator(most, integer=True)


def _percent() -> "Formatter":
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415  as above

    return PercentFormatter(1, decimals=0)


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


def _title(name: str) -> str:
    """Turn a column's name into words, `roc_auc` into ROC AUC."""
    words = name.replace("_", " ").replace("roc auc", "ROC AUC")
    return words[:1].upper() + words[1:]


def _find_stage_changes(history: pd.DataFrame) -> list[float]:
    if "stage" not in history.columns:
        return []
    stages = history["stage"].astype(str).to_numpy()
    return [float(i) + 0.5 for i in range(1, len(stages)) if stages[i] != stages[i - 1]]
