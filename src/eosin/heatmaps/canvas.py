"""Drawing on a slide's thumbnail: outlines, text, legends and a scale bar."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image, ImageDraw, ImageFont
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from eosin.slides import Slide

Colour = tuple[int, int, int]

_MARGIN_PX = 14
_INK = (30, 30, 34)
_SCALE_BARS_MM = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


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


def picture_slide(slide: Slide, *, title: str, max_px: int = 1600) -> SlidePicture:
    """Take a slide's thumbnail to draw on.

    Args:
        slide: The slide; it needs an mpp.
        title: Usually the slide's id.
        max_px: Longer side of the thumbnail.
    """
    return SlidePicture(
        slide.thumbnail(max_px), slide.dimensions, slide.require_mpp(), title
    )


class SlideCanvas:
    """A thumbnail to draw on in level-0 coordinates; the picture is copied."""

    def __init__(self, picture: SlidePicture) -> None:
        self.image = picture.image.copy()
        self._scale: float = picture.image.shape[1] / picture.slide_size[0]
        self._mpp = picture.mpp

    @property
    def line_px(self) -> int:
        """A line width that suits the picture's size."""
        return int(max(1, round(max(self.image.shape[:2]) / 700)))

    def to_canvas(self, points_px0: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        """Turn level-0 points `(points, 2)` into 1/16 canvas pixels, for OpenCV."""
        return np.asarray(np.rint(points_px0 * self._scale * 16), np.int32)

    def draw_outline(
        self,
        geometry: BaseGeometry,
        colour: Colour,
        *,
        width_px: int | None = None,
        halo: bool = True,
    ) -> None:
        """Draw the outline of an area, with a white halo so that it always shows."""
        width = width_px or self.line_px
        rings = [self.to_canvas(ring) for ring in iter_rings(geometry)]
        passes = (
            [((255, 255, 255), width + 2), (colour, width)]
            if halo
            else [(colour, width)]
        )
        for shade, thickness in passes:
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
        height, width = self.image.shape[:2]
        grown = cv2.resize(
            mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        contours, _ = cv2.findContours(grown, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(
            self.image, contours, -1, colour, max(1, self.line_px // 2), cv2.LINE_AA
        )

    def tint_mask(
        self, mask: npt.NDArray[np.bool_], colour: Colour, strength: float
    ) -> None:
        """Blend a colour over where a mask that spans the whole slide is True."""
        height, width = self.image.shape[:2]
        grown = cv2.resize(
            mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        ).astype(bool)
        self._blend(grown, np.array(colour, np.float32), strength)

    def tint_tiles(
        self,
        boxes_px0: npt.NDArray[np.int64],
        colour: Colour,
        strength: float,
    ) -> None:
        """Blend a colour over tiles, `(tiles, 4)` x, y, width, height."""
        mask = np.zeros(self.image.shape[:2], np.uint8)
        corners = np.stack([boxes_px0[:, :2], boxes_px0[:, :2] + boxes_px0[:, 2:]], 1)
        # A gap of one pixel between tiles shows the grid.
        for (left, top), (right, bottom) in np.rint(corners * self._scale).astype(int):
            mask[top + 1 : max(bottom, top + 2), left + 1 : max(right, left + 2)] = 1
        self._blend(mask.astype(bool), np.array(colour, np.float32), strength)

    def blend_image(
        self, colours: npt.NDArray[np.uint8], strength: npt.NDArray[np.float32]
    ) -> None:
        """Blend a picture of the canvas's size over it, `(h, w)` strengths 0 to 1."""
        share = strength[..., None]
        mixed = self.image * (1 - share) + colours * share
        self.image = np.rint(mixed).astype(np.uint8)

    def to_rows(self, value_px0: float) -> float:
        """Turn a level-0 length into canvas pixels."""
        return value_px0 * self._scale

    def scale_bar(self) -> tuple[float, int]:
        """Choose a round length in mm and its width in canvas pixels."""
        mm_px = 1000 / self._mpp * self._scale
        best = max(
            (mm for mm in _SCALE_BARS_MM if mm * mm_px <= self.image.shape[1] / 4),
            default=_SCALE_BARS_MM[0],
        )
        return best, max(2, round(best * mm_px))

    def _blend(
        self,
        mask: npt.NDArray[np.bool_],
        colour: npt.NDArray[np.float32],
        strength: float,
    ) -> None:
        inside = self.image[mask].astype(np.float32)
        self.image[mask] = np.rint(inside * (1 - strength) + colour * strength)


def iter_rings(geometry: BaseGeometry) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the outlines and holes of an area, `(points, 2)` each."""
    for part in shapely.get_parts(np.array([geometry])):
        if isinstance(part, MultiPolygon):
            yield from iter_rings(part)
        elif isinstance(part, Polygon) and not part.is_empty:
            yield np.asarray(part.exterior.coords, np.float64)[:, :2]
            for hole in part.interiors:
                yield np.asarray(hole.coords, np.float64)[:, :2]


def add_frame(
    canvas: SlideCanvas,
    *,
    title: str,
    subtitle: str,
    legend: Sequence[tuple[Colour, str]],
    colour_bar: npt.NDArray[np.uint8] | None = None,
    mark: float | None = None,
) -> npt.NDArray[np.uint8]:
    """Set a picture in a white frame: title above; legend and scale bar below.

    Args:
        canvas: The picture.
        title: First line above it.
        subtitle: Second line, in grey.
        legend: (colour, text) of each entry.
        colour_bar: `(steps, 3)` colours of values 0 to 1, drawn as a bar.
        mark: A value marked on the bar.

    Returns:
        RGB, `(height, width, 3)`, uint8.
    """
    image = canvas.image
    size = int(np.clip(max(image.shape[:2]) / 62, 13, 30))
    width = max(image.shape[1], 26 * size) + 2 * _MARGIN_PX
    entries = _wrap_legend(legend, width - 2 * _MARGIN_PX, size)
    head = int(size * 3.2) + _MARGIN_PX
    foot = int(size * 1.9) * (len(entries) + 1) + _MARGIN_PX
    if colour_bar is not None:
        foot += int(size * 2.4)
    page = Image.new("RGB", (width, head + image.shape[0] + foot), "white")
    left = (width - image.shape[1]) // 2
    page.paste(Image.fromarray(image), (left, head))
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN_PX, _MARGIN_PX // 2), title, _INK, _font(size * 1.25))
    draw.text(
        (_MARGIN_PX, _MARGIN_PX // 2 + size * 1.6), subtitle, (95, 95, 100), _font(size)
    )
    y = head + image.shape[0] + _MARGIN_PX
    if colour_bar is not None:
        _draw_colour_bar(page, draw, (_MARGIN_PX, y), size, colour_bar, mark)
    _draw_scale_bar(draw, canvas, (width - _MARGIN_PX, y), size)
    y += int(size * 2.4) if colour_bar is not None else 0
    for line in entries:
        x = _MARGIN_PX
        for colour, text in line:
            draw.rectangle(
                (x, y + size * 0.15, x + size, y + size * 1.15), colour, _INK
            )
            draw.text((x + size * 1.4, y), text, _INK, _font(size))
            x += _entry_width(text, size)
        y += int(size * 1.9)
    return np.asarray(page, np.uint8)


def _draw_colour_bar(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    size: int,
    colours: npt.NDArray[np.uint8],
    mark: float | None,
) -> None:
    x, y = place
    length = size * 14
    steps = np.linspace(0, len(colours) - 1, length).astype(int)
    bar = np.repeat(colours[steps][None], size, axis=0)
    page.paste(Image.fromarray(bar), (x, y))
    draw.rectangle((x, y, x + length, y + size), outline=_INK)
    for value in (0.0, 0.5, 1.0):
        at = x + round(value * length)
        anchor = "la" if value == 0 else "ra" if value == 1 else "ma"
        draw.text((at, y + size * 1.15), f"{value:g}", _INK, _font(size), anchor=anchor)
    draw.text(
        (x + length + size * 0.7, y - size * 0.1), "probability", _INK, _font(size)
    )
    if mark is not None:
        at = x + round(mark * length)
        draw.line((at, y - 3, at, y + size + 3), (0, 114, 178), 3)


def _draw_scale_bar(
    draw: ImageDraw.ImageDraw, canvas: SlideCanvas, place: tuple[int, int], size: int
) -> None:
    right, y = place
    mm, length = canvas.scale_bar()
    text = f"{mm:g} mm" if mm >= 0.1 else f"{mm * 1000:g} µm"
    draw.rectangle((right - length, y, right, y + max(3, size // 4)), _INK)
    draw.text((right, y + size * 0.45), text, _INK, _font(size), anchor="ra")


def _wrap_legend(
    legend: Sequence[tuple[Colour, str]], width: int, size: int
) -> list[list[tuple[Colour, str]]]:
    lines: list[list[tuple[Colour, str]]] = []
    room = 0
    for colour, text in legend:
        needed = _entry_width(text, size)
        if not lines or needed > room:
            lines.append([])
            room = width
        lines[-1].append((colour, text))
        room -= needed
    return lines


def _entry_width(text: str, size: int) -> int:
    return int(_font(size).getlength(text) + size * 2.6)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
