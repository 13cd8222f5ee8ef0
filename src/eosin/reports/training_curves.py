"""The figures of a training: its epochs, and its learning rates."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eosin.reports.style import INK, MUTED, new_panels, pick_colour
from eosin.reports.words import name_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PANELS = 4
# Columns of a history that say nothing about how well training went.
_NOT_METRICS = {
    *("epoch", "fold", "seed", "stage"),
    *("learning_rate", "seconds", "n_tiles"),
}


def draw_history(history: pd.DataFrame) -> "Figure | None":
    """Draw how training went, a panel for each metric; None where nothing is drawn.

    Args:
        history: A row for each epoch. `val_x` is drawn beside `x`, each `fold` and
            `seed` as a line of its own; a change in `stage` is marked.
    """
    metrics = _choose_metrics(history)
    if not metrics:
        return None
    models, keys = [history], [name for name in ("fold", "seed") if name in history]
    if keys:
        models = [rows for _, rows in history.groupby(keys, sort=True)]
    with new_panels(len(metrics), 2, (3.7, 2.7)) as (figure, panels):
        for axes, metric in zip(panels, metrics, strict=True):
            _draw_metric(axes, models, metric)
    return figure


def _draw_metric(axes: "Axes", models: list[pd.DataFrame], metric: str) -> None:
    for i, (column, word) in enumerate(
        ((metric, "training"), (f"val_{metric}", "validation"))
    ):
        for number, epochs in enumerate(models if column in models[0] else ()):
            axes.plot(
                np.arange(1, len(epochs) + 1),
                epochs[column].to_numpy(dtype=float),
                color=pick_colour(i),
                ls="-" if i else "--",
                marker="o" if len(epochs) < 25 else None,
                markersize=3.5,
                label="_" + word if number else word,
            )
    if "stage" in models[0]:
        stages = models[0]["stage"].astype(str).to_numpy()
        for epoch in 1.5 + np.flatnonzero(stages[1:] != stages[:-1]):
            axes.axvline(epoch, color=MUTED, lw=1, ls=":")
    axes.set(title=name_columns(metric)[metric], xlabel="Epoch")
    axes.locator_params("x", nbins=8, integer=True, steps=None)
    axes.legend(loc="best")


def _choose_metrics(history: pd.DataFrame) -> list[str]:
    """Choose the metrics to draw: the loss first, then those with a validation."""
    numbers = history.select_dtypes("number").dropna(axis=1, how="all").columns
    names = dict.fromkeys(name.removeprefix("val_") for name in numbers)
    shown = [name for name in names if name not in _NOT_METRICS]
    shown.sort(key=lambda name: (name != "loss", f"val_{name}" not in numbers))
    return shown[:_MOST_PANELS]


def draw_learning_rates(
    tests: Mapping[str, tuple[pd.DataFrame, Mapping[str, float | None]]],
) -> "Figure":
    """Draw the loss over the learning rate, a panel for each test.

    Args:
        tests: By title. A table with the columns `learning_rate`, `loss` and
            `smoothed`, a row for each step; and the rates of the smoothed loss that
            are called `steepest`, `lowest` and `suggested`, None where there is none.
    """
    with new_panels(len(tests), len(tests), (4.8, 3.9)) as (figure, panels):
        for axes, (title, (steps, rates)) in zip(panels, tests.items(), strict=True):
            axes.set_title(title)
            _draw_rates(axes, steps, rates)
    return figure


def _draw_rates(
    axes: "Axes", steps: pd.DataFrame, marks: Mapping[str, float | None]
) -> None:
    rates, smoothed = steps["learning_rate"], steps["smoothed"]
    thin: dict[str, Any] = {"lw": 0.8, "label": "each step"}
    axes.plot(rates, steps["loss"], color=pick_colour(5), **thin)
    axes.plot(rates, smoothed, color=pick_colour(0), label="smoothed")
    for name, marker in (("steepest", "v"), ("lowest", "o"), ("suggested", "")):
        if (rate := marks[name]) is None:
            continue
        words = f"{name}, {rate:.1e}"
        if marker:
            loss = np.interp(rate, rates, smoothed)
            axes.plot([rate], [loss], marker, color=MUTED, label=words)
        else:
            axes.axvline(rate, color=INK, lw=1.2, ls="--", label=words)
    # Where the loss falls; its explosion would press that flat.
    lowest, first = float(smoothed.min()), float(smoothed.iloc[0])
    room = max(first - lowest, 0.1 * abs(first), 1e-6)
    axes.set(xscale="log", ylim=(lowest - 0.3 * room, first + 0.8 * room))
    axes.set(xlabel="Learning rate", ylabel="Training loss")
    # Powers of ten as plain text: no text of a figure is read as mathematics.
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:.0e}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
