"""Scoring one new slide: tissue, grid, tiles, the slide's own score."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import to_file_name, write_json
from eosin.evaluation import SlideAggregation, call_classes
from eosin.inference import ModelCard, Session, TileScores, score_tiles
from eosin.slides import Slide, open_slide
from eosin.tiles import TileSpec, find_boxes, find_tissue, place_tiles
from eosin.workflows.prediction_writing import PredictionWriter
from eosin.workflows.tile import TileConfig

if TYPE_CHECKING:
    from eosin.workflows.predict import PredictConfig


@dataclass(frozen=True)
class SlideJob:
    """One slide to be scored.

    Attributes:
        slide_id: Its results are named after it.
        path: The file, or whatever else `open_slide` opens.
        mpp: Micrometres per level-0 pixel, where a slide table gives it.
        key: Hash of all that its result depends on.
        patient_id: Its patient, as far as anybody says.
    """

    slide_id: str
    path: str
    mpp: float | None
    key: str
    patient_id: str = ""


class SlidePredictor:
    """A model with all that is needed to score a slide; safe on many threads.

    Args:
        card: What is known of the model.
        sessions: The model, or an ensemble.
        config: How to score.
        out: The folder to write to.
    """

    def __init__(
        self,
        card: ModelCard,
        sessions: Sequence[Session],
        config: "PredictConfig",
        out: Path,
    ) -> None:
        self._card, self._sessions = card, sessions
        self._config, self._out = config, out
        overlap = config.overlap_px
        self._spec = TileSpec(
            card.require_mpp(),
            card.tile_px,
            card.overlap_px if overlap is None else overlap,
            card.context,
        )
        self._writer = PredictionWriter(
            out,
            card.class_names,
            threshold=(
                card.tile_threshold if config.threshold is None else config.threshold
            ),
            min_area_mm2=config.min_area_mm2,
            has_tile_objects=config.tile_objects,
        )

    def predict(self, job: SlideJob) -> None:
        """Score one slide and write its files; its part last, when all are there.

        Raises:
            SlideError: The slide cannot be read, has no mpp, or is too coarse.
            RunError: A file cannot be written.
        """
        started = time.monotonic()
        # What was found on the slide before it changed must not stay beside a failure.
        find_part(self._out, job.slide_id).unlink(missing_ok=True)
        self._writer.remove(job.slide_id)
        with open_slide(job.path, mpp=job.mpp or self._own_mpp(job)) as slide:
            tiles = self._place(slide)
            scores = self._score(slide, tiles)
            row = self._summarise(job, slide, scores)
            row |= self._writer.write(
                slide, tiles, scores.probabilities, slide_id=job.slide_id, called=row
            )
        row["seconds"] = round(time.monotonic() - started, 2)
        write_json(find_part(self._out, job.slide_id), {"key": job.key, "row": row})

    def _own_mpp(self, job: SlideJob) -> float | None:
        """Take --slide-mpp only where the slide itself says nothing."""
        if self._config.slide_mpp is None:
            return None
        with open_slide(job.path) as slide:
            return None if slide.mpp is not None else self._config.slide_mpp

    def _place(self, slide: Slide) -> pd.DataFrame:
        method = TileConfig(tissue=self._card.tissue).tissue_method  # type: ignore[arg-type]
        tissue = find_tissue(slide, method)
        return place_tiles(slide, self._spec, tissue, min_tissue=self._card.min_tissue)

    def _score(self, slide: Slide, tiles: pd.DataFrame) -> TileScores:
        boxes = find_boxes(tiles, self._card.context)
        px = self._card.tile_px

        def read(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
            out = np.empty((len(rows), px, px, 3), np.uint8)
            slide.read_tiles(boxes[rows], out)
            return out

        return score_tiles(
            read,
            len(tiles),
            self._sessions,
            views=self._config.views or self._card.views,
            temperature=self._card.temperature,
            batch=self._config.batch,
        )

    def _summarise(
        self, job: SlideJob, slide: Slide, scores: TileScores
    ) -> dict[str, Any]:
        card = self._card
        known = scores.probabilities[np.isfinite(scores.probabilities).all(axis=1)]
        row: dict[str, Any] = {
            "slide_id": job.slide_id,
            "patient_id": job.patient_id,
            "path": job.path,
            "status": "done" if len(known) else "no tissue",
            "mpp": slide.require_mpp(),
            "mpp_source": slide.mpp_source,
            "tiles": len(scores.probabilities),
            "damaged_tiles": scores.n_unreadable,
            "score": None,
            "label": None,
            "tumour_mm2": 0.0,
        }
        if len(known):
            aggregation = SlideAggregation(share=card.aggregation_share)
            slide_scores = aggregation.score_slide(known)
            called = call_classes(slide_scores[None], card.slide_threshold)[0]
            row["score"] = float(slide_scores[1:].max())
            row["label"] = card.class_names[int(called)]
            if len(card.class_names) > 2:
                row |= {
                    f"probability_{name}": float(score)
                    for name, score in zip(card.class_names, slide_scores, strict=True)
                }
        return row


def find_part(out: Path, slide_id: str) -> Path:
    """Return where a finished slide's row is kept."""
    return out / "parts" / (to_file_name(slide_id) + ".json")
