"""The tables of a prediction, with what earlier calls found."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.cohorts import say_examples
from eosin.core import Showable, SlideFailure, write_csv
from eosin.evaluation import (
    aggregate_predictions,
    build_predictions,
    select_level,
)
from eosin.prediction.items import Item
from eosin.runs.card import Card
from eosin.runs.run import Run

_WHOLE_NUMBERS = (
    "tiles",
    "damaged_tiles",
    "regions",
    "tiles_with_half",
    "attended_regions",
)


@dataclass(frozen=True, kw_only=True)
class PredictResult(Showable):
    """What `predict` made.

    Attributes:
        folder: Where it lies.
        noun: What each row of the table is of: `slides`, `bags` or `patches`.
        table: As in `slides.csv`, `bags.csv` or `predictions.csv`.
        failures: What was given up on.
        headline: How many were called what, and when something is called so.
        shown: Columns of the table that are worth showing; empty for none.
        ends: What was written where, and what comes next.
        notes: What the user should know of what was scored, as sentences.
        cautions: What must be known before believing the calls, as sentences.
    """

    pictures = ("*.overlay.jpg", "*.gallery.png")

    folder: Path
    noun: str
    table: pd.DataFrame
    failures: tuple[SlideFailure, ...]
    headline: tuple[str, ...]
    ends: Mapping[str, object]
    shown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


def list_rows(
    parts: Sequence[Mapping[str, Any]], items: Sequence[Item]
) -> list[dict[str, Any]]:
    """List the rows of all parts, as `Items.gather` gives them.

    The parts of what was asked for come first: what the slide table says now goes
    before what it said when the slide was scored.
    """
    rows = [
        {**row, **source.facts}
        for part, item in zip(parts, items, strict=False)
        for row, source in zip(part["rows"], item.sources, strict=True)
    ]
    return rows + [row for part in parts[len(items) :] for row in part["rows"]]


def tabulate_items(
    run: Run, rows: Sequence[Mapping[str, Any]], noun: str
) -> pd.DataFrame:
    """Make `slides.csv` or `bags.csv`, by the noun, from the rows of `list_rows`."""
    known = {name for row in rows for name in row}
    if noun == "bag":
        return _make_table(rows, _list_drawn(run.card))
    is_of_tiles = run.card.learner == "tiles"
    list_columns = _list_tile_columns if is_of_tiles else _list_columns
    table = _make_table(rows, list_columns(run.card, known))
    table["seen_in_training"] = [
        run.was_seen(slides=[row["slide_id"]], patients=[row.get("patient_id", "")])
        for row in rows
    ]
    return table


def describe_seen(slides: pd.DataFrame) -> tuple[str, ...]:
    """Say how many calls of `slides.csv` or `bags.csv` are no sign of a good model."""
    # Of what failed nothing may be said.
    is_seen = slides["seen_in_training"] & (slides["status"] != "failed")
    if not is_seen.any():
        return ()
    if "bag_id" in slides:
        return (
            f"{is_seen.sum():,} of {len(slides):,} bags hold tiles of patients that "
            "training has seen; 'eosin evaluate' scores the training's own bags by the "
            "fold that held them out.",
        )
    seen = slides.loc[is_seen, "slide_id"].astype(str)
    return (
        f"{len(seen):,} of {len(slides):,} slides ({say_examples(seen)}) are of "
        "patients that the model was trained or chosen on: what it finds on them says "
        "nothing of how it does on new patients. Its evaluation scores those that were "
        "held out.",
    )


def score_patients(card: Card, slides: pd.DataFrame) -> pd.DataFrame:
    """Score patients by their slides in `slides.csv`, as the evaluation does.

    Gives `patient_id`, `slides`, `label` and `probability_<class>`.
    """
    target, done = card.target, slides[slides["status"] == "done"]
    columns = list(target.columns)
    if done.empty:
        return pd.DataFrame(columns=["patient_id", "slides", "label", *columns])
    rows = done[["slide_id", "patient_id"]].assign(
        id=done["slide_id"], split="external", label=None
    )
    table = build_predictions(rows, target.take(done), target, unit="slide")
    table = select_level(aggregate_predictions(table, target=target), "patient")
    called = target.call(target.take(table), card.together.threshold)
    counts = done.groupby("patient_id", sort=False).size()
    return pd.DataFrame(
        {
            "patient_id": table["id"],
            "slides": counts.loc[table["id"]].to_numpy(),
            "label": [card.class_names[int(label)] for label in called],
            **{name: table[name] for name in columns},
        }
    )


def write_tables(
    out: Path, tables: Mapping[str, pd.DataFrame], failures: Sequence[SlideFailure]
) -> None:
    """Write tables as CSV by their names, and `failures.csv` where none is given."""
    columns = ["slide_id", "step", "message"]
    given_up = pd.DataFrame([asdict(failure) for failure in failures], columns=columns)
    for name, table in {"failures.csv": given_up, **tables}.items():
        write_csv(out / name, table)


def _make_table(rows: Sequence[Mapping[str, Any]], columns: list[str]) -> pd.DataFrame:
    whole = [name for name in _WHOLE_NUMBERS if name in columns]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(whole, "Int64"))


def _list_tile_columns(card: Card, known: Collection[str]) -> list[str]:
    """List the columns of a tile classifier; some come with more than two classes."""
    probabilities: Sequence[str] = () if card.target.is_binary else card.target.columns
    areas = [f"area_{name}_mm2" for name in card.class_names[1:]]
    return [
        *("slide_id", "patient_id", "path", "status", "mpp", "mpp_source"),
        *("tiles", "damaged_tiles", "score", "label", "tumour_mm2"),
        *(*probabilities, "regions", *(areas if probabilities else ())),
        *("seconds", "seen_in_training"),
        *(["note"] if "note" in known else []),
    ]


def _list_columns(card: Card, known: Collection[str]) -> list[str]:
    """List the columns of a bag model; some are there for some methods only."""
    optional = {"damaged_tiles", "instances_mm2", "path", "features"} - set(known)
    columns = [
        *("slide_id", "patient_id", "status", "label", *card.target.columns),
        *("lowest_fold", "highest_fold", "seen_in_training", "tiles"),
        *("damaged_tiles", "highest_attention", "tiles_with_half", "attended_mm2"),
        *("attended_regions", "instances_mm2", "seconds", "path", "features", "note"),
    ]
    return [name for name in columns if name not in optional]


def _list_drawn(card: Card) -> list[str]:
    """List the columns of drawn bags."""
    return [
        *("bag_id", "split", "status", "label", *card.target.columns),
        *("lowest_fold", "highest_fold", "seen_in_training", "tiles"),
        *("highest_attention", "tiles_with_half"),
        *("true_label", "witnesses", "witness_auc", "seconds"),
    ]
