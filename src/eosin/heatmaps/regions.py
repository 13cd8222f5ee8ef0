"""From a heatmap to outlines that a pathologist can edit."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from shapely import Polygon

from eosin.heatmaps.rasters import Heatmap


@dataclass(frozen=True)
class PredictedRegion:
    """A connected area of cells at or above the threshold.

    Attributes:
        geometry: Along the edges of the cells, with holes, in the level-0 frame.
        mean_probability: Over its cells, each counted whole.
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

    Cells belong together where they share an edge. Regions end at `slide_size`, (width,
    height) of level 0, and those below `min_area_mm2` are left out.
    """
    # NaN is below every threshold. What lies off the slide must go before cells are
    # joined: the rest then stays connected when its outline is cut at the slide's
    # edge, so that each region's figures are those of its own cells.
    is_over = heatmap.values >= float(threshold)
    is_over &= _find_cells_on_slide(heatmap, slide_size)
    n_labels, labels = cv2.connectedComponents(is_over.astype(np.uint8), connectivity=4)
    rows, left, right = _find_runs(labels)
    cell, (x0, y0) = heatmap.cell_px0, heatmap.origin_px0
    boxes = shapely.box(
        x0 + left * cell, y0 + rows * cell, x0 + right * cell, y0 + (rows + 1) * cell
    )
    owners = labels[rows, left]
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(1, n_labels + 1))
    statistics = _summarise(heatmap.values, labels, n_labels)
    frame = shapely.box(0, 0, *slide_size)
    mm2_per_px = (mpp / 1000) ** 2
    regions = []
    for label in range(1, n_labels):
        own = boxes[order[starts[label - 1] : starts[label]]]
        outline = shapely.simplify(shapely.union_all(own), 0)
        for part in shapely.get_parts(outline.intersection(frame)):
            area = part.area * mm2_per_px
            # Lines that cutting at the frame leaves are no regions.
            if isinstance(part, Polygon) and not part.is_empty and area >= min_area_mm2:
                regions.append(PredictedRegion(part, *statistics[label], area))
    return sorted(regions, key=lambda region: -region.area_mm2)


def _find_cells_on_slide(
    heatmap: Heatmap, slide_size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Find the cells that share some area with the slide, `(height, width)`."""
    cell, (x0, y0) = heatmap.cell_px0, heatmap.origin_px0
    height, width = heatmap.values.shape
    left, top = x0 + np.arange(width) * cell, y0 + np.arange(height) * cell
    in_x = (left < slide_size[0]) & (left + cell > 0)
    in_y = (top < slide_size[1]) & (top + cell > 0)
    return np.asarray(in_y[:, None] & in_x)


def _find_runs(
    labels: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Find runs of labelled cells in each row: row, first column, column behind."""
    padded = np.pad(labels > 0, ((0, 0), (1, 1))).astype(np.int8)
    change = np.diff(padded, axis=1)
    rows, left = np.nonzero(change == 1)
    _, right = np.nonzero(change == -1)
    return rows, left, right


def _summarise(
    values: npt.NDArray[np.float32], labels: npt.NDArray[Any], n_labels: int
) -> list[tuple[float, float]]:
    """Return mean and maximum of each component."""
    flat, own = np.nan_to_num(values.ravel()), labels.ravel()
    counts = np.maximum(np.bincount(own, minlength=n_labels), 1)
    means = np.bincount(own, weights=flat, minlength=n_labels) / counts
    highest = np.full(n_labels, -np.inf)
    np.maximum.at(highest, own, flat)
    return [(float(a), float(b)) for a, b in zip(means, highest, strict=True)]
