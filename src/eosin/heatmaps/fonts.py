"""The typeface of pictures."""

import functools
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


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
