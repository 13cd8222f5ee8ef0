"""The figures of a limit study, each as a matplotlib figure."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eosin.reports.style import INK, MUTED, figure_style, make_figure, pick_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CEILINGS = {
    "features": ("ceiling of the features", INK, "--"),
    "colour": ("ceiling of mean colour alone", MUTED, ":"),
}


def draw_by_rate(
    summary: pd.DataFrame,
    measure: str,
    label: str,
    *,
    bag_size: int,
    ceilings: pd.DataFrame | None = None,
    lines: "Sequence[float]" = (),
    floor: float = 0.0,
) -> "Figure":
    """Draw a measure against the witness rate, a line per aggregator.

    A row of panels per training, a column per number of training bags.

    Args:
        summary: `training, bags, aggregator, rate`, the measure and, where there is an
            interval, `<measure>_low` and `<measure>_high`.
        measure: A column.
        label: What the axis says.
        bag_size: Instances of a bag.
        ceilings: `source, rate` and the measure. None draws none.
        lines: Heights of level lines.
        floor: Where the axis starts, unless something lies lower.
    """
    trainings = list(dict.fromkeys(summary["training"]))
    sizes = sorted(summary["bags"].unique().tolist())
    names = list(dict.fromkeys(summary["aggregator"]))
    with figure_style():
        # Narrower, the legend would be cut.
        width = max(7.4, 1.0 + 2.7 * len(sizes))
        figure = make_figure(width, 0.8 + 2.5 * len(trainings))
        panels = figure.subplots(
            len(trainings), len(sizes), sharex=True, sharey=True, squeeze=False
        )
        for row, training in enumerate(trainings):
            for column, size in enumerate(sizes):
                axes = panels[row][column]
                own = summary[
                    (summary["training"] == training) & (summary["bags"] == size)
                ]
                _draw_panel(axes, own, measure, names, ceilings)
                for height in lines:
                    axes.axhline(height, color=MUTED, linewidth=0.9, linestyle="-")
                axes.set_title(f"{size:,} bags, {say_training(training)}")
                if column == 0:
                    axes.set_ylabel(label)
                if row == len(trainings) - 1:
                    axes.set_xlabel(f"witnesses of {bag_size}")
        _set_ticks(panels[0][0], summary["rate"], bag_size)
        shown = summary.filter(regex=f"^{measure}(_low)?$").to_numpy(np.float64)
        panels[0][0].set_ylim(min(floor, float(np.nanmin(shown))) - 0.02, 1.02)
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3)
    return figure


def say_training(training: str) -> str:
    """Say what the training bags held, for a heading."""
    word = "at" if training.isdecimal() else "on"
    return f"trained {word} {training}"


def _draw_panel(
    axes: "Axes",
    own: pd.DataFrame,
    measure: str,
    names: "Sequence[str]",
    ceilings: pd.DataFrame | None,
) -> None:
    for i, name in enumerate(names):
        part = own[own["aggregator"] == name].sort_values("rate")
        rates = part["rate"].to_numpy()
        axes.plot(
            rates, part[measure], color=pick_colour(i), marker="o", ms=3.5, label=name
        )
        if f"{measure}_low" in part:
            axes.fill_between(
                rates,
                part[f"{measure}_low"],
                part[f"{measure}_high"],
                color=pick_colour(i),
                alpha=0.14,
                linewidth=0,
            )
    if ceilings is not None:
        for source, part in ceilings.groupby("source", sort=False):
            text, colour, style = _CEILINGS[str(source)]
            ordered = part.sort_values("rate")
            axes.plot(
                ordered["rate"],
                ordered[measure],
                color=colour,
                linestyle=style,
                linewidth=1.4,
                label=text,
            )


def _set_ticks(axes: "Axes", rates: Any, bag_size: int) -> None:
    ticks = np.sort(np.unique(np.asarray(rates)))
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{rate * bag_size:g}" for rate in ticks])
    axes.minorticks_off()
