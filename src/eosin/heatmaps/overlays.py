"""Pictures of a slide with what was found, or placed, on it."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from shapely.geometry.base import BaseGeometry

from eosin.heatmaps.canvas import Colour, SlideCanvas, SlidePicture, add_frame
from eosin.heatmaps.colours import (
    ANNOTATION_COLOUR,
    ARTEFACT_COLOUR,
    CLASS_COLOURS,
    PREDICTION_COLOUR,
    UNLABELLED_COLOUR,
    colourise,
)
from eosin.heatmaps.rasters import Heatmap
from eosin.heatmaps.regions import PredictedRegion
from eosin.tiles import TissueMap

_TISSUE_COLOUR = (0, 158, 115)


def draw_overlay(
    picture: SlidePicture,
    heatmap: Heatmap,
    *,
    subtitle: str = "",
    threshold: float | None = None,
    regions: Sequence[PredictedRegion] = (),
    annotation: BaseGeometry | None = None,
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

    Returns:
        RGB, `(height, width, 3)`, uint8.
    """
    canvas = SlideCanvas(picture)
    values = _spread(heatmap, canvas, picture.image.shape[:2])
    strength = np.where(np.isfinite(values), 0.12 + 0.5 * np.nan_to_num(values), 0)
    canvas.blend_image(colourise(values), strength.astype(np.float32))
    for region in regions:
        canvas.draw_outline(region.geometry, PREDICTION_COLOUR)
    legend: list[tuple[Colour, str]] = []
    if regions:
        area = sum(region.area_mm2 for region in regions)
        legend.append((PREDICTION_COLOUR, f"predicted, {area:.2f} mm²"))
    if annotation is not None and not annotation.is_empty:
        canvas.draw_outline(annotation, ANNOTATION_COLOUR)
        legend.append((ANNOTATION_COLOUR, "annotated by hand"))
    if threshold is not None:
        legend.append((CLASS_COLOURS[0], f"threshold {threshold:.2f}"))
    return add_frame(
        canvas,
        title=picture.title,
        subtitle=subtitle,
        legend=legend,
        colour_bar=colourise(np.linspace(0, 1, 256, dtype=np.float32)),
        mark=threshold,
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

    Args:
        picture: The slide.
        tissue: The tissue and its artefacts.
        tiles: Columns `x_px0`, `y_px0`, `size_px0` and `label`.
        class_names: Class of each label.
        areas: Annotated area of each class.

    Returns:
        RGB, `(height, width, 3)`, uint8.
    """
    canvas = SlideCanvas(picture)
    boxes = tiles[["x_px0", "y_px0", "size_px0", "size_px0"]].to_numpy(np.int64)
    labels = tiles["label"].fillna(-1).to_numpy(np.int64)
    legend: list[tuple[Colour, str]] = []
    for label, name in enumerate(class_names):
        colour = CLASS_COLOURS[label % len(CLASS_COLOURS)]
        canvas.tint_tiles(boxes[labels == label], colour, 0.28)
        legend.append((colour, f"{name}: {(labels == label).sum():,} tiles"))
    canvas.tint_tiles(boxes[labels < 0], UNLABELLED_COLOUR, 0.28)
    if (labels < 0).any():
        legend.append((UNLABELLED_COLOUR, f"no label: {(labels < 0).sum():,}"))
    found = [name for name, mask in tissue.artefacts.items() if mask.any()]
    for name in found:
        canvas.tint_mask(tissue.artefacts[name], ARTEFACT_COLOUR, 0.45)
    if found:
        words = ", ".join(name.replace("_", " ") for name in found)
        legend.append((ARTEFACT_COLOUR, words))
    canvas.draw_mask_outline(tissue.mask, _TISSUE_COLOUR)
    legend.append((_TISSUE_COLOUR, "tissue"))
    for label, name in enumerate(class_names):
        if name in areas and not areas[name].is_empty:
            canvas.draw_outline(areas[name], CLASS_COLOURS[label % len(CLASS_COLOURS)])
    share = tissue.mask.mean() if tissue.mask.size else 0.0
    subtitle = f"{len(tiles):,} tiles, tissue on {share:.0%} of the slide"
    return add_frame(canvas, title=picture.title, subtitle=subtitle, legend=legend)


def _spread(
    heatmap: Heatmap, canvas: SlideCanvas, shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Lay a heatmap's cells on a picture's pixels; NaN outside."""
    x0, y0 = heatmap.origin_px0
    scale = canvas.to_rows(heatmap.cell_px0)
    place = np.array(
        [[scale, 0, canvas.to_rows(x0)], [0, scale, canvas.to_rows(y0)]], np.float64
    )
    # OpenCV counts from pixel centres, so a corner lies half a pixel off.
    place[:, 2] += 0.5 * scale - 0.5
    return np.asarray(
        cv2.warpAffine(
            heatmap.values,
            place,
            (shape[1], shape[0]),
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float("nan"),
        ),
        np.float32,
    )
