"""Drawing on a slide's thumbnail in level-0 coordinates."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from eosin.heatmaps.colours import Colour
from eosin.heatmaps.rasters import Heatmap
from eosin.slides import Slide

Number = TypeVar("Number", np.uint8, np.float32)

_SCALE_BARS_MM = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)

# Tiles smaller than this on the canvas are filled, as an outline would fill them.
_OUTLINED_TILE_PX = 10


@dataclass(frozen=True)
class SlidePicture:
    """A slide's thumbnail and what places level-0 coordinates on it.

    Attributes:
        image: `(height, width, 3)`, RGB, uint8.
        slide_size: (width, height) of level 0.
        mpp: Micrometres per level-0 pixel.
        title: Usually the slide's id.
    """

    image: npt.NDArray[np.uint8]
    slide_size: tuple[int, int]
    mpp: float
    title: str


def picture_slide(
    slide: Slide,
    *,
    title: str,
    max_px: int = 1600,
    image: npt.NDArray[np.uint8] | None = None,
) -> SlidePicture:
    """Take a slide's thumbnail, of `max_px` on its longer side, to draw on.

    With an `image` of the whole slide, RGB, at hand, half of that or more does: the
    image is taken where it is so large, and else the slide is read at a power of two,
    which files hold or decode to.

    Raises:
        SlideError: The slide has no mpp, or cannot be read.
    """
    if image is None:
        thumbnail = slide.thumbnail(max_px)
    elif max(image.shape[:2]) < max_px / 2:
        factor = max(1.0, max(slide.dimensions) / max_px)
        thumbnail = slide.read_image(downsample=2 ** math.ceil(math.log2(factor)))
    else:
        factor = min(1.0, max_px / max(image.shape[:2]))
        thumbnail = np.asarray(
            cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA),
            np.uint8,
        )
    return SlidePicture(thumbnail, slide.dimensions, slide.require_mpp(), title)


class SlideCanvas:
    """A thumbnail to draw on in level-0 coordinates; the picture is copied.

    Attributes:
        image: `(height, width, 3)`, RGB, uint8; drawn on in place.
        scale: Canvas pixels per level-0 pixel.
    """

    def __init__(self, picture: SlidePicture) -> None:
        self.image = picture.image.copy()
        self.scale: float = max(picture.image.shape[:2]) / max(picture.slide_size)
        self._mpp = picture.mpp

    @property
    def line_px(self) -> int:
        """A line width that suits the picture's size."""
        return int(max(1, round(max(self.image.shape[:2]) / 700)))

    def draw_outline(self, geometry: BaseGeometry, colour: Colour) -> None:
        """Draw the outline of an area, with a white halo so that it always shows."""
        # In 1/16 pixels, and from corners to OpenCV's pixel centres.
        rings = [
            np.rint((ring * self.scale - 0.5) * 16).astype(np.int32)
            for ring in iter_rings(geometry)
        ]
        white = (255, 255, 255)
        for shade, thickness in ((white, self.line_px + 2), (colour, self.line_px)):
            cv2.polylines(
                self.image,
                rings,
                isClosed=True,
                color=shade,
                thickness=thickness,
                lineType=cv2.LINE_AA,
                shift=4,
            )

    def draw_mask_outline(self, mask: npt.NDArray[np.bool_], colour: Colour) -> None:
        """Draw the outline of a mask that spans the whole slide."""
        contours, _ = cv2.findContours(
            self._fit_mask(mask), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE
        )
        cv2.drawContours(self.image, contours, -1, colour, self.line_px, cv2.LINE_AA)

    def tint_mask(
        self, mask: npt.NDArray[np.bool_], colour: Colour, strength: float
    ) -> None:
        """Blend a colour over where a mask that spans the whole slide is True."""
        self._blend(self._fit_mask(mask).astype(bool), colour, strength)

    def draw_tiles(self, boxes_px0: npt.NDArray[np.int64], colour: Colour) -> None:
        """Draw tiles, `(tiles, 4)` x, y, width, height, each inside its own edges.

        They are outlined and nearly clear, as a tint would pass for stain; tiles too
        small for an outline are tinted.
        """
        if not len(boxes_px0):
            return
        corners = np.stack([boxes_px0[:, :2], boxes_px0[:, :2] + boxes_px0[:, 2:]], 1)
        placed = np.rint(corners * self.scale).astype(int)
        is_outlined = np.median(placed[:, 1] - placed[:, 0]) >= _OUTLINED_TILE_PX
        inside = np.zeros(self.image.shape[:2], np.uint8)
        border = np.zeros_like(inside)
        # A gap of a pixel on the right and below keeps neighbours apart.
        for (left, top), (right, bottom) in placed.tolist():
            start, end = (left + 1, top + 1), (max(right - 1, left + 1), bottom - 1)
            cv2.rectangle(inside, start, end, 1, cv2.FILLED)
            if is_outlined:
                cv2.rectangle(border, start, end, 1, max(1, self.line_px // 2))
        self._blend(inside.astype(bool), colour, 0.10 if is_outlined else 0.35)
        self._blend(border.astype(bool), colour, 0.75)

    def blend_heatmap(
        self,
        heatmap: Heatmap,
        colours: npt.NDArray[np.uint8],
        strength: npt.NDArray[np.float32],
    ) -> None:
        """Blend colours, `(*cells, 3)`, over the canvas where a heatmap's cells lie.

        A strength of 0, `(*cells,)`, leaves the canvas as it is.
        """
        share = self._lay_cells(strength, heatmap)
        laid = self._lay_cells(colours, heatmap)
        blended = cv2.blendLinear(self.image, laid, 1 - share, share)
        self.image = np.asarray(blended, np.uint8)

    def find_scale_bar(self) -> tuple[float, int]:
        """Choose a round length in mm, and give its width in canvas pixels."""
        px_per_mm = 1000 / self._mpp * self.scale
        best = max(
            (mm for mm in _SCALE_BARS_MM if mm * px_per_mm <= self.image.shape[1] / 4),
            default=_SCALE_BARS_MM[0],
        )
        return best, max(2, round(best * px_per_mm))

    def _lay_cells(
        self, cells: npt.NDArray[Number], heatmap: Heatmap
    ) -> npt.NDArray[Number]:
        """Lay a heatmap's cells on the canvas's pixels, 0 outside."""
        step = heatmap.cell_px0 * self.scale
        x, y = (origin * self.scale for origin in heatmap.origin_px0)
        # OpenCV counts from pixel centres, so a corner lies half a pixel off.
        offset = 0.5 * step - 0.5
        place = np.array([[step, 0, x + offset], [0, step, y + offset]])
        height, width = self.image.shape[:2]
        laid = cv2.warpAffine(cells, place, (width, height), flags=cv2.INTER_NEAREST)
        return np.asarray(laid, cells.dtype)

    def _fit_mask(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
        height, width = self.image.shape[:2]
        grown = cv2.resize(
            mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        return np.asarray(grown, np.uint8)

    def _blend(
        self, mask: npt.NDArray[np.bool_], colour: Colour, strength: float
    ) -> None:
        values = np.arange(256, dtype=np.float32)[:, None, None] * (1 - strength)
        target = np.array(colour, np.float32) * strength
        # NumPy takes 20 times as long to index by a mask.
        blended = cv2.LUT(self.image, np.rint(values + target).astype(np.uint8))
        cv2.copyTo(blended, mask.astype(np.uint8), self.image)


def iter_rings(geometry: BaseGeometry) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the outlines and holes of an area, `(points, 2)` each."""
    for part in shapely.get_parts(geometry):
        if isinstance(part, MultiPolygon):
            yield from iter_rings(part)
        elif isinstance(part, Polygon) and not part.is_empty:
            yield np.asarray(part.exterior.coords, np.float64)[:, :2]
            for hole in part.interiors:
                yield np.asarray(hole.coords, np.float64)[:, :2]
