"""From tile probabilities to one probability for a slide, and for a patient.

A class that a slide *contains* shows in its most probable tiles, so a positive
class scores the mean of the highest share of its tile probabilities. The
negative class (label 0) is what remains when nothing is found anywhere, so it
scores the mean of its lowest share: with two classes the two then add up to 1
by themselves, with more they are brought to 1.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.evaluation.metrics import compute_roc_auc
from eosin.evaluation.predictions import (
    check_predictions,
    labels_of,
    probabilities_of,
    probability_columns,
    select_level,
)

CANDIDATE_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
FALLBACK_SHARE = 0.1

_ROW_COLUMNS = ("id", "slide_id", "patient_id", "split", "label")


@dataclass(frozen=True)
class SlideAggregation:
    """How tiles make a slide's probability, and slides a patient's.

    Attributes:
        share: Share of a slide's tiles that is averaged, above 0 and up to 1; at
            least one tile is taken.
        patient: `max` takes the slide in which most was found (of the negative
            class: the least), `mean` averages the slides.
        method: The only method there is.

    Raises:
        ValueError: A value is out of range.
    """

    share: float = FALLBACK_SHARE
    patient: Literal["max", "mean"] = "max"
    method: Literal["top_share"] = "top_share"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and up to 1, got {self.share}")
        if self.patient not in ("max", "mean"):
            raise ValueError(f"patient must be max or mean, got '{self.patient}'")
        if self.method != "top_share":
            raise ValueError(f"method must be top_share, got '{self.method}'")

    def describe(self) -> str:
        """Say in words how a slide gets its probability."""
        if self.share == 1:
            return "mean of the probabilities of all tiles of the slide"
        return f"mean of the highest {self.share:.0%} of the slide's tile probabilities"

    def score_slide(
        self, probabilities: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float64]:
        """Score one slide from its tiles.

        Args:
            probabilities: `(tiles, classes)`, at least one tile.

        Returns:
            Probabilities of the slide, `(classes,)`.

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
        """Score one patient from their slides, `(slides, classes)` to `(classes,)`."""
        probabilities = np.asarray(probabilities, dtype=np.float64)
        if self.patient == "mean":
            return _normalise(probabilities.mean(axis=0))
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
    class_names: Sequence[str],
    slide_labels: Mapping[str, int | None] | None = None,
    shares: Sequence[float] = CANDIDATE_SHARES,
    patient: Literal["max", "mean"] = "max",
) -> AggregationChoice:
    """Choose the share by slide ROC AUC on validation slides only.

    Of equally good shares the one nearest to 0.1 wins: few validation slides leave
    many equal, and the mean over all tiles would then pass over small tumours.

    Args:
        predictions: A prediction table; only tile rows of split `val` are read.
        class_names: Class names in the order of their labels.
        slide_labels: Label of each slide; None takes them from the tiles, as
            `aggregate_predictions` does.
        shares: What to try.
        patient: Passed on to the aggregation.

    Returns:
        The choice. Where validation has no slide of some class, nothing can be
        chosen: the share is 0.1 and the caution says why.
    """
    tiles = select_level(predictions, "tile", split="val")
    tables = {
        share: select_level(
            aggregate_predictions(
                tiles,
                SlideAggregation(share, patient),
                class_names=class_names,
                slide_labels=slide_labels,
            ),
            "slide",
        )
        for share in shares
    }
    aucs: dict[float, float] = {}
    n_slides = 0
    for share, slides in tables.items():
        labelled = slides[slides["label"].notna()]
        labels = labels_of(labelled)
        n_slides = len(labels)
        if len(np.unique(labels)) == len(class_names):
            aucs[share] = compute_roc_auc(
                labels, probabilities_of(labelled, class_names)
            )
    if not aucs:
        caution = (
            f"validation has {n_slides} labelled slide(s) and not every class among "
            f"them; the share of tiles that makes a slide's score was set to "
            f"{FALLBACK_SHARE:.0%}, not chosen"
        )
        return AggregationChoice(
            SlideAggregation(FALLBACK_SHARE, patient), {}, n_slides, caution
        )
    best = max(aucs.values())
    tied = [share for share, auc in aucs.items() if auc >= best - 1e-9]
    share = min(tied, key=lambda share: abs(math.log(share / FALLBACK_SHARE)))
    return AggregationChoice(SlideAggregation(share, patient), aucs, n_slides)


def aggregate_predictions(
    predictions: pd.DataFrame,
    aggregation: SlideAggregation,
    *,
    class_names: Sequence[str],
    slide_labels: Mapping[str, int | None] | None = None,
) -> pd.DataFrame:
    """Add a row for each slide and each patient to the tile rows.

    A slide without a label of its own, and every patient, has the commonest
    positive class among its parts; class 0 where all labelled parts are negative;
    no label where no part has one.

    Args:
        predictions: A prediction table; only its tile rows are read.
        aggregation: How to score slides and patients.
        class_names: Class names in the order of their labels.
        slide_labels: Label of each slide; a slide that is not in it has none.
            None takes every slide's label from its tiles.

    Returns:
        The tile rows, then slide rows, then patient rows.

    Raises:
        ManifestError: The tile rows break the schema.
    """
    tiles = select_level(predictions, "tile")
    tiles = check_predictions(tiles, class_names)
    slides = _group(tiles, "slide_id", aggregation.score_slide, class_names)
    if slide_labels is not None:
        given = [slide_labels.get(slide_id) for slide_id in slides["id"]]
        slides["label"] = pd.array(given, dtype="Int64")
    patients = _group(slides, "patient_id", aggregation.score_patient, class_names)
    rows = [tiles, slides.assign(level="slide"), patients.assign(level="patient")]
    return check_predictions(
        pd.concat([part for part in rows if len(part)] or [tiles]), class_names
    )


def aggregate_slides(
    slides: pd.DataFrame,
    *,
    class_names: Sequence[str],
    patient: Literal["max", "mean"] = "max",
) -> pd.DataFrame:
    """Add a row for each patient to slide rows that a model scored as they are.

    Args:
        slides: Slide rows of a prediction table.
        class_names: Class names in the order of their labels.
        patient: As for `SlideAggregation`.

    Returns:
        The slide rows, then patient rows.

    Raises:
        ManifestError: The rows break the schema.
    """
    slides = check_predictions(slides, class_names)
    aggregation = SlideAggregation(share=1.0, patient=patient)
    patients = _group(slides, "patient_id", aggregation.score_patient, class_names)
    return check_predictions(
        pd.concat([slides, patients.assign(level="patient")]), class_names
    )


def _group(
    parts: pd.DataFrame,
    key: str,
    score: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """Make one row for each value of `key`, in order of first appearance."""
    probabilities = probabilities_of(parts, class_names)
    labels = labels_of(parts)
    groups = parts.groupby(key, sort=False).indices
    # Row by row only where there is something to compute: a patch data set has
    # hundreds of thousands of groups.
    first = parts.iloc[[indices[0] for indices in groups.values()]]
    rows = pd.DataFrame(
        {
            "id": list(groups),
            "slide_id": first["slide_id"].to_numpy() if key == "slide_id" else None,
            "patient_id": first["patient_id"].to_numpy(),
            "split": first["split"].to_numpy(),
            "label": [_vote(labels[i], len(class_names)) for i in groups.values()],
        },
        columns=list(_ROW_COLUMNS),
    ).astype({"label": "Int64"})
    names = probability_columns(class_names)
    scores = [score(probabilities[indices]) for indices in groups.values()]
    rows[list(names)] = np.reshape(scores, (len(groups), len(names)))
    return rows


def _vote(labels: npt.NDArray[np.int64], n_classes: int) -> int | None:
    known = labels[labels >= 0]
    if len(known) == 0:
        return None
    counts = np.bincount(known, minlength=n_classes)
    return int(np.argmax(counts[1:])) + 1 if counts[1:].any() else 0


def _normalise(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    total = scores.sum()
    if total <= 0:
        return np.full_like(scores, 1 / len(scores))
    return np.asarray(scores / total)
