"""The page of an evaluation, of whatever model: tiles, slides, patients or bags."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from eosin.core import ModelError, plural, raising, read_csv
from eosin.evaluation import SPLITS, EvaluationResult, labels_of
from eosin.reports.facts import EvaluationFacts
from eosin.reports.page import (
    Bar,
    Cell,
    Figure,
    Heading,
    Page,
    Picture,
    Pictures,
    Section,
    Terms,
    describe_method,
    tabulate,
)
from eosin.reports.provenance import describe_choices, describe_model
from eosin.reports.scores import find_key_numbers, list_levels, say_verdict, show_level
from eosin.reports.training_curves import draw_history
from eosin.reports.words import CONFIDENCE, DASH, count, format_number, name_columns

# Enough to see what goes wrong, and the file stays small enough to be mailed.
_MOST_OVERLAYS = 12


def make_evaluation_page(facts: EvaluationFacts) -> Page:
    """Put an evaluation into words, tables and figures."""
    run, result, nouns = facts.run, facts.result, facts.nouns
    finished = str(run.record["finished"] or "")[:16].replace("T", " ")
    kind = "of the same tiles" if facts.unit == "bag" else "of the same kind"
    calls = _list_calls(result)
    return Page(
        kind="evaluation report",
        title=f"Evaluation of {run.path.resolve().name}",
        facts=(" / ".join(result.class_names), finished, f"split “{result.split}”"),
        headline=list(say_verdict(facts)),
        key_numbers=find_key_numbers(result, nouns),
        note=f"The two numbers below each value are its {CONFIDENCE} interval: what "
        f"other {plural(nouns.patient)} {kind} could give as well.",
        warning="Before you believe these numbers",
        cautions=list(dict.fromkeys(_find_cautions(facts))),
        sections=[
            _show_tissue(facts, calls),
            *(show_level(facts, level) for level in list_levels(result)),
            _show_calls(result, nouns.slide, calls),
            _show_choices(facts),
            _show_data(facts),
            Section("training", "Training", (_draw_training(facts),)),
            _show_method(facts),
        ],
    )


def _find_cautions(facts: EvaluationFacts) -> Iterator[str]:
    """List everything that limits the results, the gravest first."""
    yield from facts.run.card.caution_made(facts.slides)
    # Bags and groups say themselves whose they are.
    if not facts.are_patients_known and facts.nouns.patient == "patient":
        yield (
            "No patient ids were given, so every slide counts as a patient. If slides "
            "share patients, the results are too good and the intervals too narrow."
        )
    yield from facts.result.cautions
    yield from facts.validation.cautions if facts.validation else ()
    yield from facts.cautions
    if facts.slides is None or facts.slides.licence is None:
        yield "Nobody stated where the slides come from and their licence."


def _list_calls(result: EvaluationResult) -> pd.DataFrame:
    """Put the call of every slide into words, the most wrong first."""
    target, calls = result.target, result.calls
    values = target.take(calls)
    shares = pd.Series(values[range(len(values)), target.find_shown(values)])
    # A label of -1 is none.
    names = np.array([*target.class_names, DASH], object)
    verdicts = calls["is_right"].map({True: "right", False: "wrong"}).fillna("no label")
    return pd.DataFrame(
        {
            "id": calls["id"].astype(str).to_numpy(),
            "patient": calls["patient_id"].to_numpy(),
            "truth": names[labels_of(calls)],
            "called": names[calls["called"]],
            "verdict": verdicts.astype(str).to_numpy(),
            "probability": shares.map(format_number),
            "share": shares,
        }
    )


def _show_tissue(facts: EvaluationFacts, calls: pd.DataFrame) -> Section:
    mapped = calls[calls["id"].isin(list(facts.overlays))].head(_MOST_OVERLAYS)
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
        for call in mapped.itertuples()
    ]
    title = f"{plural(facts.nouns.slide).capitalize()}, the most wrong first"
    return Section("tissue", title, (Pictures(pictures) if pictures else None,))


def _show_calls(result: EvaluationResult, noun: str, calls: pd.DataFrame) -> Section:
    """List every slide with its call."""
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
    words = f" No {nouns.slide} that is scored above had a say."
    if any(level.threshold_range for level in facts.result.levels.values()):
        words = (
            f" Each {nouns.patient} was scored by the fold that held it out, at that "
            "fold's own thresholds, in which it had no say."
        )
    text = f"Everything here was settled on the validation split.{words}"
    title = "Thresholds, and where they were chosen"
    return Section(
        "choices", title, (text, Terms(describe_choices(facts))), link="Thresholds"
    )


def _show_data(facts: EvaluationFacts) -> Section:
    nouns, unit, names = facts.nouns, facts.unit, facts.result.class_names
    units = plural(nouns.of(unit))
    caption = f"What each split holds; all {units} of a {nouns.patient} are in one."
    if unit == "bag":
        caption = "What each split holds; bags of different splits share no patient."
    elif nouns.patient == nouns.of(unit):
        caption = f"What each split holds; each {nouns.patient} is in one."
    # What stands as slide and as patient alike is counted once.
    columns = {nouns.slide: "slide_id" if unit == "tile" else "id"}
    if facts.units["patient_id"].notna().any():
        columns = {nouns.patient: "patient_id"} | columns
    rows = facts.units.groupby("split")
    table = rows[list(columns.values())].nunique()
    table["tiles"] = rows["tiles"].sum() if "tiles" in facts.units else rows.size()
    labels = pd.crosstab(facts.units["split"], facts.units["label"])
    labels = labels.reindex(table.index, fill_value=0)
    labels = labels.reindex(columns=range(len(names)), fill_value=0)
    classes = [f"{name} {units}" for name in names]
    labels.columns = pd.Index(classes)
    splits = [split for split in SPLITS if split in table.index]
    marked = splits.index(facts.result.split) if facts.result.split in splits else None
    table = table.join(labels).loc[splits].reset_index()
    tags = {facts.result.split: "scored here"}
    table["split"] = table["split"].map(lambda name: Cell(name, tag=tags.get(name, "")))
    heads = {"split": "Split"}
    heads |= {column: plural(noun).capitalize() for noun, column in columns.items()}
    heads |= {"tiles": plural(nouns.tile).capitalize()}
    heads |= dict(zip(classes, classes, strict=True))
    licence = (facts.slides and facts.slides.licence) or "not stated"
    source = Terms([("Source and licence", licence)])
    splits_table = tabulate(table, heads, caption, marked=marked)
    return Section("data", "Data", (splits_table, source))


def _draw_training(facts: EvaluationFacts) -> Figure | None:
    path = facts.run.path / "history.csv"
    if not path.is_file():
        return None
    history = read_csv(path)
    with raising(ModelError, f"{path}: cannot be drawn", remedy="delete it"):
        if facts.run.card.learner != "tiles":
            # Models of all folds and seeds, epoch by epoch.
            numbers = history.select_dtypes("number")
            numbers = numbers.drop(columns=["fold", "seed"], errors="ignore")
            history = numbers.groupby("epoch", as_index=False).mean()
        if (drawing := draw_history(history)) is None:
            return None
    keys = [name for name in ("fold", "seed") if name in history]
    n = int(history.groupby(keys).size().max()) if keys else len(history)
    text = (
        f"{count(n, 'epoch')}. Training dashed, validation solid; a dotted "
        "line marks the start of another stage."
    )
    return Figure("training", "Training curves", text, drawing)


def _show_method(facts: EvaluationFacts) -> Section:
    run, result, patients = facts.run, facts.result, plural(facts.nouns.patient)
    unit = facts.unit
    why = "Tiles of one slide, and slides of one patient, resemble each other. "
    why = why if patients == "patients" else ""
    then = " That bags share patients is not allowed for." if unit == "bag" else ""
    beside = "No baseline was scored beside the model."
    if facts.baseline is not None:
        beside = (
            "“Colour alone” is a logistic regression on the mean red, green and blue "
            f"of each {facts.nouns.of(unit)}, trained"
            f"{', aggregated' if unit == 'tile' else ''} and thresholded on the same "
            "splits as the model. Stain and scanner often differ between classes by "
            "accident; a model is worth its trouble by what it adds to this."
        )
    return describe_method(
        describe_model(facts),
        run.record["versions"],
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
