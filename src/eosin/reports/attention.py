"""The page of what a MIL model attended to, slide by slide."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from eosin.core import RunError, write_text
from eosin.reports.pages import render_page

# The page must open in a browser; the files beside it hold the rest.
_MOST_SLIDES = 60
_OVERLAY_PX = 900


@dataclass(frozen=True, kw_only=True)
class AttendedSlide:
    """One slide of the page.

    Attributes:
        slide_id: The slide.
        facts: Name and text: its call, probability, tiles.
        overlay: Picture of its attention; None where there is none.
        gallery: Picture of its most attended tiles; None where there is none.
        words: A few words on each tile of the gallery, in order.
        note: What is missing and why; may be empty.
    """

    slide_id: str
    facts: Sequence[tuple[str, str]]
    overlay: Path | None
    gallery: Path | None
    words: Sequence[str]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AttentionData:
    """Everything that the page shows. Text is escaped, whatever it holds.

    Attributes:
        title: Heading.
        facts: One line below it.
        scale: What the numbers and colours mean, as sentences.
        slides: In the order to be shown.
    """

    title: str
    facts: str
    scale: Sequence[str]
    slides: Sequence[AttendedSlide]


def write_attention(path: Path, data: AttentionData) -> None:
    """Write the page as one self-contained HTML file, whole or not at all.

    The first 60 slides are shown.

    Raises:
        RunError: The file cannot be written, or a picture cannot be read.
    """
    shown = [
        (slide, _embed(slide.overlay, _OVERLAY_PX), _embed(slide.gallery, None))
        for slide in data.slides[:_MOST_SLIDES]
    ]
    n_left_out = len(data.slides) - len(shown)
    page = render_page(
        "attention.html.j2", data=data, shown=shown, n_left_out=n_left_out
    )
    write_text(path, page)


def _embed(path: Path | None, max_px: int | None) -> str | None:
    """Return a picture as a data address; None for none."""
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise RunError(f"{path}: cannot be read as a picture ({error})") from error
    if max_px is not None:
        picture.thumbnail((max_px, max_px))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
