"""The page of a limit study: how few positive tiles are still found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from eosin.core import find_versions
from eosin.reports.page import (
    Cell,
    Figure,
    Page,
    Section,
    Table,
    describe_method,
    tabulate,
)
from eosin.reports.style import INK, MUTED, figure_style, make_figure, pick_colour
from eosin.reports.words import format_number, name_columns
from eosin.settings import LimitSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

# An AUC up to which nothing was learnt.
_GUESSING = 0.5
_CEILINGS = {
    "features": ("ceiling of the features", INK, "--"),
    "colour": ("ceiling of mean colour alone", MUTED, ":"),
}
_SCORES = (
    *("accuracy", "roc_auc", "precision", "recall"),
    *("sensitivity", "attention_auc"),
)
_CONFUSION = ("true_positive", "false_negative", "false_positive", "true_negative")


@dataclass(frozen=True, kw_only=True, eq=False)
class LimitFacts:
    """What the page of a limit study is made from.

    Attributes:
        title: Heading.
        facts: Words for the line below it.
        settings: Of the study.
        summary: Means over seeds; `eosin.studies.limit_tables` says of which
            columns, as of the next three.
        cells: One row per training, bags, aggregator, seed and witnesses.
        limits: One row per training, bags and aggregator.
        ceilings: What the features' own instance scores allow.
        sources: Patients and tiles of every side.
        cautions: What must be known, as sentences.
    """

    title: str
    facts: Sequence[str]
    settings: LimitSettings
    summary: pd.DataFrame
    cells: pd.DataFrame
    limits: pd.DataFrame
    ceilings: pd.DataFrame
    sources: pd.DataFrame
    cautions: Sequence[str]


def make_limit_page(facts: LimitFacts) -> Page:
    """Put a limit study into words, tables and figures."""
    caption = (
        "Means over seeds with their deviation; confusion is summed over seeds and "
        "folds (true positives, false negatives, false positives, true negatives)."
    )
    scores = (
        _list_scores(facts.summary, caption),
        _list_scores(facts.cells, folded="Every seed"),
    )
    return Page(
        kind="limit of detection",
        title=facts.title,
        facts=facts.facts,
        headline=_say_headline(facts),
        cautions=facts.cautions,
        sections=[
            Section("limits", "Limits of detection", (_list_limits(facts),)),
            Section("curves", "By witness rate", _draw_figures(facts)),
            Section("ceiling", "Ceiling", (_list_ceilings(facts.ceilings),)),
            Section("scores", "All cells", scores),
            Section(
                "sources", "Where the bags come from", (_list_sources(facts.sources),)
            ),
            describe_method(_describe_method(facts.settings), find_versions()),
        ],
    )


def _say_headline(facts: LimitFacts) -> list[str]:
    """Say the limit of the model that validation chose, and what the ceiling says.

    Not the best of all limits, which luck would have picked; and of the models that
    were trained on a mixture where there are any, because validation bags of one rate
    are easier than those of all.
    """
    is_mixed = ~facts.limits["training"].str.isdecimal()
    candidates = facts.limits[is_mixed] if is_mixed.any() else facts.limits
    best = candidates.sort_values("val_roc_auc", ascending=False, kind="stable").iloc[0]
    model = (
        f"{best['aggregator']} ({say_training(best['training'])}, {best['bags']:,} "
        f"bags), {_say_choice(candidates, facts.limits)}"
    )
    settings = facts.settings
    asked = f"{settings.power:.0%} of them at {settings.specificity:.0%} specificity"
    if pd.isna(best["rate"]):
        said = [f"At no witness rate are bags found, {asked}, by {model}."]
    else:
        said = [
            f"Bags with {best['limit']} witnesses are found, {asked}, by {model}.",
            f"The 95 % interval over patients and seeds is {best['interval']}.",
        ]
    if best["val_roc_auc"] <= _GUESSING:
        said.append(
            "On validation it is no better than guessing (an AUC of "
            f"{best['val_roc_auc']:.2f}): it has learnt nothing, which more bags, "
            "witnesses or epochs may change."
        )
    own = facts.ceilings[facts.ceilings["source"] == "features"]
    fewest = own.sort_values("rate").iloc[0]
    said.append(
        "A classifier that is taught the tiles' own labels tells held-out tiles with "
        f"an AUC of {fewest['instance_auc']:.3f}; seen through it, no bag score gets "
        f"beyond an AUC of {fewest['roc_auc']:.3f} at {fewest['witnesses']:.0f} of "
        f"{facts.settings.bag_size}."
    )
    return said


def _say_choice(candidates: pd.DataFrame, limits: pd.DataFrame) -> str:
    """Say how the model of the headline was come by."""
    aucs = candidates["val_roc_auc"]
    if len(limits) == 1:
        return "the only model of the study"
    if len(candidates) == 1:
        return "the only one that learnt from a mixture"
    n_best = int((aucs == aucs.max()).sum())
    if n_best == 0:
        return f"the first of {len(candidates)}, since validation could rank none"
    if n_best > 1:
        return f"the first of {n_best} that are equally good on validation"
    return "which validation chose"


def say_training(training: str) -> str:
    """Say what the training bags held, for a heading."""
    return f"trained {'at' if training.isdecimal() else 'on'} {training}"


def _describe_method(config: LimitSettings) -> dict[str, str]:
    rates = ", ".join(map(str, config.witnesses))
    sides = (
        "one split by patient into train, val and test"
        if config.folds == 1
        else f"{config.folds} folds by patient, each held out once"
    )
    return {
        "Sides": f"{sides}; bags of a side are drawn from its own patients' tiles",
        "Bags": f"{config.bag_size} tiles, half of the bags positive; test bags with "
        f"{rates} witnesses, {config.test_bags} per fold and rate",
        "Training": f"features reduced to {config.components or 'no fewer'} "
        f"components, dense layers {', '.join(map(str, config.widths))}, at most "
        f"{config.epochs} epochs, the best by validation loss",
        "Threshold": "of accuracy, precision, recall and confusion: the highest "
        "sensitivity + specificity on validation bags, whose witness rates are those "
        "of training",
        "Sensitivity": f"at {config.specificity:.0%} specificity on the held-out "
        "patients' own negative bags, within each fold, averaged over folds",
        "Limit": f"the smallest witness rate from which on the sensitivity is "
        f"{config.power:.0%} or more, interpolated in the logarithm of the rate; the "
        "interval is of 95 %, over test patients drawn with replacement and seeds",
        "Ceiling": "the likelihood ratio of whole bags, whose tiles are scored by a "
        "logistic regression that was taught the training tiles' own labels",
    }


def _list_limits(facts: LimitFacts) -> Table:
    limits = facts.limits.assign(
        training=facts.limits["training"].map(say_training),
        limit=facts.limits["limit"].map(lambda text: Cell(text, "value")),
    )
    settings = facts.settings
    caption = (
        f"The smallest number of witnesses in {settings.bag_size} from which on "
        f"{settings.power:.0%} of positive bags are found at "
        f"{settings.specificity:.0%} specificity. \N{LESS-THAN OR EQUAL TO} is the "
        "smallest number of the study. Validation AUC is on bags like those of "
        "training; choose by it, not by the other columns."
    )
    heads = name_columns("aggregator", "training", "bags", "limit")
    heads |= {"interval": "95 % interval", "val_roc_auc": "Validation AUC"}
    return tabulate(limits, heads, caption, n_words=2)


def _draw_figures(facts: LimitFacts) -> list[Figure]:
    dashes = " Dashes are the ceiling of the features"
    if "colour" in set(facts.ceilings["source"]):
        dashes += ", dots that of mean colour alone"
    ceilings, size = facts.ceilings, facts.settings.bag_size
    figures = [
        Figure(
            "sensitivity",
            f"Sensitivity at {facts.settings.specificity:.0%} specificity",
            "Share of positive bags found. Bands are 95 % intervals over patients and "
            "seeds, the level line is the power that is asked for "
            f"({facts.settings.power:.0%}).{dashes}.",
            draw_by_rate(
                facts.summary, "sensitivity", size, ceilings, facts.settings.power
            ),
        ),
        Figure(
            "auc",
            "ROC AUC of bags",
            f"The level line is chance.{dashes}.",
            draw_by_rate(facts.summary, "roc_auc", size, ceilings),
        ),
    ]
    # Bags of nothing but witnesses have no other tile to tell from.
    attended = facts.summary[facts.summary["attention_auc"].notna()]
    if len(attended):
        figures.append(
            Figure(
                "attention",
                "ROC AUC of attention for witnesses",
                "Within positive bags: how often a witness gets more attention than "
                "another tile. The level line is chance.",
                draw_by_rate(attended, "attention_auc", size),
            )
        )
    return figures


def _list_ceilings(ceilings: pd.DataFrame) -> Table:
    caption = (
        "What the best score of whole bags reaches when each tile is seen through one "
        "classifier that was taught the training tiles' own labels: the likelihood "
        "ratio of bags that are drawn from its scores of held-out tiles."
    )
    names = ("instance_auc", "witnesses", "roc_auc", "sensitivity")
    seen_by = {"features": "their features", "colour": "mean colour alone"}
    shown = ceilings.assign(source=ceilings["source"].map(seen_by))
    return tabulate(shown, {"source": "Tiles seen by"} | name_columns(*names), caption)


def _list_scores(table: pd.DataFrame, caption: str = "", folded: str = "") -> Table:
    """List the scores of cells; means have a deviation, single cells a seed."""
    names = ["aggregator", "training", "bags", "witnesses"]
    names += [*(["seed"] if "seed" in table else []), *_SCORES]
    shown = table.assign(training=table["training"].map(say_training))
    counts = table[list(_CONFUSION)].itertuples(index=False)
    # Where the table is wide, the line breaks in the middle.
    shown["calls"] = ["{}\xa0/\xa0{} /\xa0{}\xa0/\xa0{}".format(*row) for row in counts]
    for name in _SCORES:
        if f"{name}_sd" in table:
            pairs = zip(table[name], table[f"{name}_sd"], strict=True)
            shown[name] = [_write_spread(value, spread) for value, spread in pairs]
    heads = name_columns(*names, calls="TP / FN / FP / TN")
    return tabulate(shown, heads, caption, n_words=2, style="small", folded=folded)


def _write_spread(value: float, spread: float) -> str:
    text = format_number(value, 3)
    # Where the table is wide, the line breaks before the sign.
    if not np.isnan([value, spread]).any():
        text += f" \N{PLUS-MINUS SIGN}\N{NO-BREAK SPACE}{spread:.3f}"
    return text


def _list_sources(sources: pd.DataFrame) -> Table:
    caption = "Patients and tiles that the bags of each side are drawn from."
    names = ("fold", "side", "patients", "patients_with_witnesses", "slides")
    heads = name_columns(*names, "witness_tiles", "other_tiles")
    return tabulate(sources, heads, caption, n_words=2)


def draw_by_rate(
    summary: pd.DataFrame,
    measure: str,
    bag_size: int,
    ceilings: pd.DataFrame | None = None,
    power: float | None = None,
) -> "Drawing":
    """Draw a measure against the witness rate, a line per aggregator.

    A row of panels per training, a column per number of training bags.

    Args:
        summary: `training, bags, aggregator, rate`, the measure and, where there is an
            interval, `<measure>_low` and `<measure>_high`.
        measure: A column: an AUC, or `sensitivity`.
        bag_size: Instances of a bag.
        ceilings: `source, rate` and the measure. None draws none.
        power: Height of the level line; None is chance, 0.5, for an AUC.
    """
    trainings = list(dict.fromkeys(summary["training"]))
    sizes = sorted(summary["bags"].unique().tolist())
    floor = 0.0 if power is not None else 0.4
    with figure_style():
        # Narrower, the legend would be cut.
        width = max(7.4, 1.0 + 2.7 * len(sizes))
        figure = make_figure(width, 0.8 + 2.5 * len(trainings))
        panels = figure.subplots(
            len(trainings), len(sizes), sharex=True, sharey=True, squeeze=False
        )
        for (row, column), axes in np.ndenumerate(panels):
            is_own = summary["training"] == trainings[row]
            own = summary[is_own & (summary["bags"] == sizes[column])]
            _draw_lines(axes, own, measure, list(dict.fromkeys(summary["aggregator"])))
            if ceilings is not None:
                _draw_ceilings(axes, ceilings, measure)
            axes.axhline(_GUESSING if power is None else power, color=MUTED, lw=0.9)
            axes.set_title(f"{sizes[column]:,} bags, {say_training(trainings[row])}")
        for axes in panels[:, 0]:
            axes.set_ylabel(name_columns(measure)[measure])
        for axes in panels[-1]:
            axes.set_xlabel(f"witnesses of {bag_size}")
        ticks = np.sort(summary["rate"].unique())
        panels[0, 0].set_xscale("log")
        panels[0, 0].set_xticks(ticks, [f"{rate * bag_size:g}" for rate in ticks])
        panels[0, 0].minorticks_off()
        shown = summary.filter(regex=f"^{measure}(_low)?$").to_numpy(np.float64)
        panels[0, 0].set_ylim(min(floor, float(np.nanmin(shown))) - 0.02, 1.02)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3)
    return figure


def _draw_lines(
    axes: "Axes", own: pd.DataFrame, measure: str, names: Sequence[str]
) -> None:
    low, high = f"{measure}_low", f"{measure}_high"
    for i, name in enumerate(names):
        part = own[own["aggregator"] == name].sort_values("rate")
        rates, colour = part["rate"].to_numpy(), pick_colour(i)
        axes.plot(rates, part[measure], "o-", color=colour, ms=3.5, label=name)
        if low in part:
            ends = part[low], part[high]
            axes.fill_between(rates, *ends, color=colour, alpha=0.14, lw=0)


def _draw_ceilings(axes: "Axes", ceilings: pd.DataFrame, measure: str) -> None:
    for source, (text, colour, style) in _CEILINGS.items():
        part = ceilings[ceilings["source"] == source].sort_values("rate")
        if len(part):
            values = part["rate"], part[measure]
            axes.plot(*values, color=colour, ls=style, lw=1.4, label=text)
