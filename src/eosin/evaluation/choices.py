"""Everything that is chosen on the validation split, in one place.

The same choices are made for a model and for every baseline beside it, and none
of them sees a test or an external row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from eosin.evaluation.aggregation import (
    AggregationChoice,
    aggregate_predictions,
    choose_aggregation,
)
from eosin.evaluation.predictions import (
    Level,
    labels_of,
    probabilities_of,
    select_level,
)
from eosin.evaluation.thresholds import (
    DEFAULT_RULE,
    ThresholdChoice,
    choose_threshold,
)


@dataclass(frozen=True)
class ValidationChoices:
    """An aggregation and two thresholds, chosen on validation.

    Attributes:
        aggregation: How slides and patients are scored.
        tile: Threshold of tiles; None with more than two classes.
        slide: Threshold of slides and patients; None with more than two classes.
    """

    aggregation: AggregationChoice
    tile: ThresholdChoice | None
    slide: ThresholdChoice | None

    @property
    def threshold(self) -> float | None:
        """The threshold of tiles."""
        return None if self.tile is None else self.tile.threshold

    @property
    def slide_threshold(self) -> float | None:
        """The threshold of slides and patients."""
        return None if self.slide is None else self.slide.threshold

    @property
    def cautions(self) -> tuple[str, ...]:
        """Why any of the choices deserves doubt, one sentence each."""
        parts = (self.aggregation, self.tile, self.slide)
        names = ("Slide score", "Tile threshold", "Slide threshold")
        return tuple(
            f"{name}: {part.caution}."
            for name, part in zip(names, parts, strict=True)
            if part is not None and part.caution is not None
        )

    def to_json(self) -> dict[str, Any]:
        """Return the choices as plain values, for a model card."""
        return {
            "aggregation": {
                "method": self.aggregation.aggregation.method,
                "share": self.aggregation.aggregation.share,
                "patient": self.aggregation.aggregation.patient,
            },
            "threshold": self.threshold,
            "threshold_rule": None if self.tile is None else self.tile.rule,
            "slide_threshold": self.slide_threshold,
            "slide_threshold_rule": None if self.slide is None else self.slide.rule,
            "cautions": list(self.cautions),
        }


def choose_on_validation(
    predictions: pd.DataFrame,
    *,
    class_names: Sequence[str],
    slide_labels: Mapping[str, int | None] | None = None,
    rule: str = DEFAULT_RULE,
    patient: Literal["max", "mean"] = "max",
) -> ValidationChoices:
    """Choose aggregation and thresholds on the rows of split `val`.

    Args:
        predictions: A prediction table; only tile rows of split `val` are read.
        class_names: Class names in the order of their labels.
        slide_labels: As for `aggregate_predictions`.
        rule: As for `choose_threshold`.
        patient: As for `SlideAggregation`.

    Raises:
        ValueError: The rule is unknown.
    """
    validation = select_level(predictions, "tile", split="val")
    aggregation = choose_aggregation(
        validation,
        class_names=class_names,
        slide_labels=slide_labels,
        patient=patient,
    )
    if len(class_names) > 2:
        return ValidationChoices(aggregation, tile=None, slide=None)
    table = aggregate_predictions(
        validation,
        aggregation.aggregation,
        class_names=class_names,
        slide_labels=slide_labels,
    )
    return ValidationChoices(
        aggregation,
        tile=_choose(table, "tile", class_names, rule),
        slide=_choose(table, "slide", class_names, rule),
    )


def _choose(
    table: pd.DataFrame, level: Level, class_names: Sequence[str], rule: str
) -> ThresholdChoice:
    rows = select_level(table, level)
    rows = rows[rows["label"].notna()]
    return choose_threshold(
        labels_of(rows), probabilities_of(rows, class_names)[:, 1], rule=rule
    )
