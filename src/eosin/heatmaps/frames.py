"""The frame around a picture: title, legend, colour bar and scale bar."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from eosin.heatmaps.canvas import SlideCanvas
from eosin.heatmaps.colours import Colour, colourise

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_MARGIN_PX = 16
_INK = (30, 30, 34)
_GREY = (95, 95, 100)
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class LegendEntry:
    """One line of a legend, with a filled square, or a line for what is outlined."""

    colour: Colour
    text: str
    sign: Literal["area", "line"] = "area"


@dataclass(frozen=True)
class ColourBar:
    """The scale of a heatmap, 0 to 1: what is shown, and a value that gets a mark."""

    text: str
    mark: float | None = None
    mark_text: str = ""


def add_frame(
    canvas: SlideCanvas,
    *,
    title: str,
    subtitle: str,
    legend: Sequence[LegendEntry],
    bar: ColourBar | None = None,
) -> npt.NDArray[np.uint8]:
    """Set a picture in a white frame: title above; bar, legend and scale bar below.

    A title that is too long is shortened in the middle, a legend takes as many lines as
    it needs. Gives RGB, `(height, width, 3)`, uint8.
    """
    image = canvas.image
    size = int(np.clip(max(image.shape[:2]) / 68, 12, 28))
    width = max(image.shape[1], 30 * size) + 2 * _MARGIN_PX
    room = width - 2 * _MARGIN_PX
    bar_height = 0 if bar is None else int(size * 4.6)
    # Beside the legend's first line stands the scale bar, unless a bar is above.
    taken = 0 if bar else canvas.find_scale_bar()[1] + 2 * size
    lines = _wrap_legend(legend, room - taken, size)
    head = int(size * 3.4) + _MARGIN_PX
    foot = bar_height + int(size * 1.9) * max(len(lines), 1) + 2 * _MARGIN_PX
    if not bar:
        foot = max(foot, int(size * 2.2) + 2 * _MARGIN_PX)
    page = Image.new("RGB", (width, head + image.shape[0] + foot), "white")
    left = (width - image.shape[1]) // 2
    page.paste(Image.fromarray(image), (left, head))
    draw = ImageDraw.Draw(page)
    draw.rectangle(
        (left - 1, head - 1, left + image.shape[1], head + image.shape[0]),
        outline=(205, 205, 208),
    )
    _draw_head(draw, title, subtitle, room, size)
    y = head + image.shape[0] + _MARGIN_PX
    _draw_scale_bar(draw, canvas, (width - _MARGIN_PX, y), size)
    if bar is not None:
        _draw_colour_bar(page, bar, (_MARGIN_PX, y), size)
    _draw_legend(draw, lines, y + bar_height, size)
    return np.asarray(page, np.uint8)


@functools.cache
def load_font(size: float) -> Font:
    """Load DejaVu Sans, `size` pixels high with what lies below the line.

    Pillow's own font, where it is not there, has no accents and no µ or ², so that
    slide names and units would show as boxes. DejaVu lies in matplotlib's package,
    which is installed with eosin; it is looked up without importing matplotlib.
    """
    spec = find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size=size)


def shorten(text: str, font: Font, width_px: float) -> str:
    """Take from a text's middle what does not fit; ids differ at both ends."""
    if font.getlength(text) <= width_px:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(short) <= width_px:
            return short
    return text[:1]


def _draw_head(
    draw: ImageDraw.ImageDraw, title: str, subtitle: str, room: int, size: int
) -> None:
    for text, y, scale, ink in ((title, 0, 1.3, _INK), (subtitle, 1.8, 1, _GREY)):
        font = load_font(size * scale)
        place = (_MARGIN_PX, _MARGIN_PX * 0.7 + size * y)
        draw.text(place, shorten(text, font, room), ink, font)


def _draw_colour_bar(
    page: Image.Image, bar: ColourBar, place: tuple[int, int], size: int
) -> None:
    draw, font, small = ImageDraw.Draw(page), load_font(size), load_font(size * 0.85)
    x, y = place
    length = size * 16
    draw.text((x, y - size * 0.3), bar.text, _INK, font)
    y += int(size * 1.5)
    colours = colourise(np.linspace(0, 1, length))
    page.paste(Image.fromarray(np.repeat(colours[None], size, axis=0)), (x, y))
    draw.rectangle((x, y, x + length - 1, y + size - 1), outline=_INK)
    for value in _TICKS:
        at = x + value * (length - 1)
        draw.line((at, y + size, at, y + size * 1.3), _INK)
        # The first number starts at the bar's edge, so as not to leave the page.
        anchor = "la" if value == 0 else "ma"
        draw.text((at, y + size * 1.4), f"{value:g}", _INK, small, anchor=anchor)
    if bar.mark is not None:
        at, half = x + bar.mark * (length - 1), size * 0.36
        draw.polygon(
            [(at - half, y - size * 0.5), (at + half, y - size * 0.5), (at, y)], _INK
        )
        draw.line((at, y, at, y + size), _INK, max(1, size // 8))
        # Beside the bar, where it meets neither the numbers nor the text above.
        end = (x + length + size * 0.8, y + size * 0.5)
        draw.text(end, bar.mark_text, _INK, font, anchor="lm")


def _draw_scale_bar(
    draw: ImageDraw.ImageDraw, canvas: SlideCanvas, place: tuple[int, int], size: int
) -> None:
    right, y = place
    mm, length = canvas.find_scale_bar()
    text = f"{mm:g} mm" if mm >= 0.1 else f"{mm * 1000:g} µm"
    draw.rectangle((right - length, y, right, y + max(3, size // 4)), _INK)
    draw.text((right, y + size * 0.5), text, _INK, load_font(size), anchor="ra")


def _draw_legend(
    draw: ImageDraw.ImageDraw, lines: list[list[LegendEntry]], y: int, size: int
) -> None:
    for line in lines:
        x = _MARGIN_PX
        for entry in line:
            if entry.sign == "area":
                place = (x, y + size * 0.1, x + size, y + size * 1.1)
                draw.rectangle(place, entry.colour, _INK)
            else:
                middle = y + size * 0.6
                thickness = max(3, size // 4)
                draw.line((x, middle, x + size, middle), entry.colour, thickness)
            draw.text((x + size * 1.5, y), entry.text, _INK, load_font(size))
            x += _measure_entry(entry, size)
        y += int(size * 1.9)


def _wrap_legend(
    legend: Sequence[LegendEntry], width: int, size: int
) -> list[list[LegendEntry]]:
    lines: list[list[LegendEntry]] = []
    room = 0
    for entry in legend:
        needed = _measure_entry(entry, size)
        if not lines or needed > room:
            lines.append([])
            room = width
        lines[-1].append(entry)
        room -= needed
    return lines


def _measure_entry(entry: LegendEntry, size: int) -> int:
    return int(load_font(size).getlength(entry.text) + size * 3)
