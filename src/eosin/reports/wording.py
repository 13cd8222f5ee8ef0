"""An evaluation in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from eosin.evaluation import (
    EvaluationResult,
    Level,
    LevelResult,
    MetricResult,
    format_ends,
)

# The number and its sign must not be torn apart at a line's end.
CONFIDENCE = "95\N{NARROW NO-BREAK SPACE}%"

# An AUC below it is no better than guessing, whichever way round.
_GUESSING = 0.5


@dataclass(frozen=True)
class Measure:
    """How a metric is called, and what it says.

    Attributes:
        label: Its name for a reader.
        meaning: One sentence for who has never met it.
        is_lower_better: True for errors.
    """

    label: str
    meaning: str
    is_lower_better: bool = False


_BINARY = {
    "roc_auc": Measure(
        "ROC AUC",
        "How often a positive one is ranked above a negative one; 0.5 is guessing.",
    ),
    "average_precision": Measure(
        "Average precision",
        "Share of true positives among those called, over all thresholds.",
    ),
    "sensitivity": Measure("Sensitivity", "Share of the positive ones that are found."),
    "specificity": Measure(
        "Specificity", "Share of the negative ones that are left alone."
    ),
    "balanced_accuracy": Measure(
        "Balanced accuracy", "Mean of sensitivity and specificity."
    ),
    "accuracy": Measure("Accuracy", "Share of right calls, however rare a class is."),
    "f1": Measure("F1", "Balance of sensitivity and precision at the threshold."),
    "brier": Measure(
        "Brier score",
        "Squared error of the probabilities; 0 is perfect.",
        is_lower_better=True,
    ),
    "ece": Measure(
        "Calibration error",
        "How far probabilities are from how often they come true.",
        is_lower_better=True,
    ),
}
_MULTICLASS = _BINARY | {
    "roc_auc": Measure(
        "ROC AUC",
        "How often one of a class is ranked above one of another; mean over classes.",
    ),
    "average_precision": Measure(
        "Average precision",
        "Share of right calls of a class over all thresholds; mean over classes.",
    ),
    "sensitivity": Measure("Sensitivity", "Share of a class found; mean over classes."),
    "specificity": Measure(
        "Specificity", "Share of the other classes left alone; mean over classes."
    ),
    "balanced_accuracy": Measure(
        "Balanced accuracy", "With several classes the same as sensitivity."
    ),
    "f1": Measure("F1", "Balance of sensitivity and precision; mean over classes."),
}


def describe_measures(n_classes: int) -> dict[str, Measure]:
    """Return the metrics that a report shows, in their order."""
    return _BINARY if n_classes == 2 else _MULTICLASS


def format_number(value: float | None, digits: int = 2) -> str:
    """Write a value with fixed decimals; a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"


def format_interval(metric: MetricResult) -> str:
    """Write an interval as `0.88 to 0.97`, or `none`.

    An interval without width is none either: nothing varied that could be measured.
    """
    ends = format_ends(metric.low, metric.high)
    return "none" if ends is None else " to ".join(ends)


def count(n: int, noun: str) -> str:
    """Write a number and its noun, in the plural where that is due."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def choose_main_level(result: EvaluationResult) -> Level:
    """Choose the level of the headline: slides where their AUC is defined.

    Patches of unknown slides are a slide each, which says nothing of slides.
    """
    tiles = result.levels.get("tile")
    for level in ("slide", "tile", "patient"):
        found = result.levels.get(level)
        if level == "slide" and found and tiles and found.n == tiles.n:
            continue
        if found is not None and found.metrics["roc_auc"].value is not None:
            return level
    return next(iter(result.levels))


def write_headline(
    result: EvaluationResult,
    baseline: EvaluationResult | None,
    *,
    noun: str | None = None,
) -> tuple[str, ...]:
    """Say in a few sentences how good the model is.

    Args:
        result: The model's evaluation.
        baseline: The colour baseline's, or None.
        noun: What was scored, where it is none of the levels, such as drawn bags, which
            are of no patient by themselves. None takes the level's own name.

    Returns:
        The sentences, the most important first.
    """
    level = choose_main_level(result)
    found = result.levels[level]
    if noun is not None:
        found = replace(found, level=cast("Level", noun))
    sentences = [_say_ranking(result, found), *_say_calls(result, found)]
    if baseline is not None and level in baseline.levels:
        sentences += _say_baseline(found, baseline.levels[level])
    return tuple(sentences)


def say_confusion(result: LevelResult, class_names: Sequence[str]) -> str:
    """Say a confusion matrix in words, for who cannot see the figure."""
    parts = []
    for name, row in zip(class_names, result.confusion, strict=True):
        called = ", ".join(
            f"{n:,} as {other}" for n, other in zip(row, class_names, strict=True) if n
        )
        parts.append(
            f"Of {count(int(row.sum()), f'{name} {result.level}')}: {called}"
            if row.sum()
            else f"There is no {name} {result.level}"
        )
    return ". ".join(parts) + "."


def say_auc(result: LevelResult) -> str:
    """Say the AUC with its interval in brackets' words."""
    metric = result.metrics["roc_auc"]
    value = format_number(metric.value)
    if metric.low is None:
        return f"AUC {value}, no interval"
    if metric.low == metric.high:
        return f"AUC {value} in every resample, so no interval can be given"
    return f"AUC {value}, {CONFIDENCE} interval {format_interval(metric)}"


def _say_ranking(result: EvaluationResult, found: LevelResult) -> str:
    where = (
        f"On {count(found.n, found.level)} from {count(found.n_patients, 'patient')} "
        f"{_say_split(result.split)}"
    )
    if found.level == "tile" and found.n_patients == found.n:
        where = f"On {count(found.n, 'tile')} {_say_split(result.split)}"
    elif found.level not in ("slide", "tile"):
        where = f"On {count(found.n, found.level)} {_say_split(result.split)}"
    auc = found.metrics["roc_auc"].value
    names = result.class_names
    if auc is None:
        return (
            f"{where}, no ranking can be measured: {found.metrics['roc_auc'].reason}."
        )
    if len(names) > 2:
        return (
            f"{where}, it told {len(names)} classes apart with a mean area under the "
            f"curve of {auc:.2f} ({say_auc(found)})."
        )
    return (
        f"{where}, it ranked {_with_article(names[1])} {found.level} above "
        f"{_with_article(names[0])} one "
        f"{auc * 100:.0f} times in 100 ({say_auc(found)})."
    )


def _say_split(split: str) -> str:
    return {
        "test": "the model never saw",
        "external": "of another cohort, none of which the model saw",
        "val": "of the validation split, on which the model was chosen",
        "train": "that the model was trained on, which says nothing about new ones",
    }[split]


def _say_calls(result: EvaluationResult, found: LevelResult) -> list[str]:
    names, confusion = result.class_names, found.confusion
    level = found.level
    if len(names) > 2:
        n_right = int(confusion.trace())
        return [f"It called {n_right:,} of {count(found.n, level)} right."]
    negative, positive = (int(n) for n in confusion.sum(axis=1))
    parts = []
    if positive:
        parts.append(
            f"found {confusion[1, 1]:,} of {count(positive, f'{names[1]} {level}')}"
        )
    if negative:
        parts.append(
            f"called {confusion[0, 1]:,} of {count(negative, f'{names[0]} {level}')} "
            f"{names[1]} by mistake"
        )
    said = f"its threshold of {found.threshold:.2f}"
    if found.threshold_range:
        low, high = found.threshold_range
        said = f"the thresholds of its folds, {low:.2f} to {high:.2f},"
    return [f"At {said} it {' and '.join(parts)}."]


def _say_baseline(found: LevelResult, baseline: LevelResult) -> list[str]:
    value, other = (r.metrics["roc_auc"].value for r in (found, baseline))
    if value is None or other is None:
        return []
    if other < _GUESSING:
        return [
            f"Mean colour alone does no better than guessing (an AUC of {other:.2f})."
        ]
    if value <= other:
        return [
            f"Mean colour alone reaches an AUC of {other:.2f}: the model is no better "
            f"than three numbers for each tile."
        ]
    return [
        f"Mean colour alone reaches an AUC of {other:.2f}; what the model sees "
        f"beyond colour is the difference."
    ]


def _with_article(name: str) -> str:
    return f"an {name}" if name[:1].lower() in tuple("aeiou") else f"a {name}"
