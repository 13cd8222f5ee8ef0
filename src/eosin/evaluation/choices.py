"""Everything that is chosen on the validation split, in one place.

The same choices are made for a model and for every baseline beside it, and none
of them sees a test or an external row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from eosin.evaluation.aggregation import (
    AggregationChoice,
    aggregate_predictions,
    choose_aggregation,
)
from eosin.evaluation.predictions import labels_of, select_level
from eosin.evaluation.targets import Classes
from eosin.evaluation.thresholds import (
    DEFAULT_RULE,
    ThresholdChoice,
    Thresholds,
    choose_threshold,
)


@dataclass(frozen=True)
class ValidationChoices:
    """How slides and patients are scored, and two thresholds, chosen on validation."""

    aggregation: AggregationChoice
    tile: ThresholdChoice
    slide: ThresholdChoice

    @property
    def thresholds(self) -> Thresholds:
        """Both thresholds."""
        return Thresholds(self.tile.threshold, self.slide.threshold)

    @property
    def cautions(self) -> tuple[str, ...]:
        """Why any of the choices deserves doubt, one sentence each."""
        cautions = {
            "Slide score": self.aggregation.caution,
            "Tile threshold": self.tile.caution,
            "Slide threshold": self.slide.caution,
        }
        return tuple(f"{name}: {text}." for name, text in cautions.items() if text)


def choose_on_validation(
    predictions: pd.DataFrame,
    *,
    target: Classes,
    slide_labels: Mapping[str, int | None] | None = None,
    rule: str = DEFAULT_RULE,
) -> ValidationChoices:
    """Choose aggregation and thresholds on the rows of split `val`.

    Arguments are those of `aggregate_predictions`, `choose_threshold` and
    `SlideAggregation`; only tile rows are read.

    Raises:
        ValueError: The rule is unknown.
    """
    validation = select_level(predictions, "tile", split="val")
    aggregation = choose_aggregation(
        validation, target=target, slide_labels=slide_labels
    )
    table = aggregate_predictions(
        validation, aggregation.aggregation, target=target, slide_labels=slide_labels
    )
    rows = table[table["label"].notna()]
    tile, slide = (
        choose_threshold(labels_of(part), target.take(part), target=target, rule=rule)
        for part in (select_level(rows, "tile"), select_level(rows, "slide"))
    )
    return ValidationChoices(aggregation, tile, slide)
