"""How good a model is: in sentences, in numbers, and level by level."""

from collections.abc import Iterator, Sequence

from eosin.evaluation import (
    Classes,
    EvaluationResult,
    LevelResult,
    Metric,
    MetricResult,
)
from eosin.reports.figures import (
    draw_confusion,
    draw_precision_curves,
    draw_reliability,
    draw_roc_curves,
    draw_score_histogram,
)
from eosin.reports.page import Bar, Cell, Figure, Figures, Section, Table
from eosin.reports.words import (
    CONFIDENCE,
    Nouns,
    count,
    format_interval,
    format_number,
    plural,
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
    tile, slide = result.levels.get("tile"), result.levels.get("slide")
    if tile is not None and tile.n == tile.n_patients:
        return [tile]
    levels = [level for unit, level in result.levels.items() if unit != "patient"]
    patient = result.levels.get("patient")
    if patient is not None and (slide is None or slide.n != patient.n):
        levels.append(patient)
    return sorted(levels, key=lambda level: _READING_ORDER.index(level.level))


def choose_main_level(result: EvaluationResult) -> LevelResult:
    """Choose the level that speaks for the model: slides where their AUC is defined."""
    levels = sorted(list_levels(result), key=lambda level: level.level == "patient")
    is_ranked = [level.metrics["roc_auc"].value is not None for level in levels]
    return levels[is_ranked.index(True) if any(is_ranked) else 0]


def find_key_numbers(
    result: EvaluationResult, nouns: Nouns
) -> list[tuple[str, str, str]]:
    """Find the three numbers beside the verdict: name, value and interval."""
    main = choose_main_level(result)
    third = "specificity" if result.target.is_binary else "accuracy"
    names = {
        "roc_auc": f"AUC, {plural(nouns.of(main.level))}",
        "sensitivity": "Sensitivity",
        third: third.capitalize(),
    }
    metrics = {label: main.metrics[name] for name, label in names.items()}
    return [
        (label, format_number(metric.value), format_interval(metric))
        for label, metric in metrics.items()
    ]


def show_level(
    result: EvaluationResult,
    level: LevelResult,
    baseline: EvaluationResult | None,
    nouns: Nouns,
    *,
    is_average: bool,
) -> Section:
    """Show what was found at one level: metrics in a table, and figures.

    Args:
        result: The model's evaluation.
        level: One of its levels.
        baseline: The colour baseline's, or None.
        nouns: What is scored.
        is_average: Whether probabilities of slides and patients are averages of tiles.
    """
    noun = nouns.of(level.level)
    beside = None if baseline is None else baseline.levels.get(level.level)
    parts = zip(level.n_by_class, result.class_names, strict=True)
    by_class = ", ".join(f"{n:,} {name}" for n, name in parts)
    text = f"{count(level.n, noun)}{_say_owners(level, nouns, 'of')}: {by_class}."
    if n := level.n_unlabelled:
        text += f" {count(n, noun)} without a label {'is' if n == 1 else 'are'} left "
        text += "out."
    patient = result.levels.get("patient")
    has_one = patient is not None and patient.n == level.n
    if level.level == "slide" and nouns.slide != nouns.patient and has_one:
        text += f" Every {nouns.patient} has one {noun}, so results by {nouns.patient} "
        text += "are the same."
    table = _tabulate_metrics(level, beside, result.target, noun)
    figures = list(
        _draw_level(level, beside, result.class_names, nouns, is_average=is_average)
    )
    blocks = (text, table, Figures(figures))
    return Section(level.level, plural(noun).capitalize(), blocks)


def _tabulate_metrics(
    level: LevelResult, baseline: LevelResult | None, target: Classes, noun: str
) -> Table:
    heads = ["Measure", "Model", f"{CONFIDENCE} interval", "Interval as a bar"]
    caption = (
        f"Results by {noun}. The bar is the {CONFIDENCE} "
        "interval from 0 to 1, the dot the model"
    )
    rows: list[list[str | Cell | Bar]] = []
    names = target.class_names
    for metric in target.metrics:
        found, meaning = level.metrics[metric.name], metric.explain(len(names))
        other = baseline.metrics[metric.name].value if baseline else None
        rows.append([*_show_metric(metric, meaning, found, other)])
        if baseline:
            rows[-1].append(format_number(other))
    if baseline:
        heads.append("Colour alone")
        caption += ", the hollow mark mean colour alone"
    return Table(heads, rows, f"{caption}.", style="metrics")


def _show_metric(
    metric: Metric, meaning: str, found: MetricResult, other: float | None
) -> tuple[Cell, Cell, Cell, Bar]:
    low, high = found.low, found.high
    reason = found.reason or ("the same in every resample" if low == high else "")
    span = None if low is None or high is None else (low, high)
    tag = "lower is better" if metric.is_lower_better else ""
    return (
        Cell(metric.title, tag=tag, below=meaning),
        Cell(format_number(found.value), "value"),
        Cell(format_interval(found), below=reason),
        Bar(span=span, dot=found.value, other=other),
    )


def _draw_level(
    level: LevelResult,
    baseline: LevelResult | None,
    names: Sequence[str],
    nouns: Nouns,
    *,
    is_average: bool,
) -> Iterator[Figure]:
    unit = level.level
    noun, nouns_of = nouns.of(unit), plural(nouns.of(unit))
    over = plural(nouns.patient)
    yield Figure(
        f"{unit}-confusion",
        "Right and wrong calls",
        say_confusion(level, names, noun),
        draw_confusion(level, names),
    )
    yield Figure(
        f"{unit}-scores",
        "Spread of the probabilities",
        "The further the classes lie apart, the better.",
        draw_score_histogram(level, names, nouns_of),
    )
    if level.roc_curves:
        yield Figure(
            f"{unit}-roc",
            "ROC curve",
            f"Sensitivity against false alarms at every threshold; {say_auc(level)}.",
            draw_roc_curves(level, baseline, over),
        )
    if level.precision_curves:
        area = format_number(level.metrics["average_precision"].value)
        yield Figure(
            f"{unit}-precision",
            "Precision and recall",
            f"How many of the {nouns_of} called positive are; average precision "
            f"{area}.",
            draw_precision_curves(level, baseline, over),
        )
    text = (
        f"Whether probabilities come true. On the dotted line, of ten {nouns_of} given "
        f"0.8 eight are {'positive' if len(names) == 2 else 'called right'}. "
        f"Calibration error {format_number(level.metrics['ece'].value)}."
    )
    if is_average and unit != "tile":
        text += f" The score of a {noun} is an average of {plural(nouns.tile)}: it "
        text += f"puts {nouns_of} in order and is not to be read as a chance."
    drawing = draw_reliability(level, nouns_of)
    yield Figure(f"{unit}-reliability", "Calibration", text, drawing)


def say_verdict(
    result: EvaluationResult, baseline: EvaluationResult | None, nouns: Nouns
) -> list[str]:
    """Say in a few sentences how good a model is, the most important first.

    Args:
        result: The model's evaluation.
        baseline: The colour baseline's, or None.
        nouns: What is scored.
    """
    main = choose_main_level(result)
    sentences = [_say_ranking(result, main, nouns), _say_calls(result, main, nouns)]
    if baseline is not None and main.level in baseline.levels:
        sentences += _say_baseline(main, baseline.levels[main.level])
    return sentences


def _say_ranking(result: EvaluationResult, level: LevelResult, nouns: Nouns) -> str:
    noun, names = nouns.of(level.level), result.class_names
    auc = level.metrics["roc_auc"]
    where = f"On {count(level.n, noun)}{_say_owners(level, nouns, 'from')} "
    where += _SPLITS[result.split]
    if auc.value is None:
        return f"{where}, no ranking can be measured: {auc.reason}."
    if len(names) > 2:
        return (
            f"{where}, it told {len(names)} classes apart with a mean area under the "
            f"curve of {auc.value:.2f} ({say_auc(level)})."
        )
    return (
        f"{where}, it ranked {with_article(names[1])} {noun} above "
        f"{with_article(names[0])} one {auc.value * 100:.0f} times in 100 "
        f"({say_auc(level)})."
    )


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
