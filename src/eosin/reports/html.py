"""The report: one HTML file that needs nothing but itself."""

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from PIL import Image, UnidentifiedImageError

from eosin.core import RunError, atomic_path, write_text
from eosin.evaluation import (
    EvaluationResult,
    Level,
    LevelResult,
    ValidationChoices,
)
from eosin.reports.data import ReportData
from eosin.reports.figures import (
    draw_confusion,
    draw_history,
    draw_precision_curves,
    draw_reliability,
    draw_roc_curves,
    draw_score_histogram,
)
from eosin.reports.pages import FigureSlot, render_page
from eosin.reports.style import render_png
from eosin.reports.tables import (
    MetricRow,
    describe_choices,
    list_metrics,
    list_slides,
)
from eosin.reports.wording import (
    CONFIDENCE,
    choose_main_level,
    count,
    format_interval,
    format_number,
    say_auc,
    say_confusion,
    write_headline,
)

# Enough to see what goes wrong, and the file stays small enough to be mailed.
_MOST_OVERLAYS = 12
_OVERLAY_PX = 640
_READING_ORDER: tuple[Level, ...] = ("slide", "patient", "tile")


@dataclass(frozen=True)
class _LevelSection:
    """Everything that the page shows of one level."""

    level: Level
    noun: str
    summary: str
    rows: list[MetricRow]
    has_baseline: bool
    figures: list[FigureSlot]


def write_report(path: Path, data: ReportData) -> None:
    """Write the report as one self-contained HTML file, whole or not at all.

    Args:
        path: The file to write.
        data: What the report shows.

    Raises:
        RunError: The file cannot be written, or an overlay is not an image.
    """
    write_text(path, render_report(data))


def render_report(data: ReportData) -> str:
    """Return the report's HTML.

    Raises:
        RunError: An overlay cannot be read as an image.
    """
    return render_page("report.html.j2", **_collect(data))


def write_figures(folder: Path, data: ReportData) -> list[Path]:
    """Write every figure of the report as PNG, for slides and papers.

    Args:
        folder: Where to write; made when missing.
        data: What the report shows.

    Returns:
        The files, named after level and figure, such as `slide-roc.png`.

    Raises:
        RunError: A file cannot be written.
    """
    paths = []
    for slot in _iter_figures(data):
        path = Path(folder) / f"{slot.name}.png"
        with atomic_path(path) as temporary:
            temporary.write_bytes(render_png(slot.figure))
        paths.append(path)
    return paths


def _collect(data: ReportData) -> Mapping[str, Any]:
    """Gather what the template prints."""
    result = data.result
    slides = list_slides(result)
    main = result.levels[choose_main_level(result)]
    return {
        "data": data,
        "noun": "bag" if data.unit == "bag" else "slide",
        "result": result,
        "class_names": result.class_names,
        "is_binary": len(result.class_names) == 2,
        "confidence": CONFIDENCE,
        "is_held_out": result.split in ("test", "external"),
        "has_folds": any(level.threshold_range for level in result.levels.values()),
        "headline": write_headline(
            result, data.baseline, noun="bag" if data.unit == "bag" else None
        ),
        "key_numbers": _find_key_numbers(
            main,
            "bag" if data.unit == "bag" else main.level,
            is_binary=len(result.class_names) == 2,
        ),
        "cautions": _collect_cautions(data),
        "choices": describe_choices(data.choices, result.class_names)
        if isinstance(data.choices, ValidationChoices)
        else data.choices,
        "levels": list(_iter_levels(data)),
        "is_patient_slide": _is_patient_slide(result),
        "slides": slides,
        "slide_threshold_percent": _find_threshold_percent(result),
        "n_wrong": sum(row.verdict == "wrong" for row in slides),
        "overlays": [
            (row, _embed_image(data.overlays[row.slide_id]))
            for row in [row for row in slides if row.slide_id in data.overlays][
                :_MOST_OVERLAYS
            ]
        ],
        "training": _make_training_figure(data),
    }


def _find_key_numbers(
    main: LevelResult, noun: str, *, is_binary: bool
) -> list[tuple[str, str, str]]:
    """Choose the three numbers beside the headline: name, value, interval."""
    third = "specificity" if is_binary else "accuracy"
    names = {
        "roc_auc": f"AUC, {noun}s",
        "sensitivity": "Sensitivity",
        third: third.capitalize(),
    }
    return [
        (
            label,
            format_number(main.metrics[name].value),
            format_interval(main.metrics[name]),
        )
        for name, label in names.items()
    ]


def _find_threshold_percent(result: EvaluationResult) -> float | None:
    found = result.levels.get("slide")
    if found is None or found.threshold is None or found.threshold_range:
        return None
    return round(100 * min(found.threshold, 1.0), 1)


def _collect_cautions(data: ReportData) -> list[str]:
    """List everything that limits the results, the gravest first."""
    cautions = []
    if data.are_slides_made:
        cautions.append(
            "These slides were made by a computer. The numbers show that the software "
            "works; they say nothing about its accuracy on real tissue."
        )
    if data.result.split in ("train", "val"):
        cautions.append(
            f"These are results on the {data.result.split} split, which the model has "
            f"seen or was chosen on. They are not a measure of its accuracy."
        )
    # Drawn bags say themselves whose they are.
    if not data.are_patients_known and data.unit != "bag":
        cautions.append(
            "No patient ids were given, so every slide counts as a patient. If slides "
            "share patients, the results are too good and the intervals too narrow."
        )
    cautions += data.result.cautions
    if isinstance(data.choices, ValidationChoices):
        cautions += data.choices.cautions
    cautions += data.cautions
    if data.failures:
        cautions.append(
            f"{count(len(data.failures), 'slide')} could not be read and "
            f"{'is' if len(data.failures) == 1 else 'are'} missing from every number."
        )
    if data.data_licence is None:
        cautions.append("Nobody stated where the slides come from and their licence.")
    return list(dict.fromkeys(cautions))


def _is_patient_slide(result: EvaluationResult) -> bool:
    """Tell whether each patient has one slide, so that both levels are the same."""
    slide, patient = (result.levels.get(level) for level in ("slide", "patient"))
    return slide is not None and patient is not None and slide.n == patient.n


def _iter_levels(data: ReportData) -> Iterator[_LevelSection]:
    result = data.result
    for level in _READING_ORDER:
        if level not in result.levels:
            continue
        if level == "patient" and _is_patient_slide(result):
            continue
        found = result.levels[level]
        baseline = None if data.baseline is None else data.baseline.levels.get(level)
        by_class = ", ".join(
            f"{n:,} {name}"
            for n, name in zip(found.n_by_class, result.class_names, strict=True)
        )
        noun = "bag" if data.unit == "bag" else level
        source = f" of {count(found.n_patients, 'patient')}"
        if noun in ("patient", "bag"):
            source = ""
        summary = f"{count(found.n, noun)}{source}: {by_class}."
        if found.n_unlabelled:
            summary += (
                f" {count(found.n_unlabelled, noun)} without a label "
                f"{'is' if found.n_unlabelled == 1 else 'are'} left out."
            )
        yield _LevelSection(
            level=level,
            noun=noun,
            summary=summary,
            rows=list_metrics(found, baseline, len(result.class_names)),
            has_baseline=baseline is not None,
            figures=list(
                _draw_level(
                    found,
                    baseline,
                    result.class_names,
                    noun=noun,
                    averages_tiles=data.unit == "tile",
                )
            ),
        )


def _draw_level(
    found: LevelResult,
    baseline: LevelResult | None,
    class_names: tuple[str, ...],
    *,
    noun: str,
    averages_tiles: bool,
) -> Iterator[FigureSlot]:
    level = found.level
    # What is drawn and said goes by the noun, files by the level.
    found = replace(found, level=cast("Level", noun))
    yield FigureSlot(
        f"{level}-confusion",
        "Right and wrong calls",
        say_confusion(found, class_names),
        draw_confusion(found, class_names),
    )
    yield FigureSlot(
        f"{level}-scores",
        "Spread of the probabilities",
        "The further the classes lie apart, the better.",
        draw_score_histogram(found, class_names),
    )
    if found.roc_curves:
        yield FigureSlot(
            f"{level}-roc",
            "ROC curve",
            f"Sensitivity against false alarms at every threshold; {say_auc(found)}.",
            draw_roc_curves(found, baseline),
        )
    if found.precision_curves:
        area = found.metrics["average_precision"]
        yield FigureSlot(
            f"{level}-precision",
            "Precision and recall",
            f"How many of the {noun}s called positive are; average precision "
            f"{format_number(area.value)}.",
            draw_precision_curves(found, baseline),
        )
    yield FigureSlot(
        f"{level}-reliability",
        "Calibration",
        _explain_reliability(found, averages_tiles=averages_tiles),
        draw_reliability(found),
    )


def _explain_reliability(found: LevelResult, *, averages_tiles: bool) -> str:
    is_binary = len(found.n_by_class) == 2
    text = (
        f"Whether probabilities come true. On the dotted line, of ten {found.level}s "
        f"given 0.8 eight are {'positive' if is_binary else 'called right'}. "
        f"Calibration error {format_number(found.metrics['ece'].value)}."
    )
    if found.level == "tile" or not averages_tiles:
        return text
    return text + (
        f" The score of a {found.level} is an average of tiles: it puts {found.level}s "
        f"in order and is not to be read as a chance."
    )


def _make_training_figure(data: ReportData) -> FigureSlot | None:
    figure = None if data.history is None else draw_history(data.history)
    if figure is None or data.history is None:
        return None
    text = (
        f"{count(len(data.history), 'epoch')}. Training dashed, validation solid; a "
        f"dotted line marks the start of another stage."
    )
    return FigureSlot("training", "Training curves", text, figure)


def _iter_figures(data: ReportData) -> Iterator[FigureSlot]:
    for section in _iter_levels(data):
        yield from section.figures
    training = _make_training_figure(data)
    if training is not None:
        yield training


def _embed_image(path: Path) -> str:
    """Return an image as a data address, at most 640 pixels a side."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise RunError(
            f"{path}: cannot be read as an overlay image ({error})"
        ) from error
    small.thumbnail((_OVERLAY_PX, _OVERLAY_PX))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
