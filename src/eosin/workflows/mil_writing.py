"""What is written of a bag: its call, and the maps of attention on its slides."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.evaluation import call_classes, probability_columns
from eosin.heatmaps import SlidePicture, picture_slide
from eosin.slides import Slide
from eosin.workflows.mil_gallery import find_gallery, write_gallery
from eosin.workflows.mil_heatmaps import AttentionWriter, SlideAttention
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import EnsemblePrediction, MILRun
from eosin.workflows.mil_slides import SlidePlace
from eosin.workflows.prediction_writing import PredictionWriter


class MILWriter:
    """Writes what a run says of slides.

    Args:
        run: The run.
        config: What is written.
        out: The folder to write to.
    """

    def __init__(self, run: MILRun, config: MILPredictConfig, out: Path) -> None:
        self._run, self._config, self._out = run, config, out
        n_folds = len(run.models)
        source = "by 1 fold" if n_folds == 1 else f"mean of {n_folds} folds"
        self._attention = AttentionWriter(
            out,
            outline_from=config.outline_from,
            tile_objects=config.tile_objects,
            source=source,
            class_names=run.class_names,
        )
        self._instances = PredictionWriter(
            out,
            run.class_names,
            threshold=config.instance_threshold if len(run.class_names) == 2 else None,
            min_area_mm2=None,
            has_tile_objects=False,
            quantity=f"score of a tile by itself, {source}, for",
        )

    def call(self, found: EnsemblePrediction) -> dict[str, Any]:
        """Say how a bag is called, and how far the folds are apart."""
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

    def write(
        self,
        slide_id: str,
        slide: Slide | None,
        place: SlidePlace,
        found: SlideAttention,
        called: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write the maps of one slide.

        Args:
            slide_id: The files are named after it.
            slide: To draw on; without it there are no pictures.
            place: Its frame.
            found: Its attention.
            called: From `call`.

        Returns:
            `attended_mm2`, `attended_regions`, `instances_mm2` of methods that score
            tiles, `gallery`, and `note`, which says what is missing and why.

        Raises:
            SlideError: The slide is damaged.
            RunError: A file cannot be written.
        """
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

    def remove(self, slide_id: str) -> None:
        """Remove what was written for a slide before."""
        self._attention.remove(slide_id)
        self._instances.remove(f"{slide_id}.instances")
        find_gallery(self._out, slide_id).unlink(missing_ok=True)


def measure_attention(times: npt.NDArray[Any]) -> dict[str, float]:
    """Say how far attention goes to few tiles.

    Args:
        times: Attention over 1/n, `(tiles,)`.

    Returns:
        `highest_attention`, and `tiles_with_half`, how many of the most attended tiles
        hold half of it; 0 where there is none, as on a slide beside another one of a
        patient's.
    """
    falling = np.sort(times)[::-1]
    if not falling.sum():
        return {"highest_attention": 0.0, "tiles_with_half": 0}
    share = np.cumsum(falling) / falling.sum()
    return {
        "highest_attention": float(falling[0]),
        "tiles_with_half": int(np.searchsorted(share, 0.5)) + 1,
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
