"""Scoring one new bag: its call, and the attention on each of its slides."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eosin.bags import Bag, ClinicalValues, JoinedFeatures, read_slide_bag
from eosin.core import SlideError, read_json, to_file_name, write_json
from eosin.workflows.mil_features import read_attributes, require_same_origin
from eosin.workflows.mil_heatmaps import SlideAttention, rank_attention
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import MILEnsemble, MILRun
from eosin.workflows.mil_slides import (
    SlideFinder,
    find_slide_mpp,
    find_tile_size,
    place_slide,
)
from eosin.workflows.mil_writing import MILWriter, measure_attention


@dataclass(frozen=True)
class BagJob:
    """One bag to be scored.

    Attributes:
        bag_id: The slide, or the patient whose slides are joined.
        patient_id: Its patient.
        slide_ids: Its slides.
        paths: Their feature files.
        key: Hash of all that its result depends on.
        clinical: The patient's values of the columns that the models take; None
            where they take none.
    """

    bag_id: str
    patient_id: str
    slide_ids: tuple[str, ...]
    paths: tuple[Path, ...]
    key: str
    clinical: ClinicalValues | None = None


class BagPredictor:
    """A run with all that is needed to score new bags.

    Args:
        run: The run.
        ensemble: Its models.
        finder: Finds the slides, where they are at hand.
        config: What is written.
        out: The folder to write to.
    """

    def __init__(
        self,
        run: MILRun,
        ensemble: MILEnsemble,
        finder: SlideFinder,
        config: MILPredictConfig,
        out: Path,
    ) -> None:
        self._run, self._ensemble = run, ensemble
        self._finder, self._config, self._out = finder, config, out
        self._writer = MILWriter(run, config, out)

    def predict(self, job: BagJob) -> None:
        """Score one bag and write its files; its part last, when all are there.

        Raises:
            ManifestError: A feature file is damaged, or its tiles' size not known.
            ModelError: Its features are not those that the models take.
            RunError: A file cannot be written.
        """
        started = time.monotonic()
        find_bag_part(self._out, job.bag_id).unlink(missing_ok=True)
        for slide_id in job.slide_ids:
            self._writer.remove(slide_id)
        for path in job.paths:
            require_same_origin(self._run.made_from, path, model=self._run.path)
        bags = [
            read_slide_bag(path, slide_mpp=self._finder.find_mpp(slide_id))
            for slide_id, path in zip(job.slide_ids, job.paths, strict=True)
        ]
        found = self._ensemble.predict([_join(job, bags)])[0]
        called = {"patient_id": job.patient_id, **self._writer.call(found)}
        called["seen_in_training"] = self._run.is_seen(
            job.bag_id, patients=(job.patient_id,)
        )
        times = found.attention * len(found.attention)
        ranks = rank_attention(times)
        starts = np.cumsum([0, *map(len, bags)])
        rows = []
        for index, (slide_id, bag) in enumerate(zip(job.slide_ids, bags, strict=True)):
            own = slice(int(starts[index]), int(starts[index + 1]))
            instances = found.instance_probabilities
            row = {"slide_id": slide_id, **called}
            row |= measure_attention(times[own])
            row |= self._write_slide(
                slide_id,
                bag,
                job.paths[index],
                (times[own], ranks[own], None if instances is None else instances[own]),
                called,
            )
            rows.append(row)
        rows[0]["seconds"] = round(time.monotonic() - started, 2)
        write_json(find_bag_part(self._out, job.bag_id), {"key": job.key, "rows": rows})

    def _write_slide(
        self,
        slide_id: str,
        bag: Bag,
        path: Path,
        values: tuple[Any, Any, Any],
        called: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write the maps of one slide; say what is missing and why."""
        facts: dict[str, Any] = {"tiles": len(bag), "features": str(path), "note": ""}
        if bag.coords is None:
            return facts | {"note": "no maps: the features do not say where tiles lie"}
        attributes = read_attributes(path)
        mpp = self._finder.find_mpp(slide_id) or find_slide_mpp(attributes)
        coords = np.asarray(bag.coords, np.int64)
        size = self._config.tile_px0 or find_tile_size(attributes, coords, mpp)
        tiles = pd.DataFrame(
            {"x_px0": coords[:, 0], "y_px0": coords[:, 1], "size_px0": size}
        )
        attention = SlideAttention(tiles, *values)
        try:
            with self._finder.open(slide_id) as slide:
                place = place_slide(slide, attributes, tiles, mpp)
                facts |= self._writer.write(slide_id, slide, place, attention, called)
        except SlideError as error:
            self._writer.remove(slide_id)
            place = place_slide(None, attributes, tiles, mpp)
            facts |= self._writer.write(slide_id, None, place, attention, called)
            facts["note"] = f"no pictures: the slide cannot be read ({error})"
        return facts


def find_bag_part(out: Path, bag_id: str) -> Path:
    """Return where a finished bag's rows are kept."""
    return out / "parts" / (to_file_name(bag_id) + ".json")


def is_bag_done(out: Path, bag_id: str, key: str) -> bool:
    """Say whether a bag's rows are kept, made from what `key` is the hash of."""
    part = find_bag_part(out, bag_id)
    return part.exists() and read_json(part).get("key") == key


def read_bag_rows(out: Path, bag_id: str) -> list[dict[str, Any]]:
    """Read the rows of a finished bag, one for each slide."""
    rows: list[dict[str, Any]] = read_json(find_bag_part(out, bag_id))["rows"]
    return rows


def _join(job: BagJob, bags: list[Bag]) -> Bag:
    """Join a patient's slides into one bag, whose features stay where they are."""
    if len(bags) == 1:
        return replace(bags[0], clinical=job.clinical)
    features = JoinedFeatures([bag.features for bag in bags])
    return Bag(bag_id=job.bag_id, features=features, clinical=job.clinical)
