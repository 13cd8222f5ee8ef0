"""What a report is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from eosin.core import SlideFailure
from eosin.evaluation import SPLITS, EvaluationResult, ValidationChoices


@dataclass(frozen=True)
class SplitCount:
    """How much one split holds.

    Attributes:
        split: `train`, `val`, `test` or `external`.
        n_patients: Patients.
        n_slides: Slides.
        n_tiles: Tiles.
        n_tiles_by_class: Labelled tiles of each class, in the order of the labels;
            where slides are what was learnt from, labelled slides.
    """

    split: str
    n_patients: int
    n_slides: int
    n_tiles: int
    n_tiles_by_class: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that a report shows. Text is escaped, whatever it holds.

    Attributes:
        title: The report's heading.
        result: The model's evaluation.
        choices: Aggregation and thresholds, and how validation chose them; or the same
            in words, as rows of a name and a text.
        splits: What each split holds, in the order to be shown.
        baseline: Evaluation of the colour baseline on the same rows; None where
            there is none, which the report says.
        history: Training history: a column `epoch` and metrics, of which `val_x`
            is drawn beside `x`; a column `stage` where there is more than one.
            None leaves the section out.
        overlays: Image file (JPEG or PNG) of a slide's heatmap by `slide_id`, shown
            beside the slides that the model got most wrong. May be empty.
        method: What was done, as rows of a name and a text: encoder, mpp, tile
            size, loss, ...
        versions: Version by package.
        data_licence: Licence and source of the slides, as the user stated it; None
            where nobody stated it, which the report says.
        cautions: What a reader must know beside what the result says itself.
        failures: Slides that could not be worked on and are missing from all numbers.
        are_slides_made: True for slides that `slides.phantom` drew.
        are_patients_known: False where each slide counts as a patient of its own
            because nobody said whose it is.
        unit: What bore the labels that were learnt from: tiles, or slides or drawn
            bags, of which a model then scores each as a whole. Of bags, what stands as
            a slide and as a patient is a bag.
        created: When the evaluation was run, as it should be printed. None prints
            no date, so that the same input gives the same file.
    """

    title: str
    result: EvaluationResult
    choices: ValidationChoices | Sequence[tuple[str, str]]
    splits: Sequence[SplitCount]
    baseline: EvaluationResult | None = None
    history: pd.DataFrame | None = None
    overlays: Mapping[str, Path] = field(default_factory=dict)
    method: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    data_licence: str | None = None
    cautions: Sequence[str] = ()
    failures: Sequence[SlideFailure] = ()
    are_slides_made: bool = False
    are_patients_known: bool = True
    unit: Literal["tile", "slide", "bag"] = "tile"
    created: str | None = None


def count_splits(
    tiles: pd.DataFrame, class_names: Sequence[str]
) -> tuple[SplitCount, ...]:
    """Count what each split holds, in the order train, val, test, external.

    Args:
        tiles: One row for each tile, with `split`, `patient_id`, `slide_id` and
            `label`: a manifest, or tile rows of a prediction table.
        class_names: Class names in the order of their labels.
    """
    counts = []
    for split in SPLITS:
        rows = tiles[tiles["split"] == split]
        if rows.empty:
            continue
        by_class = rows["label"].value_counts()
        counts.append(
            SplitCount(
                split=split,
                n_patients=rows["patient_id"].nunique(),
                n_slides=rows["slide_id"].nunique(),
                n_tiles=len(rows),
                n_tiles_by_class=tuple(
                    int(by_class.get(i, 0)) for i in range(len(class_names))
                ),
            )
        )
    return tuple(counts)
