"""Scoring one new bag: its call, and the attention on each of its slides."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eosin.bags import Bag, ClinicalValues, JoinedFeatures, read_slide_bag
from eosin.core import SlideError, read_json, to_file_name, write_json
from eosin.evaluation import call_classes, probability_columns
from eosin.heatmaps import SlidePicture, picture_slide
from eosin.slides import Slide
from eosin.workflows.mil_features import read_attributes, require_same_origin
from eosin.workflows.mil_gallery import find_gallery, write_gallery
from eosin.workflows.mil_heatmaps import (
    AttentionWriter,
    SlideAttention,
    rank_attention,
)
from eosin.workflows.mil_run import EnsemblePrediction, MILEnsemble, MILRun
from eosin.workflows.mil_slides import (
    SlideFinder,
    SlidePlace,
    find_slide_mpp,
    find_tile_size,
    place_slide,
)
from eosin.workflows.prediction_writing import PredictionWriter

if TYPE_CHECKING:
    from eosin.workflows.predict_mil import MILPredictConfig


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
        config: "MILPredictConfig",
        out: Path,
    ) -> None:
        self._run, self._ensemble = run, ensemble
        self._finder, self._config, self._out = finder, config, out
        n_folds = len(run.models)
        self._attention = AttentionWriter(
            out,
            outline_from=config.outline_from,
            tile_objects=config.tile_objects,
            source=f"mean of {n_folds} folds",
            class_names=run.class_names,
        )
        self._instances = PredictionWriter(
            out,
            run.class_names,
            threshold=config.instance_threshold if len(run.class_names) == 2 else None,
            min_area_mm2=None,
            has_tile_objects=False,
            quantity=f"score of a tile by itself, mean of {n_folds} folds, for",
        )

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
            self._remove(slide_id)
        for path in job.paths:
            require_same_origin(self._run.made_from, path, model=self._run.path)
        bags = [
            read_slide_bag(path, slide_mpp=self._finder.find_mpp(slide_id))
            for slide_id, path in zip(job.slide_ids, job.paths, strict=True)
        ]
        found = self._ensemble.predict([_join(job, bags)])[0]
        called = {"patient_id": job.patient_id, **self._call(found)}
        called["seen_in_training"] = self._is_seen(job)
        times = found.attention * len(found.attention)
        ranks = rank_attention(times)
        starts = np.cumsum([0, *map(len, bags)])
        rows = []
        for index, (slide_id, bag) in enumerate(zip(job.slide_ids, bags, strict=True)):
            own = slice(int(starts[index]), int(starts[index + 1]))
            instances = found.instance_probabilities
            row = {"slide_id": slide_id, **called}
            row |= _measure_attention(times[own])
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

    def _is_seen(self, job: BagJob) -> bool:
        """Whether models learnt from this bag or its patient."""
        splits = self._run.splits
        return job.bag_id in set(splits["bag_id"]) or job.patient_id in set(
            splits["patient_id"]
        )

    def _call(self, found: EnsemblePrediction) -> dict[str, Any]:
        run, names = self._run, probability_columns(self._run.class_names)
        called = int(call_classes(found.probabilities[None], run.threshold)[0])
        shown = 1 if len(run.class_names) == 2 else called
        return {
            "status": "done",
            "label": run.class_names[called],
            **dict(zip(names, found.probabilities.tolist(), strict=True)),
            # How far the folds are apart: a call near the threshold, or by one fold.
            "lowest_fold": float(found.by_fold[:, shown].min()),
            "highest_fold": float(found.by_fold[:, shown].max()),
        }

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
                facts |= self._write_pictured(slide_id, slide, place, attention, called)
        except SlideError as error:
            self._remove(slide_id)
            place = place_slide(None, attributes, tiles, mpp)
            facts |= self._write_pictured(slide_id, None, place, attention, called)
            facts["note"] = f"no pictures: the slide cannot be read ({error})"
        return facts

    def _write_pictured(
        self,
        slide_id: str,
        slide: Slide | None,
        place: SlidePlace,
        found: SlideAttention,
        called: Mapping[str, Any],
    ) -> dict[str, Any]:
        picture = _picture(slide, slide_id, place)
        facts = self._attention.write(
            place, picture, found, slide_id=slide_id, subtitle=_say_call(called)
        )
        if found.instance_probabilities is not None and place.mpp is not None:
            told = self._instances.write_on(
                place,
                picture,
                found.tiles,
                found.instance_probabilities,
                slide_id=f"{slide_id}.instances",
                called={**called, "score": called[_find_score(called)]},
            )
            facts["instances_mm2"] = told["tumour_mm2"]
        notes = []
        if slide is None:
            notes.append(
                "no pictures: the slide is not at hand (name it by --slides); places "
                "count from the corner of the scan"
            )
        if place.mpp is None:
            notes.append("no TIFF and no areas: the resolution is not known")
        facts["note"] = "; ".join(notes)
        if slide is not None and self._config.gallery_tiles:
            facts["gallery"] = write_gallery(
                self._out,
                slide,
                found,
                slide_id=slide_id,
                n_tiles=self._config.gallery_tiles,
            )
        return facts

    def _remove(self, slide_id: str) -> None:
        """Remove what was written for a slide before."""
        self._attention.remove(slide_id)
        self._instances.remove(f"{slide_id}.instances")
        find_gallery(self._out, slide_id).unlink(missing_ok=True)


def find_bag_part(out: Path, bag_id: str) -> Path:
    """Return where a finished bag's rows are kept."""
    return out / "parts" / (to_file_name(bag_id) + ".json")


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


def _measure_attention(times: Any) -> dict[str, float]:
    """Say how far attention goes to few tiles."""
    falling = np.sort(times)[::-1]
    share = np.cumsum(falling) / falling.sum()
    n_half = int(np.searchsorted(share, 0.5)) + 1
    return {
        "highest_attention": float(falling[0]),
        "tiles_with_half": n_half,
    }


def _picture(
    slide: Slide | None, slide_id: str, place: SlidePlace
) -> SlidePicture | None:
    if slide is None or place.mpp is None:
        return None
    return picture_slide(slide, title=slide_id)


def _find_score(called: Mapping[str, Any]) -> str:
    """Name the column of the highest positive class."""
    names = [name for name in called if name.startswith("probability_")][1:]
    return max(names, key=lambda name: float(called[name]))


def _say_call(called: Mapping[str, Any]) -> str:
    name = _find_score(called)
    return (
        f"called {called['label']}; {name.removeprefix('probability_')} "
        f"{called[name]:.3f}"
    )
