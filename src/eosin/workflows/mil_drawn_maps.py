"""Maps of slides by the drawn bags that their tiles were in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eosin.core import Progress, SlideError, SlideFailure
from eosin.evaluation import probability_columns
from eosin.heatmaps import picture_slide
from eosin.workflows.mil_heatmaps import (
    AttentionWriter,
    SlideAttention,
    rank_attention,
)
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import MILRun
from eosin.workflows.mil_slides import SlideFinder, place_slide
from eosin.workflows.tile_folder import TileFolder


def draw_slide_maps(
    run: MILRun,
    folder: TileFolder,
    tiles: pd.DataFrame,
    config: MILPredictConfig,
    out: Path,
    progress: Progress,
) -> list[SlideFailure]:
    """Write each slide's GeoJSON, heatmaps and overlay of its drawn tiles.

    A tile's attention is the mean over the bags that hold it, its rank that among the
    slide's drawn tiles. Patches lie on no slide and have no maps.

    Args:
        run: The run.
        folder: The tiles that the bags were drawn from.
        tiles: `bag_id`, `tile_id`, `slide_id`, `x_px0`, `y_px0`, `attention`, and what
            the method says of each tile.
        config: What is written.
        out: The folder to write to.
        progress: Told how far it is.

    Returns:
        Slides that cannot be read.

    Raises:
        RunError: A file cannot be written.
    """
    if folder.has_patches or tiles.empty:
        return []
    writer = AttentionWriter(
        out,
        outline_from=config.outline_from,
        tile_objects=config.tile_objects,
        source="mean over a tile's bags"
        + (f" and {len(run.models)} folds" if len(run.models) > 1 else ""),
        class_names=run.class_names,
    )
    finder = SlideFinder.of_tiles(folder.path)
    size_px0 = folder.tiles.groupby("slide_id")["size_px0"].first()
    groups = dict(iter(tiles.groupby("slide_id", sort=False)))
    failures = []
    with progress.task("Drawing maps", len(groups)) as task:
        for slide_id, own in groups.items():
            found = _average(run, own, int(size_px0[slide_id]))
            words = {"slide_id": str(slide_id), "subtitle": _say(own)}
            try:
                _write(writer, finder, found, words)
            except SlideError as error:
                message = f"its maps cannot be drawn ({error})"
                failures.append(
                    SlideFailure(str(slide_id), "mil predict bags", message)
                )
            task.advance()
    return failures


def _average(run: MILRun, tiles: pd.DataFrame, size_px0: int) -> SlideAttention:
    """Average what was found of each tile over the bags that hold it."""
    names = list(probability_columns(run.class_names))
    has_scores = set(names) <= set(tiles)
    columns = ["attention", *(names if has_scores else [])]
    mean = tiles.groupby(["x_px0", "y_px0"], as_index=False)[columns].mean()
    times = mean["attention"].to_numpy(np.float64)
    return SlideAttention(
        mean[["x_px0", "y_px0"]].assign(size_px0=size_px0),
        times,
        rank_attention(times),
        mean[names].to_numpy() if has_scores else None,
    )


def _say(tiles: pd.DataFrame) -> str:
    n_tiles = len(tiles[["x_px0", "y_px0"]].drop_duplicates())
    return f"{n_tiles:,} tiles drawn into {tiles['bag_id'].nunique():,} bags"


def _write(
    writer: AttentionWriter,
    finder: SlideFinder,
    found: SlideAttention,
    words: Mapping[str, Any],
) -> None:
    slide_id = words["slide_id"]
    writer.remove(slide_id)
    with finder.open(slide_id) as slide:
        if slide is None:
            raise SlideError("the slide is not at hand")
        place = place_slide(slide, {}, found.tiles, slide.mpp)
        writer.write(place, picture_slide(slide, title=slide_id), found, **words)
