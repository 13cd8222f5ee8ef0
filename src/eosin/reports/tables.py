"""The rows of a report's tables, ready to be printed."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from eosin.evaluation import (
    EvaluationResult,
    LevelResult,
    MetricResult,
    ThresholdChoice,
    ValidationChoices,
)
from eosin.reports.wording import (
    Measure,
    count,
    describe_measures,
    format_interval,
    format_number,
)


@dataclass(frozen=True)
class MetricRow:
    """One metric of one level, with marks for a bar from 0 to 1.

    Attributes:
        measure: Name and meaning.
        value: As text.
        interval: As text.
        baseline: Value of the baseline as text; empty where there is none.
        reason: Why something is missing; empty where nothing is.
        left: Lower end of the interval in percent; None without one.
        width: Its width in percent.
        mark: The value in percent; None without one.
        baseline_mark: The baseline's value in percent; None without one.
    """

    measure: Measure
    value: str
    interval: str
    baseline: str
    reason: str
    left: float | None
    width: float | None
    mark: float | None
    baseline_mark: float | None


@dataclass(frozen=True)
class SlideRow:
    """One slide of the list.

    Attributes:
        slide_id: The slide.
        patient_id: Its patient.
        truth: Name of its label; a dash without one.
        called: Name of the called class.
        probability: Of class 1, or of the called class with more than two; text.
        percent: The same, 0 to 100.
        verdict: `right`, `wrong` or `no label`.
    """

    slide_id: str
    patient_id: str
    truth: str
    called: str
    probability: str
    percent: float
    verdict: str


def list_metrics(
    result: LevelResult, baseline: LevelResult | None, n_classes: int
) -> list[MetricRow]:
    """List a level's metrics beside those of the baseline.

    Args:
        result: The model at one level.
        baseline: The baseline at the same level, or None.
        n_classes: Number of classes.
    """
    return [
        _make_metric_row(
            measure,
            result.metrics[name],
            None if baseline is None else baseline.metrics[name],
        )
        for name, measure in describe_measures(n_classes).items()
    ]


def list_slides(result: EvaluationResult) -> list[SlideRow]:
    """List the slides, the most wrong first."""
    names = result.class_names
    rows = []
    for slide in result.slides.to_dict("records"):
        shown = names[1] if len(names) == 2 else names[slide["called"]]
        probability = float(slide[f"probability_{shown}"])
        has_label = not pd.isna(slide["label"])
        rows.append(
            SlideRow(
                slide_id=str(slide["slide_id"]),
                patient_id=str(slide["patient_id"]),
                truth=names[slide["label"]] if has_label else "\N{EN DASH}",
                called=names[slide["called"]],
                probability=format_number(probability),
                percent=round(100 * probability, 1),
                verdict=("right" if slide["is_right"] else "wrong")
                if has_label
                else "no label",
            )
        )
    return rows


def describe_choices(
    choices: ValidationChoices, class_names: Sequence[str]
) -> list[tuple[str, str]]:
    """Say what was chosen on validation, as rows of a name and a text."""
    chosen = choices.aggregation
    how = f"{chosen.aggregation.describe()}"
    if chosen.auc_by_share:
        best = chosen.auc_by_share[chosen.aggregation.share]
        how += (
            f"; chosen among {len(chosen.auc_by_share)} shares on "
            f"{count(chosen.n_slides, 'validation slide')} (AUC {best:.2f})"
        )
    else:
        how += "; set, because validation could not choose"
    patient = {
        "max": "that of the slide in which most was found",
        "mean": "the mean of the slides",
    }[chosen.aggregation.patient]
    rows = [("Score of a slide", how), ("Score of a patient", patient)]
    if choices.tile is None or choices.slide is None:
        rows.append(("Call", "the class with the highest probability"))
        return rows
    name = class_names[1]
    rows.append((f"A tile is called {name} from", _describe(choices.tile, "tile")))
    rows.append((f"A slide is called {name} from", _describe(choices.slide, "slide")))
    return rows


def _make_metric_row(
    measure: Measure, metric: MetricResult, other: MetricResult | None
) -> MetricRow:
    has_interval = metric.low is not None and metric.high is not None
    has_width = metric.low != metric.high
    return MetricRow(
        measure=measure,
        value=format_number(metric.value),
        interval=format_interval(metric),
        baseline="" if other is None else format_number(other.value),
        reason=metric.reason or ("" if has_width else "the same in every resample"),
        left=_to_percent(metric.low) if has_interval else None,
        width=_to_percent((metric.high or 0) - (metric.low or 0)),
        mark=_to_percent(metric.value),
        baseline_mark=None if other is None else _to_percent(other.value),
    )


def _to_percent(value: float | None) -> float | None:
    # A Brier score of several classes reaches 2; its bar ends at 1.
    return None if value is None else round(100 * min(value, 1.0), 1)


def _describe(choice: ThresholdChoice, level: str) -> str:
    text = f"probability {choice.threshold:.3f}"
    if choice.rule == "fixed":
        return f"{text}; set, because validation holds one class only"
    rule = {
        "youden": "where sensitivity + specificity is highest (Youden)",
    }.get(choice.rule, f"by the rule {choice.rule}")
    return (
        f"{text}; chosen on {count(choice.n, f'validation {level}')} {rule}: "
        f"there sensitivity {format_number(choice.sensitivity)}, "
        f"specificity {format_number(choice.specificity)}"
    )
