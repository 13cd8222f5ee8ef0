"""Scoring one drawn bag by a MIL run that takes tiles, not features."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from eosin.bags import Bag
from eosin.core import write_json
from eosin.evaluation import probability_columns
from eosin.reports import GalleryTile
from eosin.tiles import TileReader
from eosin.workflows.mil_bag_prediction import find_bag_part
from eosin.workflows.mil_gallery import find_gallery, write_sheet
from eosin.workflows.mil_heatmaps import list_most_attended, rank_attention
from eosin.workflows.mil_pixel_prediction import TilePixels
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import EnsemblePrediction, MILEnsemble, MILRun
from eosin.workflows.mil_writing import MILWriter, measure_attention

TILE_COLUMNS = ("tile_id", "slide_id", "x_px0", "y_px0", "is_witness")
"""What is kept of each tile of a bag, beside its attention."""


@dataclass(frozen=True, eq=False)
class DrawnJob:
    """One drawn bag to be scored.

    Attributes:
        bag_id: The bag.
        rows: Its rows in the bag table, with `place`, the row in the tile reader.
        key: Hash of all that its result depends on.
    """

    bag_id: str
    rows: pd.DataFrame
    key: str


class DrawnBagPredictor:
    """A run from pixels with all that is needed to score drawn bags.

    Args:
        run: The run.
        ensemble: Its models.
        reader: Of the tiles that the bags were drawn from.
        config: What is written.
        out: The folder to write to.
    """

    def __init__(
        self,
        run: MILRun,
        ensemble: MILEnsemble,
        reader: TileReader,
        config: MILPredictConfig,
        out: Path,
    ) -> None:
        self._run, self._ensemble, self._reader = run, ensemble, reader
        self._config, self._out = config, out
        self._writer = MILWriter(run, config, out)

    def predict(self, job: DrawnJob) -> None:
        """Score one bag and write its gallery; its part last.

        Raises:
            SlideError: A tile cannot be read.
            RunError: A file cannot be written.
        """
        started = time.monotonic()
        part = find_bag_part(self._out, job.bag_id)
        part.unlink(missing_ok=True)
        find_gallery(self._out, job.bag_id).unlink(missing_ok=True)
        rows = job.rows
        places = rows["place"].to_numpy(np.int64)
        pixels = TilePixels(self._reader.read, places, int(self._run.card["tile_px"]))
        found = self._ensemble.predict([Bag(bag_id=job.bag_id, features=pixels)])[0]
        tiles = self._tabulate(rows, found)
        first = rows.iloc[0]
        row = {
            "bag_id": job.bag_id,
            "split": str(first["split"]),
            **self._writer.call(found),
            "seen_in_training": self._run.is_seen(
                job.bag_id, patients=rows["patient_id"], slides=rows["slide_id"]
            ),
            "tiles": len(rows),
            **measure_attention(tiles["attention"].to_numpy()),
            "true_label": self._run.class_names[int(first["label"])],
            "witnesses": int(first["n_witnesses"]),
            "witness_auc": _find_witness_auc(tiles),
            "gallery": self._show(job.bag_id, tiles, places),
        }
        row["seconds"] = round(time.monotonic() - started, 2)
        content = {"key": job.key, "row": row, "tiles": tiles.to_dict("list")}
        write_json(part, content)

    def _tabulate(self, rows: pd.DataFrame, found: EnsemblePrediction) -> pd.DataFrame:
        """Give each tile its attention over 1/n and its rank in the bag."""
        times = found.attention * len(found.attention)
        tiles = rows[list(TILE_COLUMNS)].reset_index(drop=True)
        tiles.insert(0, "bag_id", rows["bag_id"].to_numpy())
        tiles["attention"], tiles["rank"] = times, rank_attention(times)
        if found.instance_probabilities is not None:
            names = list(probability_columns(self._run.class_names))
            tiles[names] = found.instance_probabilities
        return tiles

    def _show(self, bag_id: str, tiles: pd.DataFrame, places: Any) -> list[str]:
        """Write the gallery; say a few words on each of its tiles."""
        if not self._config.gallery_tiles:
            return []
        times = tiles["attention"].to_numpy()
        shown = list_most_attended(times, self._config.gallery_tiles)
        is_witness = tiles["is_witness"].to_numpy()
        words = [
            f"{times[row]:.2g}" + (" (witness)" if is_witness[row] else "")
            for row in shown
        ]
        pixels = self._reader.read(places[shown])
        names = tiles["tile_id"].iloc[shown]
        write_sheet(
            self._out,
            bag_id,
            [GalleryTile(*told) for told in zip(names, words, pixels, strict=True)],
        )
        return words


def _find_witness_auc(tiles: pd.DataFrame) -> float | None:
    """Ask how well attention tells witnesses; None where there are none, or only."""
    is_witness = tiles["is_witness"].to_numpy(bool)
    if is_witness.all() or not is_witness.any():
        return None
    return float(roc_auc_score(is_witness, tiles["attention"]))
