"""Pictures of the slides that a model got most wrong, for its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import Progress, SlideError, read_csv, to_file_name
from eosin.evaluation import Classes, EvaluationResult
from eosin.heatmaps import (
    OverlayWords,
    draw_overlay,
    picture_slide,
    rasterise_tiles,
    write_image,
)
from eosin.prediction.maps import rank_attention
from eosin.runs.run import Run
from eosin.slides import open_slide, require_unchanged
from eosin.tiles import FINGERPRINT, TileFolder

_MOST_SLIDES = 12
_OVERLAY_PX = 700


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedSlide:
    """A slide, and what a model says of its tiles.

    Attributes:
        slide_id: Its id.
        path: Where it is.
        mpp: Its micrometres per pixel.
        tiles: `x_px0`, `y_px0` and `size_px0`, one size for all.
        values: Of each tile, 0 to 1, `(tiles,)`.
        quantity: What the values are, in words.
        threshold: Marked on their scale; None for none.
        fingerprint: What it was when it was tiled; empty where nobody noted it.
    """

    slide_id: str
    path: str
    mpp: float
    tiles: pd.DataFrame
    values: npt.NDArray[np.floating[Any]]
    quantity: str
    threshold: float | None = None
    fingerprint: str = ""


def write_overlays(
    slides: Sequence[MappedSlide],
    folder: Path,
    progress: Progress,
    cautions: list[str],
) -> dict[str, Path]:
    """Draw slides with their tiles' values, and return the pictures by slide.

    Slides that cannot be read, or are no longer those that were tiled, cost the
    picture, not the page; they are added to `cautions`.
    """
    paths: dict[str, Path] = {}
    with progress.task("Drawing overlays", len(slides)) as task:
        for mapped in slides:
            task.advance()
            name = mapped.slide_id
            try:
                require_unchanged(mapped.path, mapped.fingerprint)
                with open_slide(mapped.path, mpp=mapped.mpp) as slide:
                    picture = picture_slide(slide, title=name, max_px=_OVERLAY_PX)
            except SlideError as error:
                cautions.append(f"No overlay of slide {name} was drawn: {error}")
                continue
            x, y = mapped.tiles[["x_px0", "y_px0"]].to_numpy(np.int64).T
            size_px0 = int(mapped.tiles["size_px0"].iloc[0])
            image = draw_overlay(
                picture,
                rasterise_tiles(x, y, size_px0, mapped.values),
                threshold=mapped.threshold,
                words=OverlayWords(mapped.quantity, ""),
            )
            paths[name] = folder / f"{len(paths):02d}.jpg"
            write_image(paths[name], image)
    return paths


def map_probabilities(
    folder: TileFolder,
    tiles: pd.DataFrame,
    result: EvaluationResult,
    threshold: float | None,
) -> list[MappedSlide]:
    """Map what a tile classifier says of the first slides; of patches nothing.

    `tiles` are those of a prediction table, `threshold` is theirs, and the calls of the
    result have the most wrong first.
    """
    if folder.has_patches:
        return []
    slides = []
    for call in result.calls.head(_MOST_SLIDES).to_dict("records"):
        label = choose_class(call, result.target)
        slide_tiles = tiles[tiles["slide_id"] == call["id"]]
        slides.append(
            MappedSlide(
                **_place(folder, call["id"]),
                tiles=slide_tiles,
                values=slide_tiles[result.target.columns[label]].to_numpy(),
                quantity=f"probability of {result.class_names[label]}",
                threshold=threshold,
            )
        )
    return slides


def choose_class(call: Mapping[Any, Any], target: Classes) -> int:
    """Choose the class to show: the slide's own, or the positive one found most."""
    if not pd.isna(call["label"]) and call["label"] > 0:
        return int(call["label"])
    return 1 + int(np.argmax([float(call[name]) for name in target.columns[1:]]))


def map_attention(
    run: Run, folder: TileFolder | None, result: EvaluationResult
) -> list[MappedSlide]:
    """Map the attention of the fold that held each of the first slides out.

    Bags of several slides, and tiles whose places are not known, are left out; without
    the folder of its tiles, all are.
    """
    if run.card.unit != "slide" or folder is None or folder.has_patches:
        return []
    sizes = folder.tiles.groupby("slide_id")["size_px0"].first()
    slides = []
    for slide_id in result.calls["id"].head(_MOST_SLIDES):
        path = run.path / "attention" / f"{to_file_name(slide_id)}.csv"
        table = read_csv(path) if path.is_file() else pd.DataFrame()
        if "x_px0" not in table or slide_id not in sizes:
            continue
        slides.append(
            MappedSlide(
                **_place(folder, slide_id),
                tiles=table.assign(size_px0=sizes[slide_id]),
                values=rank_attention(table["attention"].to_numpy() * len(table)),
                quantity="rank of attention among the slide's tiles, by the fold that "
                "held it out",
            )
        )
    return slides


def _place(folder: TileFolder, slide_id: str) -> dict[str, Any]:
    slide = folder.slides[folder.slides["slide_id"] == slide_id].iloc[0]
    return {
        "slide_id": slide_id,
        "path": slide["path"],
        "mpp": slide["mpp_used"],
        "fingerprint": slide[FINGERPRINT],
    }
