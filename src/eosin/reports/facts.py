"""What the page of an evaluation is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from eosin.evaluation import (
    EvaluationResult,
    LevelResult,
    Unit,
    ValidationChoices,
)
from eosin.reports.words import Nouns
from eosin.runs.run import Run
from eosin.tiles import TileFolder


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationFacts:
    """What the page of an evaluation is made from.

    Attributes:
        run: The model.
        result: Its evaluation.
        units: What the splits hold: a row for each tile, with `split`, `patient_id`,
            `slide_id` and `label`; of other units with `id` as well, and `tiles`, how
            many tiles it has.
        scored: The tiles that were scored, or that bags were drawn from, where known.
        trained_on: The tiles of the training, where known.
        validation: How tiles become slides, and thresholds with the rows that they were
            chosen on; None where the model scores slides as a whole.
        baseline: Evaluation of the colour baseline on the same rows; None where there
            is none, which is said.
        overlays: Picture (JPEG or PNG) by `slide_id`. May be empty.
        cautions: What a reader must know beside what the result says itself.
    """

    run: Run
    result: EvaluationResult
    units: pd.DataFrame
    scored: TileFolder | None = None
    trained_on: TileFolder | None = None
    validation: ValidationChoices | None = None
    baseline: EvaluationResult | None = None
    overlays: Mapping[str, Path] = field(default_factory=dict)
    cautions: Sequence[str] = ()

    @property
    def nouns(self) -> Nouns:
        """What units are called."""
        return Nouns.of_study(self.unit, self.scored)

    @property
    def unit(self) -> Unit:
        """What is scored."""
        return self.run.card.find_scored_unit(is_external=self.is_external)

    @property
    def is_external(self) -> bool:
        """Whether another cohort was scored, by all folds together."""
        return self.result.split == "external"

    def find_baseline(self, level: LevelResult) -> LevelResult | None:
        """Find the baseline's result at a level."""
        return None if self.baseline is None else self.baseline.levels.get(level.level)

    @property
    def slides(self) -> TileFolder | None:
        """The tiles of the slides that were scored, where known."""
        return self.scored or (None if self.is_external else self.trained_on)

    @property
    def are_patients_known(self) -> bool:
        """Whether somebody said whose slides are; of other units it is always known."""
        if self.scored is not None:
            return self.scored.knows_patients
        return self.unit != "slide" or bool(
            (self.units["patient_id"] != self.units["id"]).any()
        )
