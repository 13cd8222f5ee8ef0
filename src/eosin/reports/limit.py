"""The page of a limit study: how few positive tiles are still found."""

from collections.abc import Iterator, Mapping, Sequence
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
from eosin.reports.style import INK, MUTED, new_figure, pick_colour
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
_CAPTIONS = {
    "ceilings": "What the best score of whole bags reaches when each tile is seen "
    "through one classifier that was taught the training tiles' own labels.",
    "scores": "Means over seeds with their deviation; true and false positives and "
    "negatives are summed over seeds and folds.",
    "sources": "Patients and tiles that the bags of each side are drawn from.",
}


def make_limit_page(
    title: str,
    facts: Sequence[str],
    settings: LimitSettings,
    tables: Mapping[str, pd.DataFrame],
    cautions: Sequence[str],
) -> Page:
    """Put a limit study into words, tables and figures.

    Args:
        title: Heading.
        facts: Words for the line below it.
        settings: Of the study.
        tables: `summary`, `cells`, `limits` and `ceilings` of the study, as
            `eosin.studies.limit_tables` makes them; `sources`, the patients and tiles
            of every side.
        cautions: What must be known, as sentences.
    """
    summary, limits, ceilings = (tables[n] for n in ("summary", "limits", "ceilings"))
    scores = (
        _list_scores(summary, _CAPTIONS["scores"]),
        _list_scores(tables["cells"], folded="Every seed"),
    )
    sources = _list_sources(tables["sources"])
    return Page(
        kind="limit of detection",
        title=title,
        facts=facts,
        headline=list(_say_headline(limits, ceilings, settings)),
        cautions=cautions,
        sections=[
            Section("limits", "Limits of detection", (_list_limits(limits, settings),)),
            Section(
                "curves", "By witness rate", _draw_figures(summary, ceilings, settings)
            ),
            Section("ceiling", "Ceiling", (_list_ceilings(ceilings),)),
            Section("scores", "All cells", scores),
            Section("sources", "Where the bags come from", (sources,)),
            describe_method(_describe_method(settings), find_versions()),
        ],
    )


def _say_headline(
    limits: pd.DataFrame, ceilings: pd.DataFrame, settings: LimitSettings
) -> Iterator[str]:
    """Say the limit of the model that validation chose, and what the ceiling says.

    Not the best of all limits, which luck would have picked; and of the models that
    were trained on a mixture where there are any, because validation bags of one rate
    are easier than those of all.
    """
    is_mixed = ~limits["training"].str.isdecimal()
    candidates = limits[is_mixed] if is_mixed.any() else limits
    best = candidates.sort_values("val_roc_auc", ascending=False, kind="stable").iloc[0]
    model = (
        f"{best['aggregator']} ({say_training(best['training'])}, {best['bags']:,} "
        f"bags), {_say_choice(candidates, limits)}"
    )
    asked = f"{settings.power:.0%} of them at {settings.specificity:.0%} specificity"
    if pd.isna(best["rate"]):
        yield f"At no witness rate are bags found, {asked}, by {model}."
    else:
        yield f"Bags with {best['limit']} witnesses are found, {asked}, by {model}."
        yield f"The 95 % interval over patients and seeds is {best['interval']}."
    if best["val_roc_auc"] <= _GUESSING:
        yield (
            "On validation it is no better than guessing (an AUC of "
            f"{best['val_roc_auc']:.2f}): it has learnt nothing, which more bags, "
            "witnesses or epochs may change."
        )
    fewest = ceilings[ceilings["source"] == "features"].sort_values("rate").iloc[0]
    yield (
        "A classifier that is taught the tiles' own labels tells held-out tiles with "
        f"an AUC of {fewest['instance_auc']:.3f}; seen through it, no bag score gets "
        f"beyond an AUC of {fewest['roc_auc']:.3f} at {fewest['witnesses']:.0f} of "
        f"{settings.bag_size}."
    )


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


def _describe_method(settings: LimitSettings) -> dict[str, str]:
    sides = "one split by patient into train, val and test"
    if settings.folds > 1:
        sides = f"{settings.folds} folds by patient, each held out once"
    return {
        "Sides": f"{sides}; bags of a side are drawn from its own patients' tiles",
        "Bags": f"{settings.bag_size} tiles, half of the bags positive; test bags with "
        f"{', '.join(map(str, settings.witnesses))} witnesses, {settings.test_bags} "
        "per fold and rate",
        "Training": f"features reduced to {settings.components or 'no fewer'} "
        f"components, dense layers {', '.join(map(str, settings.widths))}, at most "
        f"{settings.epochs} epochs, the best by validation loss",
        "Threshold": "of accuracy, precision and recall: the highest sensitivity + "
        "specificity on validation bags, whose witness rates are those of training",
        "Sensitivity": "on the held-out patients' own negative bags, within each fold, "
        "averaged over folds",
        "Limit": "interpolated in the logarithm of the witness rate; its interval is "
        "of 95 %, over test patients drawn with replacement and seeds",
        "Ceiling": "the likelihood ratio of bags that are drawn from a logistic "
        "regression's scores of held-out tiles",
    }


def _list_limits(limits: pd.DataFrame, settings: LimitSettings) -> Table:
    shown = limits.assign(
        training=limits["training"].map(say_training),
        limit=limits["limit"].map(lambda text: Cell(text, "value")),
    )
    caption = (
        f"The smallest number of witnesses in {settings.bag_size} from which on "
        f"{settings.power:.0%} of positive bags are found at "
        f"{settings.specificity:.0%} specificity. \N{LESS-THAN OR EQUAL TO} is the "
        "smallest number of the study. Validation AUC is on bags like those of "
        "training; choose by it, not by the other columns."
    )
    heads = name_columns("aggregator", "training", "bags", "limit")
    heads |= {"interval": "95 % interval", "val_roc_auc": "Validation AUC"}
    return tabulate(shown, heads, caption, n_words=2)


def _draw_figures(
    summary: pd.DataFrame, ceilings: pd.DataFrame, settings: LimitSettings
) -> list[Figure]:
    """Draw each measure against the witness rate."""
    words = {
        "sensitivity": (
            "sensitivity",
            f"Sensitivity at {settings.specificity:.0%} specificity",
            "Share of positive bags found. Bands are 95 % intervals over patients and "
            f"seeds, the level line is the power asked for ({settings.power:.0%}).",
        ),
        "roc_auc": ("auc", "ROC AUC of bags", "The level line is chance."),
        "attention_auc": (
            "attention",
            "ROC AUC of attention for witnesses",
            "Within positive bags: how often a witness gets more attention than "
            "another tile. The level line is chance.",
        ),
    }
    # Bags of nothing but witnesses have no other tile to tell from.
    shown = {name: summary[summary[name].notna()] for name in words}
    return [
        Figure(*words[name], draw_by_rate(rows, name, settings, ceilings))
        for name, rows in shown.items()
        if len(rows)
    ]


def _list_ceilings(ceilings: pd.DataFrame) -> Table:
    names = ("instance_auc", "witnesses", "roc_auc", "sensitivity")
    seen_by = {"features": "their features", "colour": "mean colour alone"}
    shown = ceilings.assign(source=ceilings["source"].map(seen_by))
    heads = {"source": "Tiles seen by"} | name_columns(*names)
    return tabulate(shown, heads, _CAPTIONS["ceilings"])


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
            texts = table[name].map(lambda value: format_number(value, 3))
            # There it breaks before the sign.
            spreads = table[f"{name}_sd"].map(" \N{PLUS-MINUS SIGN}\xa0{:.3f}".format)
            is_known = table[[name, f"{name}_sd"]].notna().all(axis=1)
            shown[name] = texts + spreads.where(is_known, "")
    heads = name_columns(*names, calls="TP / FN / FP / TN")
    return tabulate(shown, heads, caption, n_words=2, style="small", folded=folded)


def _list_sources(sources: pd.DataFrame) -> Table:
    names = ("fold", "side", "patients", "patients_with_witnesses", "slides")
    heads = name_columns(*names, "witness_tiles", "other_tiles")
    return tabulate(sources, heads, _CAPTIONS["sources"], n_words=2)


def draw_by_rate(
    summary: pd.DataFrame,
    measure: str,
    settings: LimitSettings,
    ceilings: pd.DataFrame,
) -> "Drawing":
    """Draw a measure against the witness rate, a line per aggregator.

    A row of panels per training, a column per number of training bags; dashed and
    dotted the ceilings, where there are any of the measure.
    """
    trainings, sizes, names = (
        summary[column].drop_duplicates().tolist()
        for column in ("training", "bags", "aggregator")
    )
    sizes.sort()
    is_auc = measure != "sensitivity"
    # Narrower, the legend would be cut.
    size_in = max(7.4, 1.0 + 2.7 * len(sizes)), 0.8 + 2.5 * len(trainings)
    grid = {"sharex": True, "sharey": True, "squeeze": False}
    with new_figure(*size_in, len(trainings), len(sizes), **grid) as (figure, panels):
        for (row, column), axes in np.ndenumerate(panels):
            is_own = summary["training"] == trainings[row]
            own = summary[is_own & (summary["bags"] == sizes[column])]
            _draw_lines(axes, own, measure, names)
            if measure in ceilings:
                _draw_ceilings(axes, ceilings, measure)
            axes.axhline(_GUESSING if is_auc else settings.power, color=MUTED, lw=0.9)
            axes.set_title(f"{sizes[column]:,} bags, {say_training(trainings[row])}")
            axes.set_xlabel(f"witnesses of {settings.bag_size}")
            axes.set_ylabel(name_columns(measure)[measure])
            axes.label_outer()
        first, ticks = panels[0, 0], np.sort(summary["rate"].unique())
        first.set_xscale("log")
        first.set_xticks(ticks, [f"{rate * settings.bag_size:g}" for rate in ticks])
        first.minorticks_off()
        shown = summary.filter(regex=f"^{measure}(_low)?$").to_numpy(np.float64)
        lowest = min(0.4 if is_auc else 0.0, float(np.nanmin(shown)))
        first.set_ylim(lowest - 0.02, 1.02)
        figure.legend(
            *first.get_legend_handles_labels(), loc="outside upper left", ncols=3
        )
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
