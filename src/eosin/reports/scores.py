"""How good a model is: in sentences, in numbers, and level by level."""

from collections.abc import Iterator

from eosin.core import plural
from eosin.evaluation import Classes, EvaluationResult, LevelResult
from eosin.reports.facts import EvaluationFacts
from eosin.reports.figures import (
    draw_confusion,
    draw_curves,
    draw_reliability,
    draw_score_histogram,
)
from eosin.reports.page import Bar, Cell, Figure, Section, Table
from eosin.reports.words import (
    CONFIDENCE,
    Nouns,
    count,
    format_interval,
    format_number,
    say_auc,
    say_confusion,
    with_article,
)

_READING_ORDER = ("slide", "bag", "patient", "tile")
# An AUC below it is no better than guessing, whichever way round.
_GUESSING = 0.5
_SPLITS = {
    "test": "the model never saw",
    "external": "of another cohort, none of which the model saw",
    "val": "of the validation split, on which the model was chosen",
    "train": "that the model was trained on, which says nothing about new ones",
}


def list_levels(result: EvaluationResult) -> list[LevelResult]:
    """List results in the order of reading, each once.

    Left out are those that say the same of the same rows: slides and patients of one
    tile each, and patients of one slide each.
    """
    levels = dict(result.levels)
    tile, slide, patient = (levels.get(u) for u in ("tile", "slide", "patient"))
    if tile is not None and tile.n == tile.n_patients:
        return [tile]
    if slide is not None and patient is not None and slide.n == patient.n:
        del levels["patient"]
    return [levels[unit] for unit in _READING_ORDER if unit in levels]


def choose_main_level(result: EvaluationResult) -> LevelResult:
    """Choose the level that speaks for the model: slides where their AUC is defined."""
    levels = sorted(list_levels(result), key=lambda level: level.level == "patient")
    ranked = [level for level in levels if level.metrics["roc_auc"].value is not None]
    return (ranked or levels)[0]


def find_key_numbers(
    result: EvaluationResult, nouns: Nouns
) -> list[tuple[str, str, str]]:
    """Find the three numbers beside the verdict: name, value and interval."""
    main = choose_main_level(result)
    third = "specificity" if result.target.is_binary else "accuracy"
    labels = f"AUC, {plural(nouns.of(main.level))}", "Sensitivity", third.capitalize()
    metrics = [main.metrics[name] for name in ("roc_auc", "sensitivity", third)]
    return [
        (label, format_number(metric.value), format_interval(metric))
        for label, metric in zip(labels, metrics, strict=True)
    ]


def show_level(facts: EvaluationFacts, level: LevelResult) -> Section:
    """Show what was found at one level: metrics in a table, and figures."""
    result, nouns, noun = facts.result, facts.nouns, facts.nouns.of(level.level)
    parts = zip(level.n_by_class, result.class_names, strict=True)
    by_class = ", ".join(f"{n:,} {name}" for n, name in parts)
    text = f"{count(level.n, noun)}{_say_owners(level, nouns, 'of')}: {by_class}."
    if n := level.n_unlabelled:
        left_out = f"{'is' if n == 1 else 'are'} left out."
        text += f" {count(n, noun)} without a label {left_out}"
    patient = result.levels.get("patient")
    has_one = patient is not None and patient.n == level.n
    if level.level == "slide" and nouns.slide != nouns.patient and has_one:
        text += f" Every {nouns.patient} has one {noun}, so results by {nouns.patient} "
        text += "are the same."
    baseline = facts.find_baseline(level)
    table = _tabulate_metrics(level, baseline, result.target, noun)
    blocks = (text, table, tuple(_draw_level(facts, level, baseline)))
    return Section(level.level, plural(noun).capitalize(), blocks)


def _tabulate_metrics(
    level: LevelResult, baseline: LevelResult | None, target: Classes, noun: str
) -> Table:
    rows: list[list[str | Cell | Bar]] = []
    for metric in target.metrics:
        own, meaning = (
            level.metrics[metric.name],
            metric.explain(len(target.class_names)),
        )
        other = baseline.metrics[metric.name].value if baseline else None
        is_same = own.low is not None and own.low == own.high
        span = None if own.low is None or own.high is None else (own.low, own.high)
        tag = "lower is better" if metric.is_lower_better else ""
        reason = own.reason or ("the same in every resample" if is_same else "")
        rows.append(
            [
                Cell(metric.title, tag=tag, below=meaning),
                Cell(format_number(own.value), "value"),
                Cell(format_interval(own), below=reason),
                Bar(span=span, dot=own.value, other=other),
                *([format_number(other)] if baseline else []),
            ]
        )
    heads = ["Measure", "Model", f"{CONFIDENCE} interval", "Interval as a bar"]
    caption = (
        f"Results by {noun}. The bar is the {CONFIDENCE} interval from 0 to 1, the dot "
        "the model"
    )
    if baseline:
        heads.append("Colour alone")
        caption += ", the hollow mark mean colour alone"
    return Table(heads, rows, f"{caption}.", style="metrics")


def _draw_level(
    facts: EvaluationFacts, level: LevelResult, baseline: LevelResult | None
) -> Iterator[Figure]:
    names, unit, noun = (
        facts.result.class_names,
        level.level,
        facts.nouns.of(level.level),
    )
    over = plural(facts.nouns.patient)
    rows = plural(noun)
    title, text = "Right and wrong calls", say_confusion(level, names, noun)
    yield Figure(f"{unit}-confusion", title, text, draw_confusion(level, names))
    title = "Spread of the probabilities"
    text = "The further the classes lie apart, the better."
    drawing = draw_score_histogram(level, names, rows)
    yield Figure(f"{unit}-scores", title, text, drawing)
    if level.roc_curves:
        text = f"Sensitivity against false alarms at every threshold; {say_auc(level)}."
        drawing = draw_curves("roc", level, baseline, over)
        yield Figure(f"{unit}-roc", "ROC curve", text, drawing)
    if level.precision_curves:
        area = format_number(level.metrics["average_precision"].value)
        text = f"How many of the {rows} called positive are; average precision {area}."
        drawing = draw_curves("precision", level, baseline, over)
        yield Figure(f"{unit}-precision", "Precision and recall", text, drawing)
    text = (
        f"Whether probabilities come true. On the dotted line, of ten {rows} given "
        f"0.8 eight are {'positive' if len(names) == 2 else 'called right'}. "
        f"Calibration error {format_number(level.metrics['ece'].value)}."
    )
    if facts.run.card.unit == "tile" and unit != "tile":
        text += (
            f" The score of a {noun} is an average of {plural(facts.nouns.tile)}: it "
        )
        text += f"puts {rows} in order and is not to be read as a chance."
    drawing = draw_reliability(level, rows)
    yield Figure(f"{unit}-reliability", "Calibration", text, drawing)


def say_verdict(facts: EvaluationFacts) -> Iterator[str]:
    """Say in a few sentences how good a model is, the most important first."""
    main = choose_main_level(facts.result)
    yield _say_ranking(facts.result, main, facts.nouns)
    yield _say_calls(facts.result, main, facts.nouns)
    if (baseline := facts.find_baseline(main)) is not None:
        yield from _say_baseline(main, baseline)


def _say_ranking(result: EvaluationResult, level: LevelResult, nouns: Nouns) -> str:
    noun, names = nouns.of(level.level), result.class_names
    auc = level.metrics["roc_auc"]
    where = f"On {count(level.n, noun)}{_say_owners(level, nouns, 'from')} "
    where += _SPLITS[result.split]
    if auc.value is None:
        return f"{where}, no ranking can be measured: {auc.reason}."
    if len(names) > 2:
        how_well = f"told {len(names)} classes apart with a mean area under the "
        how_well += f"curve of {auc.value:.2f}"
    else:
        how_well = f"ranked {with_article(names[1])} {noun} above "
        how_well += f"{with_article(names[0])} one {auc.value * 100:.0f} times in 100"
    return f"{where}, it {how_well} ({say_auc(level)})."


def _say_owners(level: LevelResult, nouns: Nouns, word: str) -> str:
    """Say of how many patients; of tiles that are one each none is known."""
    is_alone = (level.level, level.n) == ("tile", level.n_patients)
    if is_alone or nouns.of(level.level) == nouns.patient:
        return ""
    return f" {word} {count(level.n_patients, nouns.patient)}"


def _say_calls(result: EvaluationResult, level: LevelResult, nouns: Nouns) -> str:
    names, confusion, noun = result.class_names, level.confusion, nouns.of(level.level)
    if len(names) > 2:
        return f"It called {confusion.trace():,} of {count(level.n, noun)} right."
    negative, positive = (int(n) for n in confusion.sum(axis=1))
    parts = []
    if positive:
        whole = count(positive, f"{names[1]} {noun}")
        parts.append(f"found {confusion[1, 1]:,} of {whole}")
    if negative:
        whole = count(negative, f"{names[0]} {noun}")
        parts.append(f"called {confusion[0, 1]:,} of {whole} {names[1]} by mistake")
    at = f"its threshold of {format_number(level.threshold)}"
    if level.threshold_range:
        low, high = level.threshold_range
        at = f"the thresholds of its folds, {low:.2f} to {high:.2f},"
    return f"At {at} it {' and '.join(parts)}."


def _say_baseline(level: LevelResult, baseline: LevelResult) -> Iterator[str]:
    auc, colour = (r.metrics["roc_auc"].value for r in (level, baseline))
    if auc is None or colour is None:
        return
    reached = f"Mean colour alone reaches an AUC of {colour:.2f}"
    if colour < _GUESSING:
        reached = "Mean colour alone does no better than guessing"
        yield f"{reached} (an AUC of {colour:.2f})."
    elif auc <= colour:
        yield f"{reached}: the model is no better than three numbers for each tile."
    else:
        yield f"{reached}; what the model sees beyond colour is the difference."
