"""The page of an evaluation, of whatever model: tiles, slides, patients or bags."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eosin.evaluation import (
    SPLITS,
    EvaluationResult,
    ValidationChoices,
    labels_of,
)
from eosin.reports.page import (
    Bar,
    Cell,
    Figure,
    Heading,
    Page,
    Picture,
    Pictures,
    Section,
    Table,
    Terms,
    describe_method,
    tabulate,
)
from eosin.reports.provenance import describe_choices, describe_model
from eosin.reports.scores import (
    find_key_numbers,
    list_levels,
    say_verdict,
    show_level,
)
from eosin.reports.training_curves import draw_history
from eosin.reports.words import (
    CONFIDENCE,
    DASH,
    STUDY_NOUNS,
    Nouns,
    count,
    format_number,
    name_columns,
    plural,
)
from eosin.runs.card import Card

# Enough to see what goes wrong, and the file stays small enough to be mailed.
_MOST_OVERLAYS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationFacts:
    """What the page of an evaluation is made from.

    Attributes:
        title: Heading.
        result: The model's evaluation.
        card: The model.
        settings: Of its training.
        units: What the splits hold: a row for each tile, with `split`, `patient_id`,
            `slide_id` and `label`; of other units with `id` as well, and `tiles`, how
            many tiles it has.
        nouns: What units are called.
        validation: How tiles become slides, and thresholds with the rows that they were
            chosen on; None where the model scores slides as a whole.
        baseline: Evaluation of the colour baseline on the same rows; None where there
            is none, which is said.
        history: Training history, as `draw_history` takes it; None leaves it out.
        overlays: Picture (JPEG or PNG) by `slide_id`. May be empty.
        versions: Version by package.
        licence: Licence and source of the slides, as the user stated it; None where
            nobody stated it, which is said.
        cautions: What a reader must know beside what the result says itself.
        are_slides_made: True for slides that `slides.phantom` drew.
        are_patients_known: False where each slide counts as a patient of its own
            because nobody said whose it is.
        created: When it was made, in ISO 8601; None prints no date.
    """

    title: str
    result: EvaluationResult
    card: Card
    settings: Mapping[str, Any]
    units: pd.DataFrame
    nouns: Nouns = STUDY_NOUNS
    validation: ValidationChoices | None = None
    baseline: EvaluationResult | None = None
    history: pd.DataFrame | None = None
    overlays: Mapping[str, Path] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    licence: str | None = None
    cautions: Sequence[str] = ()
    are_slides_made: bool = False
    are_patients_known: bool = True
    created: str | None = None


def make_evaluation_page(facts: EvaluationFacts) -> Page:
    """Put an evaluation into words, tables and figures."""
    result, nouns = facts.result, facts.nouns
    created = (facts.created or "")[:16].replace("T", " ")
    is_average = facts.card.unit == "tile"
    kind = "of the same tiles" if facts.card.unit == "bag" else "of the same kind"
    return Page(
        kind="evaluation report",
        title=facts.title,
        facts=(" / ".join(result.class_names), created, f"split “{result.split}”"),
        headline=say_verdict(result, facts.baseline, nouns),
        key_numbers=find_key_numbers(result, nouns),
        note=f"The two numbers below each value are its {CONFIDENCE} interval: what "
        f"other {plural(nouns.patient)} {kind} could give as well.",
        warning="Before you believe these numbers",
        cautions=list(dict.fromkeys(_find_cautions(facts))),
        sections=[
            _show_tissue(facts),
            *(
                show_level(result, level, facts.baseline, nouns, is_average=is_average)
                for level in list_levels(result)
            ),
            _show_calls(facts),
            _show_choices(facts),
            _show_data(facts),
            Section("training", "Training", (_draw_training(facts),)),
            _show_method(facts),
        ],
    )


def _find_cautions(facts: EvaluationFacts) -> Iterator[str]:
    """List everything that limits the results, the gravest first."""
    if facts.are_slides_made:
        yield (
            "These slides were made by a computer. The numbers show that the software "
            "works; they say nothing about its accuracy on real tissue."
        )
    # Bags and groups say themselves whose they are.
    if not facts.are_patients_known and facts.nouns.patient == "patient":
        yield (
            "No patient ids were given, so every slide counts as a patient. If slides "
            "share patients, the results are too good and the intervals too narrow."
        )
    yield from facts.result.cautions
    if facts.validation is not None:
        yield from facts.validation.cautions
    yield from facts.cautions
    if facts.licence is None:
        yield "Nobody stated where the slides come from and their licence."


def _list_calls(facts: EvaluationFacts) -> pd.DataFrame:
    """Put the call of every slide into words, the most wrong first."""
    target, calls = facts.result.target, facts.result.calls
    values, labels = target.take(calls), labels_of(calls)
    shares = values[range(len(values)), target.find_shown(values)]
    # A label of -1 is none.
    names = np.array([*target.class_names, DASH], object)
    verdicts = calls["is_right"].map({True: "right", False: "wrong"}).fillna("no label")
    return pd.DataFrame(
        {
            "id": calls["id"].astype(str),
            "patient": calls["patient_id"],
            "truth": names[labels],
            "called": names[calls["called"]],
            "verdict": verdicts.astype(str),
            "probability": [format_number(share) for share in shares],
            "share": shares,
        }
    )


def _show_tissue(facts: EvaluationFacts) -> Section:
    calls = _list_calls(facts)
    pictures = [
        Picture(
            path=facts.overlays[str(call.id)],
            alt=f"Heatmap of {call.id}: {call.truth}, called {call.called} with "
            f"probability {call.probability}",
            title=str(call.id),
            lines=(
                f"Truth: {call.truth}",
                f"Called: {call.called} ({call.probability})",
            ),
            style=str(call.verdict),
        )
        for call in calls[calls["id"].isin(list(facts.overlays))].itertuples()
    ]
    title = f"{plural(facts.nouns.slide).capitalize()}, the most wrong first"
    shown = Pictures(pictures[:_MOST_OVERLAYS]) if pictures else None
    return Section("tissue", title, (shown,))


def _show_calls(facts: EvaluationFacts) -> Section:
    """List every slide with its call."""
    result, noun, calls = facts.result, facts.nouns.slide, _list_calls(facts)
    level = result.levels.get(result.listed)
    tick = None if level is None or level.threshold_range else level.threshold
    of = result.class_names[1] if result.target.is_binary else "the call"
    n_wrong = int((calls["verdict"] == "wrong").sum())
    words = f"{n_wrong} of {count(len(calls), noun)} called wrongly. Wrong calls come "
    words += "first, then those that came closest to one."
    if tick is not None:
        words += " The tick on each bar is the threshold."
    heads = {"id": noun.capitalize(), **name_columns("patient", "truth", "called")}
    heads |= {"verdict": "Verdict", "probability": f"Probability of {of}"}
    heads["bar"] = "As a bar"
    if (calls["patient"].isna() | (calls["patient"] == calls["id"])).all():
        del heads["patient"]
    shown = calls.assign(
        verdict=calls["verdict"].map(lambda text: Cell(text, f"verdict {text}")),
        bar=calls["share"].map(lambda share: Bar(fill=share, tick=tick)),
    )
    table = tabulate(shown, heads, words, n_words=len(heads) - 2, style="ids")
    title = f"{noun.capitalize()} by {noun}"
    return Section("calls", title, (table if len(calls) else None,))


def _show_choices(facts: EvaluationFacts) -> Section:
    nouns = facts.nouns
    text = "Everything here was settled on the validation split."
    if any(level.threshold_range for level in facts.result.levels.values()):
        text += (
            f" Each {nouns.patient} was scored by the fold that held it out, at that "
            "fold's own thresholds, in which it had no say."
        )
    else:
        text += f" No {nouns.slide} that is scored above had a say."
    is_external = facts.result.split == "external"
    rows = describe_choices(
        facts.card, facts.validation, nouns, is_external=is_external
    )
    title = "Thresholds, and where they were chosen"
    return Section("choices", title, (text, Terms(rows)), link="Thresholds")


def _show_data(facts: EvaluationFacts) -> Section:
    nouns, names = facts.nouns, facts.result.class_names
    units = plural(nouns.of(facts.card.unit))
    caption = f"What each split holds; all {units} of a {nouns.patient} are in one."
    if nouns.patient == nouns.of(facts.card.unit):
        caption = f"What each split holds; each {nouns.patient} is in one."
    if facts.card.unit == "bag":
        caption = "What each split holds; bags of different splits share no patient."
    # What stands as slide and as patient alike is counted once.
    columns = {
        noun: column
        for noun, column in (
            (nouns.patient, "patient_id"),
            (nouns.slide, "slide_id"),
            (nouns.slide, "id" if facts.card.unit != "tile" else "slide_id"),
        )
        if column in facts.units and facts.units[column].notna().any()
    }
    rows: list[list[str | int | Cell]] = []
    marked = None
    for split in SPLITS:
        own = facts.units[facts.units["split"] == split]
        if own.empty:
            continue
        if is_scored := split == facts.result.split:
            marked = len(rows)
        n_tiles = own["tiles"].sum() if "tiles" in own else len(own)
        rows.append(
            [
                Cell(split, tag="scored here" if is_scored else ""),
                *(own[column].nunique() for column in columns.values()),
                int(n_tiles),
                *(int((own["label"] == i).sum()) for i in range(len(names))),
            ]
        )
    nouns_shown = [plural(noun).capitalize() for noun in (*columns, nouns.tile)]
    heads = ["Split", *nouns_shown, *(f"{name} {units}" for name in names)]
    licence = Terms([("Source and licence", facts.licence or "not stated")])
    table = Table(heads, rows, caption, marked=marked)
    return Section("data", "Data", (table, licence))


def _draw_training(facts: EvaluationFacts) -> Figure | None:
    history = facts.history
    if history is not None and facts.card.learner != "tiles":
        # Models of all folds and seeds, epoch by epoch.
        numbers = history.select_dtypes("number")
        numbers = numbers.drop(columns=["fold", "seed"], errors="ignore")
        history = numbers.groupby("epoch", as_index=False).mean()
    if history is None or (drawing := draw_history(history)) is None:
        return None
    keys = [name for name in ("fold", "seed") if name in history]
    n = int(history.groupby(keys).size().max()) if keys else len(history)
    text = (
        f"{count(n, 'epoch')}. Training dashed, validation solid; a dotted "
        "line marks the start of another stage."
    )
    return Figure("training", "Training curves", text, drawing)


def _show_method(facts: EvaluationFacts) -> Section:
    result, unit, patients = facts.result, facts.card.unit, plural(facts.nouns.patient)
    why, then = "", ""
    if unit == "bag":
        then = " That bags share patients is not allowed for."
    elif patients == "patients":
        why = "Tiles of one slide, and slides of one patient, resemble each other. "
    beside = "No baseline was scored beside the model."
    if facts.baseline is not None:
        aggregated = ", aggregated" if unit == "tile" else ""
        beside = (
            "“Colour alone” is a logistic regression on the mean red, green and blue "
            f"of each {facts.nouns.of(unit)}, trained{aggregated} and "
            "thresholded on the same splits as the model. Stain and scanner often "
            "differ between classes by accident; a model is worth its trouble by what "
            "it adds to this."
        )
    return describe_method(
        describe_model(
            facts.card,
            facts.settings,
            facts.nouns,
            is_external=result.split == "external",
        ),
        facts.versions,
        Heading("How the intervals were made"),
        f"{why}Intervals are drawn over {patients}: {result.n_bootstrap:,} times, as "
        f"many {patients} as there are were drawn with replacement, with all that "
        f"belongs to them, and each measure was computed again.{then} The interval "
        f"spans the middle {CONFIDENCE} of these values, widened for few {patients} as "
        "Student's t widens a normal interval (expanded percentile bootstrap; seed "
        f"{result.seed}). Resamples in which a measure is undefined were left out.",
        Heading("What stands beside the model"),
        beside,
    )
