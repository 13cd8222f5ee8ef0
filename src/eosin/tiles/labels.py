"""From outlined regions to the label of each tile."""

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from eosin.annotations import MappedAnnotations, Region
from eosin.tiles.grid import find_boxes

# Areas of polygons end a few units of the last place off the true share.
_TOLERANCE = 1e-9
_MAX_EXCLUDED = 0.5
# What is drawn on its own slide lies on tissue, but for a rim and for fat.
_LEAST_ON_TISSUE = 0.4


def label_tiles(
    tiles: pd.DataFrame,
    mapped: MappedAnnotations | None,
    class_names: Sequence[str],
    *,
    slide_label: str | None,
    unannotated: Literal["auto", "negative", "ignore"],
    min_fraction: float,
) -> pd.DataFrame:
    """Give each tile of one slide the label of the class that covers it.

    In this order: a tile of which more than half is excluded has no label. The
    positive class with the largest share wins where that share is at least
    `min_fraction` (no label where two are equal); else the negative class where
    its own share is. A tile with a smaller share of a positive class has no
    label. What is left is unannotated tissue, for which `unannotated` decides.

    Args:
        tiles: `x_px0`, `y_px0` and `size_px0`, level-0 frame.
        mapped: The slide's regions by class; None where it has no annotations.
        class_names: Index equals label; the negative class comes first.
        slide_label: The class of the whole slide; None or another name says nothing.
        unannotated: `negative` makes unannotated tissue negative, `ignore` leaves
            it without a label; `auto` makes it negative on a slide whose label is
            the negative class, or on one whose annotations outline a positive
            class and nothing of the negative one. In all three it stays without
            a label on a slide that is labelled positive and outlines nothing
            positive: the tumour may lie anywhere.
        min_fraction: Least share of a tile for a label, 0 to 1.

    Returns:
        A copy with `<class>_fraction` (share of the tile's area under that class's
        regions less the excluded ones) and `label` (Int8, missing where there is none).
    """
    left, top, width, height = find_boxes(tiles).T
    boxes = np.asarray(shapely.box(left, top, left + width, top + height), object)
    areas = dict(mapped.areas) if mapped is not None else {}
    exclude = mapped.exclude if mapped is not None else None
    if exclude is not None and exclude.is_empty:
        exclude = None
    fractions = np.zeros((len(tiles), len(class_names)))
    for index, name in enumerate(class_names):
        area = areas.get(name)
        if area is not None and not area.is_empty:
            kept = area if exclude is None else area.difference(exclude)
            fractions[:, index] = _measure_cover(boxes, kept)
    background = _label_unannotated(areas, class_names, slide_label, unannotated)
    labels = _choose(fractions, min_fraction, background)
    if exclude is not None:
        labels[_measure_cover(boxes, exclude) > _MAX_EXCLUDED + _TOLERANCE] = -1
    result = tiles.copy()
    result[[f"{name}_fraction" for name in class_names]] = fractions
    result["label"] = pd.arrays.IntegerArray(labels, labels < 0)
    return result


def describe_fit(
    regions: Sequence[Region],
    tissue: npt.NDArray[np.bool_],
    downsample: float,
    dimensions: tuple[int, int],
) -> str:
    """Say that regions hardly lie on tissue, as another slide's do, or beyond it.

    It is empty where they fit.

    Args:
        regions: What was drawn, level-0 frame.
        tissue: True on tissue, `(height, width)`.
        downsample: Level-0 pixels per pixel of `tissue`.
        dimensions: Width and height of the slide in level-0 pixels.
    """
    outlines = np.array([region.geometry for region in regions], object)
    total = shapely.area(outlines).sum()
    inside = shapely.clip_by_rect(outlines, 0, 0, *dimensions)
    drawn = np.zeros(tissue.shape, np.uint8)
    for part in shapely.get_parts(inside):
        rings = shapely.get_rings(part)
        corners = [shapely.get_coordinates(ring) / downsample for ring in rings]
        cv2.fillPoly(drawn, [np.floor(ring).astype(np.int32) for ring in corners], 1)
    if not total or not tissue.any():
        return ""
    areas = shapely.area(inside)
    share_inside = float(areas.sum() / total)
    share = share_inside * float(tissue[drawn > 0].mean()) if drawn.any() else 0.0
    if share >= _LEAST_ON_TISSUE:
        n_beyond = int((areas == 0).sum())
        beyond = f"{n_beyond} of {len(areas)} regions lie beyond the slide"
        return beyond if n_beyond else ""
    beyond = f" and {1 - share_inside:.0%} beyond the slide" if share_inside < 1 else ""
    return (
        f"{share:.0%} of the outlined area lies on tissue{beyond}; are the outlines "
        "another slide's, or drawn at another magnification?"
    )


def _measure_cover(
    boxes: npt.NDArray[np.object_], area: Any
) -> npt.NDArray[np.float64]:
    """Return the share of each box that lies in an area, exactly."""
    cover = np.zeros(len(boxes))
    # The prepared tests are quick; few boxes lie on an outline and need a cut.
    shapely.prepare(area)
    is_inside = shapely.contains_properly(area, boxes)
    cover[is_inside] = 1
    border = np.flatnonzero(~is_inside & shapely.intersects(area, boxes))
    cut = shapely.area(shapely.intersection(area, boxes[border]))
    cover[border] = cut / shapely.area(boxes[border])
    cover[cover < _TOLERANCE] = 0
    cover[cover > 1 - _TOLERANCE] = 1
    return cover


def _label_unannotated(
    areas: dict[str, Any],
    class_names: Sequence[str],
    slide_label: str | None,
    unannotated: Literal["auto", "negative", "ignore"],
) -> int:
    """Return the label of tissue outside every region: 0, or -1 for none."""
    negative, *positives = class_names
    outlined = {name for name, area in areas.items() if not area.is_empty}
    has_positive = any(name in outlined for name in positives)
    if slide_label in positives and not has_positive:
        return -1
    is_negative = unannotated == "negative"
    if unannotated == "auto":
        outlines_positive_alone = has_positive and negative not in outlined
        is_negative = slide_label == negative or outlines_positive_alone
    return 0 if is_negative else -1


def _choose(
    fractions: npt.NDArray[np.float64], min_fraction: float, background: int
) -> npt.NDArray[np.int8]:
    """Apply the rule to `(tiles, classes)` shares; -1 is no label."""
    enough = (fractions > 0) & (fractions >= min_fraction - _TOLERANCE)
    positive = fractions[:, 1:]
    labels = np.full(len(fractions), background, np.int8)
    labels[(positive > 0).any(axis=1)] = -1
    labels[enough[:, 0]] = 0
    best = positive.max(axis=1, initial=0)
    is_positive = enough[:, 1:].any(axis=1)
    labels[is_positive] = positive[is_positive].argmax(axis=1) + 1
    is_tied = (positive >= best[:, None] - _TOLERANCE).sum(axis=1) > 1
    labels[is_positive & is_tied] = -1
    return labels
