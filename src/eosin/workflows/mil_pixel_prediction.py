"""Scoring one new slide by a MIL run that takes tiles, not features."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import Bag
from eosin.core import ModelError, SlideError, write_json
from eosin.inference import ReadTiles
from eosin.slides import Slide, open_slide
from eosin.tiles import find_boxes, find_tissue, place_tiles
from eosin.workflows.mil_bag_prediction import find_bag_part
from eosin.workflows.mil_heatmaps import SlideAttention, rank_attention
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import EnsemblePrediction, MILEnsemble, MILRun
from eosin.workflows.mil_slides import SlidePlace
from eosin.workflows.mil_writing import MILWriter, measure_attention
from eosin.workflows.tile import TileConfig

Rows = npt.NDArray[np.int64]


class TilePixels:
    """Tiles as the instances of a bag, read when they are used.

    Stands for an array of shape `(tiles, px * px * 3)`, uint8.

    Args:
        read: From rows to `(rows, px, px, 3)`.
        rows: Of the bag's tiles, in its order.
        tile_px: Side of a tile as read.
    """

    def __init__(self, read: ReadTiles, rows: Rows, tile_px: int) -> None:
        self._read, self._rows = read, rows
        self.shape: tuple[int, ...] = (len(rows), 3 * tile_px**2)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, rows: Any) -> npt.NDArray[np.uint8]:
        """Read some rows: a slice, or numbers in any order."""
        wanted = self._rows[rows]
        return self._read(wanted).reshape(len(wanted), -1)


@dataclass(frozen=True)
class PixelJob:
    """One slide to be scored.

    Attributes:
        slide_id: Its results are named after it.
        path: The file, or whatever else `open_slide` opens.
        mpp: Micrometres per level-0 pixel, where a slide table gives it.
        patient_id: Its patient.
        key: Hash of all that its result depends on.
    """

    slide_id: str
    path: str
    mpp: float | None
    patient_id: str
    key: str

    @property
    def bag_id(self) -> str:
        """The slide is the bag."""
        return self.slide_id

    @property
    def slide_ids(self) -> tuple[str, ...]:
        """The only one."""
        return (self.slide_id,)


def find_tiling(run: MILRun) -> TileConfig:
    """Say how a run's own tiles were cut.

    Raises:
        ModelError: The run does not say it, or nobody stated its tiles' resolution.
    """
    names = ("tile_px", "overlap_px", "context", "tissue", "min_tissue")
    card = run.card
    if missing := [name for name in names if name not in card]:
        raise ModelError(
            f"{run.path}: its card does not say how its tiles were cut (no "
            f"{', '.join(missing)}); train again"
        )
    if card["mpp"] is None:
        raise ModelError(
            f"{run.path}: reading slides needs the model's resolution, and nobody "
            "stated that of the patches it was trained on; import them with --mpp and "
            "train again"
        )
    return TileConfig(mpp=card["mpp"], **{name: card[name] for name in names})


class PixelPredictor:
    """A run from pixels with all that is needed to score new slides.

    Args:
        run: The run.
        ensemble: Its models.
        config: What is written.
        out: The folder to write to.

    Raises:
        ModelError: The run does not say how its tiles were cut.
    """

    def __init__(
        self,
        run: MILRun,
        ensemble: MILEnsemble,
        config: MILPredictConfig,
        out: Path,
    ) -> None:
        self._run, self._ensemble, self._out = run, ensemble, out
        self._tiling = find_tiling(run)
        self._writer = MILWriter(run, config, out)

    def predict(self, job: PixelJob) -> None:
        """Score one slide and write its files; its part last, when all are there.

        Its tiles go through the encoder some at a time, so that memory does not grow
        with the slide but for a short vector of each tile.

        Raises:
            SlideError: The slide cannot be read, has no mpp, or is too coarse.
            RunError: A file cannot be written.
        """
        started = time.monotonic()
        part = find_bag_part(self._out, job.bag_id)
        part.unlink(missing_ok=True)
        self._writer.remove(job.slide_id)
        row = {
            "slide_id": job.slide_id,
            "patient_id": job.patient_id,
            "status": "no tissue",
            "tiles": 0,
            "damaged_tiles": 0,
            "path": job.path,
            "note": "no tissue was found on it",
        }
        with open_slide(job.path, mpp=job.mpp) as slide:
            tiles = self._place(slide)
            if len(tiles):
                row |= self._score(job, slide, tiles)
        row["seconds"] = round(time.monotonic() - started, 2)
        write_json(part, {"key": job.key, "rows": [row]})

    def _place(self, slide: Slide) -> pd.DataFrame:
        """Lay the grid as it was laid over the slides of the training."""
        cut = self._tiling
        tissue = find_tissue(slide, cut.tissue_method)
        return place_tiles(slide, cut.spec, tissue, min_tissue=cut.min_tissue)

    def _score(
        self, job: PixelJob, slide: Slide, tiles: pd.DataFrame
    ) -> dict[str, Any]:
        found, good = self._predict(job, slide, tiles)
        called = {
            **self._writer.call(found),
            "seen_in_training": self._run.is_seen(
                job.bag_id, patients=(job.patient_id,), slides=job.slide_ids
            ),
        }
        times = found.attention * len(found.attention)
        attention = SlideAttention(
            good, times, rank_attention(times), found.instance_probabilities
        )
        place = SlidePlace(slide.dimensions, slide.mpp, slide.bounds)
        words = (job.slide_id, place, attention, called)
        return {
            **called,
            **measure_attention(times),
            "tiles": len(good),
            "damaged_tiles": len(tiles) - len(good),
            **self._write(slide, *words),
        }

    def _predict(
        self, job: PixelJob, slide: Slide, tiles: pd.DataFrame
    ) -> tuple[EnsemblePrediction, pd.DataFrame]:
        """Score all tiles, or those that can be read; say which these were."""
        try:
            return self._ensemble.predict([self._make_bag(job, slide, tiles)])[0], tiles
        except SlideError:
            read = self._make_reader(slide, tiles)
            good = tiles[[_is_readable(read, row) for row in range(len(tiles))]]
            if good.empty or len(good) == len(tiles):
                raise
        good = good.reset_index(drop=True)
        return self._ensemble.predict([self._make_bag(job, slide, good)])[0], good

    def _make_bag(self, job: PixelJob, slide: Slide, tiles: pd.DataFrame) -> Bag:
        read, rows = self._make_reader(slide, tiles), np.arange(len(tiles))
        pixels = TilePixels(read, rows, self._tiling.tile_px)
        return Bag(bag_id=job.bag_id, features=pixels)

    def _make_reader(self, slide: Slide, tiles: pd.DataFrame) -> ReadTiles:
        boxes, px = find_boxes(tiles, self._tiling.context), self._tiling.tile_px

        def read(rows: Rows) -> npt.NDArray[np.uint8]:
            out = np.empty((len(rows), px, px, 3), np.uint8)
            slide.read_tiles(boxes[rows], out)
            return out

        return read

    def _write(
        self,
        slide: Slide,
        slide_id: str,
        place: SlidePlace,
        attention: SlideAttention,
        called: dict[str, Any],
    ) -> dict[str, Any]:
        """Write the maps; a slide damaged where no tile lies costs its pictures."""
        try:
            return self._writer.write(slide_id, slide, place, attention, called)
        except SlideError as error:
            self._writer.remove(slide_id)
            facts = self._writer.write(slide_id, None, place, attention, called)
            return facts | {"note": f"no pictures: the slide cannot be read ({error})"}


def _is_readable(read: ReadTiles, row: int) -> bool:
    try:
        read(np.array([row], np.int64))
    except SlideError:
        return False
    return True
