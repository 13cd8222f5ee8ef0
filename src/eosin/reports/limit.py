"""The page of a limit study: one HTML file that needs nothing but itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import write_text
from eosin.reports.limit_figures import draw_by_rate, say_training
from eosin.reports.pages import FigureSlot, render_page, write_slots

# An AUC up to which nothing was learnt.
_GUESSING = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class LimitReport:
    """Everything that the page shows. Text is escaped, whatever it holds.

    Attributes:
        title: Heading.
        facts: One line below it.
        bag_size: Instances of a bag.
        specificity: At which sensitivity is told.
        power: Sensitivity at the limit.
        summary: Means over seeds; `eosin.workflows.limit_tables` says of which
            columns, as of the next three.
        cells: One row per training, bags, aggregator, seed and witnesses.
        limits: One row per training, bags and aggregator.
        ceilings: What the features' own instance scores allow.
        sources: Patients and tiles of every side.
        cautions: What must be known, as sentences.
        method: What was done, as rows of a name and a text.
    """

    title: str
    facts: str
    bag_size: int
    specificity: float
    power: float
    summary: pd.DataFrame
    cells: pd.DataFrame
    limits: pd.DataFrame
    ceilings: pd.DataFrame
    sources: pd.DataFrame
    cautions: Sequence[str]
    method: Mapping[str, str] = field(default_factory=dict)


def write_limit_report(folder: Path, report: LimitReport) -> None:
    """Write `report.html` and, in `figures/`, each figure as PNG.

    Raises:
        RunError: A file cannot be written.
    """
    slots = _draw_figures(report)
    # First, because drawing a figure once more moves it by a hair.
    page = _render(report, slots)
    write_slots(Path(folder) / "figures", slots)
    write_text(Path(folder) / "report.html", page)


def render_limit_report(report: LimitReport) -> str:
    """Return the page's HTML."""
    return _render(report, _draw_figures(report))


def _draw_figures(report: LimitReport) -> list[FigureSlot]:
    summary, size = report.summary, report.bag_size
    dashes = (
        " Dashes are the ceiling of the features, dots that of mean colour alone."
        if "colour" in set(report.ceilings["source"])
        else " Dashes are the ceiling of the features."
    )
    slots = [
        FigureSlot(
            "sensitivity",
            f"Sensitivity at {report.specificity:.0%} specificity",
            f"Share of positive bags found. Bands are 95 % intervals over patients and "
            f"seeds, the level line is the power that is asked for "
            f"({report.power:.0%}).{dashes}",
            draw_by_rate(
                summary,
                "sensitivity",
                "sensitivity",
                bag_size=size,
                ceilings=report.ceilings,
                lines=(report.power,),
            ),
        ),
        FigureSlot(
            "auc",
            "ROC AUC of bags",
            f"The level line is chance.{dashes}",
            draw_by_rate(
                summary,
                "roc_auc",
                "ROC AUC",
                bag_size=size,
                ceilings=report.ceilings,
                lines=(0.5,),
                floor=0.4,
            ),
        ),
    ]
    # Bags of nothing but witnesses have no other tile to tell from.
    attended = summary[summary["attention_auc"].notna()]
    if len(attended):
        slots.append(
            FigureSlot(
                "attention",
                "ROC AUC of attention for witnesses",
                "Within positive bags: how often a witness gets more attention than "
                "another tile. The level line is chance.",
                draw_by_rate(
                    attended,
                    "attention_auc",
                    "instance AUC",
                    bag_size=size,
                    lines=(0.5,),
                    floor=0.4,
                ),
            )
        )
    return slots


def _render(report: LimitReport, slots: Sequence[FigureSlot]) -> str:
    return render_page(
        "limit.html.j2",
        report=report,
        slots=slots,
        headline=_write_headline(report),
        summary=[_lay_out(row) for row in report.summary.to_dict("records")],
        cells=[_lay_out(row) for row in report.cells.to_dict("records")],
        limits=[_lay_out(row) for row in report.limits.to_dict("records")],
        ceilings=[_lay_out(row) for row in report.ceilings.to_dict("records")],
    )


def _write_headline(report: LimitReport) -> list[str]:
    """Say the limit of the model that validation chose, and what the ceiling says.

    Not the best of all limits, which luck would have picked; and of the models that
    were trained on a mixture where there are any, because validation bags of one rate
    are easier than those of all.
    """
    is_mixed = ~report.limits["training"].str.isdecimal()
    candidates = report.limits[is_mixed] if is_mixed.any() else report.limits
    ranked = candidates.sort_values("val_roc_auc", ascending=False, kind="stable")
    best, chosen = ranked.iloc[0], _say_choice(candidates, report.limits)
    trained = f"{say_training(best['training'])}, {best['bags']:,} bags"
    asked = f"{report.power:.0%} of them at {report.specificity:.0%} specificity"
    if pd.isna(best["rate"]):
        sentences = [
            f"At no witness rate are bags found, {asked}, by {best['aggregator']} "
            f"({trained}), {chosen}."
        ]
    else:
        sentences = [
            f"Bags with {best['limit']} witnesses are found, {asked}, by "
            f"{best['aggregator']} ({trained}), {chosen}.",
            f"The 95 % interval over patients and seeds is {best['interval']}.",
        ]
    if best["val_roc_auc"] <= _GUESSING:
        sentences.append(
            f"On validation it is no better than guessing (an AUC of "
            f"{best['val_roc_auc']:.2f}): it has learnt nothing, which more bags, "
            "witnesses or epochs may change."
        )
    own = report.ceilings[report.ceilings["source"] == "features"]
    fewest = own.sort_values("rate").iloc[0]
    sentences.append(
        "A classifier that is taught the tiles' own labels tells held-out tiles with "
        f"an AUC of {fewest['instance_auc']:.3f}; seen through it, no bag score gets "
        f"beyond an AUC of {fewest['roc_auc']:.3f} at {fewest['witnesses']:.0f} of "
        f"{report.bag_size}."
    )
    return sentences


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


def _lay_out(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Turn the numbers of a row into texts."""
    texts = {}
    for name, value in row.items():
        text = str(value)
        if isinstance(value, float):
            text = "\N{EN DASH}" if math.isnan(value) else f"{value:.3f}"
            spread = row.get(f"{name}_sd")
            if isinstance(spread, float) and not math.isnan(spread):
                # Where the table is wide, the line breaks before the sign.
                text += f" \N{PLUS-MINUS SIGN}\N{NO-BREAK SPACE}{spread:.3f}"
        texts[str(name)] = text
    texts["training"] = say_training(texts["training"]) if "training" in texts else ""
    return texts
