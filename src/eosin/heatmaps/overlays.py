"""Pictures of a slide with what was found, or placed, on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from shapely.geometry.base import BaseGeometry

from eosin.heatmaps.canvas import SlideCanvas, SlidePicture
from eosin.heatmaps.colours import (
    ANNOTATION_COLOUR,
    ARTEFACT_COLOURS,
    CLASS_COLOURS,
    PREDICTION_COLOUR,
    TISSUE_COLOUR,
    UNLABELLED_COLOUR,
    colourise,
    find_strength,
)
from eosin.heatmaps.frames import ColourBar, LegendEntry, add_frame
from eosin.heatmaps.rasters import Heatmap
from eosin.heatmaps.regions import PredictedRegion
from eosin.tiles import TissueMap, find_boxes


@dataclass(frozen=True)
class OverlayWords:
    """What an overlay shows.

    Attributes:
        quantity: Of the colours, beside their scale.
        regions: Of what is outlined.
    """

    quantity: str = "probability"
    regions: str = "predicted"


def draw_overlay(
    picture: SlidePicture,
    heatmap: Heatmap,
    *,
    subtitle: str = "",
    threshold: float | None = None,
    regions: Sequence[PredictedRegion] = (),
    annotation: BaseGeometry | None = None,
    words: OverlayWords | None = None,
) -> npt.NDArray[np.uint8]:
    """Draw a heatmap on its slide, with the outlines of what was found.

    Low probabilities are nearly transparent, so that the tissue stays visible.

    Args:
        picture: The slide.
        heatmap: Probabilities.
        subtitle: Score and label in words.
        threshold: Marked on the colour bar.
        regions: Outlined as predicted.
        annotation: Outlined as drawn by hand.
        words: What values and regions are; None says no class.

    Returns:
        RGB, `(height, width, 3)`, uint8.
    """
    canvas, words = SlideCanvas(picture), words or OverlayWords()
    canvas.blend_heatmap(
        heatmap, colourise(heatmap.values), find_strength(heatmap.values)
    )
    legend: list[LegendEntry] = []
    if annotation is not None and not annotation.is_empty:
        canvas.draw_outline(annotation, ANNOTATION_COLOUR)
        legend.append(LegendEntry(ANNOTATION_COLOUR, "annotated by hand", "line"))
    for region in regions:
        canvas.draw_outline(region.geometry, PREDICTION_COLOUR)
    if regions:
        area = sum(region.area_mm2 for region in regions)
        text = f"{words.regions}, {_write_area(area)}"
        legend.insert(0, LegendEntry(PREDICTION_COLOUR, text, "line"))
    mark = "" if threshold is None else f"threshold {threshold:.2f}"
    bar = ColourBar(words.quantity, threshold, mark)
    return add_frame(
        canvas, title=picture.title, subtitle=subtitle, legend=legend, bar=bar
    )


def draw_overview(
    picture: SlidePicture,
    *,
    tissue: TissueMap,
    tiles: pd.DataFrame,
    class_names: Sequence[str],
    areas: Mapping[str, BaseGeometry],
) -> npt.NDArray[np.uint8]:
    """Draw what `tile` did with a slide: tissue, grid, labels, annotations.

    Tiles are `x_px0`, `y_px0`, `size_px0` and `label`; `areas` are those annotated of
    each class. Gives RGB, `(height, width, 3)`, uint8.
    """
    canvas = SlideCanvas(picture)
    legend = _draw_labels(canvas, tiles, class_names)
    for index, (name, mask) in enumerate(sorted(tissue.artefacts.items())):
        if mask.any():
            colour = ARTEFACT_COLOURS[index % len(ARTEFACT_COLOURS)]
            canvas.tint_mask(mask, colour, 0.5)
            legend.append(LegendEntry(colour, name.replace("_", " ")))
    canvas.draw_mask_outline(tissue.mask, TISSUE_COLOUR)
    legend.append(LegendEntry(TISSUE_COLOUR, "tissue", "line"))
    for label, name in enumerate(class_names):
        if name in areas and not areas[name].is_empty:
            colour = CLASS_COLOURS[label % len(CLASS_COLOURS)]
            canvas.draw_outline(areas[name], colour)
            legend.append(LegendEntry(colour, f"{name}, annotated", "line"))
    share = tissue.mask.mean() if tissue.mask.size else 0.0
    subtitle = f"{len(tiles):,} tiles, tissue on {share:.0%} of the slide"
    return add_frame(canvas, title=picture.title, subtitle=subtitle, legend=legend)


def _draw_labels(
    canvas: SlideCanvas, tiles: pd.DataFrame, class_names: Sequence[str]
) -> list[LegendEntry]:
    """Draw each label's tiles in its colour, those without one below all others."""
    boxes, labels = find_boxes(tiles), tiles["label"].fillna(-1).to_numpy(np.int64)
    colours = [CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(class_names))]
    for label, colour in enumerate([UNLABELLED_COLOUR, *colours], start=-1):
        canvas.draw_tiles(boxes[labels == label], colour)
    legend = [
        LegendEntry(colour, _count(name, (labels == label).sum()))
        for label, (name, colour) in enumerate(zip(class_names, colours, strict=True))
    ]
    if n_bare := (labels < 0).sum():
        legend.append(LegendEntry(UNLABELLED_COLOUR, _count("no label", n_bare)))
    return legend


def _count(name: str, n: int) -> str:
    return f"{name}: {n:,} {'tile' if n == 1 else 'tiles'}"


def _write_area(area_mm2: float) -> str:
    """Write an area so that a small one does not read as none."""
    return f"{area_mm2:.2f} mm²" if area_mm2 >= 0.1 else f"{area_mm2:.2g} mm²"
