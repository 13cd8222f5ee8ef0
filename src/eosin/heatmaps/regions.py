"""From a heatmap to outlines that a pathologist can edit."""

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from eosin.heatmaps.rasters import Heatmap


@dataclass(frozen=True)
class PredictedRegion:
    """A connected area of cells at or above the threshold.

    Attributes:
        geometry: Along the edges of the cells, with holes, in the level-0 frame.
        mean_probability: Over its cells.
        max_probability: Over its cells.
        area_mm2: Its area.
    """

    geometry: Polygon
    mean_probability: float
    max_probability: float
    area_mm2: float


def find_regions(
    heatmap: Heatmap,
    threshold: float,
    *,
    mpp: float,
    slide_size: tuple[int, int],
    min_area_mm2: float = 0.0,
) -> list[PredictedRegion]:
    """Outline where a heatmap reaches a threshold, the largest region first.

    Cells belong together where they share an edge.

    Args:
        heatmap: Probabilities.
        threshold: A cell counts from this value.
        mpp: Micrometres per level-0 pixel.
        slide_size: (width, height) of level 0; regions end there.
        min_area_mm2: Smaller regions are left out.
    """
    is_over = np.nan_to_num(heatmap.values, nan=-np.inf) >= threshold
    n_labels, labels = cv2.connectedComponents(is_over.astype(np.uint8), connectivity=4)
    rows, left, right = _find_runs(labels)
    owners = labels[rows, left]
    cell, (x0, y0) = heatmap.cell_px0, heatmap.origin_px0
    boxes = shapely.box(
        x0 + left * cell, y0 + rows * cell, x0 + right * cell, y0 + (rows + 1) * cell
    )
    means = _average(heatmap.values, labels, n_labels)
    frame = shapely.box(0, 0, *slide_size)
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(1, n_labels + 1))
    mm2_per_px = (mpp / 1000) ** 2
    regions = []
    for label in range(1, n_labels):
        own = boxes[order[starts[label - 1] : starts[label]]]
        for polygon in _list_polygons(shapely.union_all(own).intersection(frame)):
            if polygon.area * mm2_per_px >= min_area_mm2:
                mean, highest = means[label]
                regions.append(
                    PredictedRegion(polygon, mean, highest, polygon.area * mm2_per_px)
                )
    return sorted(regions, key=lambda region: -region.area_mm2)


def _find_runs(
    labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find runs of labelled cells in each row: row, first column, column behind."""
    padded = np.pad(labels > 0, ((0, 0), (1, 1))).astype(np.int8)
    change = np.diff(padded, axis=1)
    rows, left = np.nonzero(change == 1)
    _, right = np.nonzero(change == -1)
    return rows, left, right


def _average(
    values: np.ndarray, labels: np.ndarray, n_labels: int
) -> list[tuple[float, float]]:
    """Return mean and maximum of each component."""
    flat, own = np.nan_to_num(values.ravel()), labels.ravel()
    counts = np.maximum(np.bincount(own, minlength=n_labels), 1)
    means = np.bincount(own, weights=flat, minlength=n_labels) / counts
    highest = np.zeros(n_labels)
    np.maximum.at(highest, own, flat)
    return [(float(a), float(b)) for a, b in zip(means, highest, strict=True)]


def _list_polygons(geometry: BaseGeometry) -> list[Polygon]:
    if isinstance(geometry, Polygon):
        return [] if geometry.is_empty else [geometry]
    if isinstance(geometry, MultiPolygon):
        return list(geometry.geoms)
    return []
