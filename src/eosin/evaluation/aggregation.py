"""From tile probabilities to one probability for a slide, and for a patient.

A class that a slide *contains* shows in its most probable tiles, so a positive
class scores the mean of the highest share of its tile probabilities. The
negative class (label 0) is what remains when nothing is found anywhere, so it
scores the mean of its lowest share: with two classes the two then add up to 1
by themselves, with more they are brought to 1.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.evaluation.predictions import PREDICTION_SCHEMA, labels_of, select_level
from eosin.evaluation.ranking import compute_roc_auc
from eosin.evaluation.targets import Classes

CANDIDATE_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
FALLBACK_SHARE = 0.1


@dataclass(frozen=True)
class SlideAggregation:
    """How tiles make a slide's probability, and slides a patient's.

    Attributes:
        share: Share of a slide's tiles that is averaged, above 0 and up to 1; at
            least one tile is taken.

    Raises:
        ValueError: The share is out of range.
    """

    share: float = FALLBACK_SHARE

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and up to 1, got {self.share}")

    def describe(self, *, tile: str = "tile", slide: str = "slide") -> str:
        """Say how a slide gets its probability, in the study's words for both."""
        if self.share == 1:
            return f"mean of the probabilities of every {tile} of the {slide}"
        return (
            f"mean of the highest {self.share:.0%} of the {slide}'s {tile} "
            "probabilities"
        )

    def score_slide(
        self, probabilities: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float64]:
        """Score one slide from its tiles, `(tiles, classes)` to `(classes,)`.

        Raises:
            ValueError: There is no tile.
        """
        probabilities = np.asarray(probabilities, dtype=np.float64)
        if len(probabilities) == 0:
            raise ValueError("a slide needs at least one tile to be scored, got none")
        n = max(1, round(self.share * len(probabilities)))
        rising = np.sort(probabilities, axis=0)
        scores = rising[-n:].mean(axis=0)
        scores[0] = rising[:n, 0].mean()
        return _normalise(scores)

    def score_patient(
        self, probabilities: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float64]:
        """Score one patient from their slides, `(slides, classes)` to `(classes,)`.

        Of positive classes the slide counts in which most was found, of the negative
        one that with the least.
        """
        probabilities = np.asarray(probabilities, dtype=np.float64)
        scores = probabilities.max(axis=0)
        scores[0] = probabilities[:, 0].min()
        return _normalise(scores)


@dataclass(frozen=True)
class AggregationChoice:
    """The aggregation chosen on the validation split, and why.

    Attributes:
        aggregation: What was chosen.
        auc_by_share: Slide ROC AUC on validation of each share tried; empty where
            no AUC is defined.
        n_slides: Labelled validation slides.
        caution: Why the choice deserves doubt; None where nothing does.
    """

    aggregation: SlideAggregation
    auc_by_share: Mapping[float, float]
    n_slides: int
    caution: str | None = None


def choose_aggregation(
    predictions: pd.DataFrame,
    *,
    target: Classes,
    slide_labels: Mapping[str, int | None] | None = None,
) -> AggregationChoice:
    """Choose the share by slide ROC AUC on validation slides only.

    Of equally good shares the one nearest to 0.1 wins: few validation slides leave many
    equal, and the mean over all tiles would then pass over small tumours. Where
    validation has no slide of some class, nothing can be chosen: the share is 0.1 and
    the caution says why.
    """
    tiles = select_level(predictions, "tile", split="val")
    aucs: dict[float, float] = {}
    n_slides = 0
    for share in CANDIDATE_SHARES:
        slides = _score_slides(tiles, SlideAggregation(share), target, slide_labels)
        labelled = slides[slides["label"].notna()]
        labels = labels_of(labelled)
        n_slides = len(labels)
        if len(np.unique(labels)) == len(target.class_names):
            aucs[share] = compute_roc_auc(labels, target.take(labelled))
    if not aucs:
        caution = (
            f"validation has {n_slides} labelled slide(s) and not every class among "
            f"them; the share of tiles that makes a slide's score was set to "
            f"{FALLBACK_SHARE:.0%}, not chosen"
        )
        return AggregationChoice(SlideAggregation(), {}, n_slides, caution)
    best = max(aucs.values())
    tied = [share for share, auc in aucs.items() if auc >= best - 1e-9]
    share = min(tied, key=lambda share: abs(math.log(share / FALLBACK_SHARE)))
    return AggregationChoice(SlideAggregation(share), aucs, n_slides)


def aggregate_predictions(
    predictions: pd.DataFrame,
    aggregation: SlideAggregation | None = None,
    *,
    target: Classes,
    slide_labels: Mapping[str, int | None] | None = None,
) -> pd.DataFrame:
    """Add a row for each slide and each patient to a table of finer rows.

    Slides are scored by their tiles; where there are none, slide rows stay as a model
    scored them. Patients are scored by their slides. Rows of patients and drawn bags
    alone stay as they are.

    A slide without a label of its own, and every patient, has the commonest
    positive class among its parts; class 0 where all labelled parts are negative;
    no label where no part has one.

    Args:
        predictions: A prediction table; of tiles and slides, only its finest rows
            are read.
        aggregation: How to score slides and patients; None takes the default.
        target: The classes.
        slide_labels: Label of each slide that is scored by its tiles; a slide that is
            not in it has none. None takes every slide's label from its tiles.

    Returns:
        The rows that were read, then what was added.

    Raises:
        ManifestError: The rows break the schema.
    """
    aggregation = aggregation or SlideAggregation()
    table = PREDICTION_SCHEMA.check(predictions, target)
    tiles, slides = (select_level(table, unit) for unit in ("tile", "slide"))
    if tiles.empty and slides.empty:
        return table
    if not tiles.empty:
        slides = _score_slides(tiles, aggregation, target, slide_labels)
    patients = _group(slides, "patient", aggregation.score_patient, target)
    rows = [part for part in (tiles, slides, patients) if len(part)]
    return PREDICTION_SCHEMA.check(pd.concat(rows), target)


def _score_slides(
    tiles: pd.DataFrame,
    aggregation: SlideAggregation,
    target: Classes,
    slide_labels: Mapping[str, int | None] | None,
) -> pd.DataFrame:
    slides = _group(tiles, "slide", aggregation.score_slide, target)
    if slide_labels is not None:
        given = [slide_labels.get(slide_id) for slide_id in slides["id"]]
        slides["label"] = pd.array(given, dtype="Int64")
    return slides


def _group(
    parts: pd.DataFrame,
    unit: Literal["slide", "patient"],
    score: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    target: Classes,
) -> pd.DataFrame:
    """Make one row for each slide or patient, in order of first appearance."""
    values, labels = target.take(parts), labels_of(parts)
    groups = parts.groupby(f"{unit}_id", sort=False).indices
    # Row by row only where there is something to compute: a patch data set has
    # hundreds of thousands of groups.
    first = parts.iloc[[indices[0] for indices in groups.values()]]
    rows = pd.DataFrame(
        {
            "level": unit,
            "id": list(groups),
            "slide_id": first["slide_id"].to_numpy() if unit == "slide" else None,
            "patient_id": first["patient_id"].to_numpy(),
            "split": first["split"].to_numpy(),
            "label": [_vote(labels[i], target) for i in groups.values()],
        }
    ).astype({"label": "Int64"})
    scores = [score(values[indices]) for indices in groups.values()]
    rows[list(target.columns)] = np.reshape(scores, (len(groups), len(target.columns)))
    return rows


def _vote(labels: npt.NDArray[np.int64], target: Classes) -> int | None:
    known = labels[labels >= 0]
    if len(known) == 0:
        return None
    counts = np.bincount(known, minlength=len(target.class_names))
    return int(np.argmax(counts[1:])) + 1 if counts[1:].any() else 0


def _normalise(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    total = scores.sum()
    if total <= 0:
        return np.full_like(scores, 1 / len(scores))
    return np.asarray(scores / total)
