"""The page of what a bag model attended to, slide by slide."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.reports.page import Page, Picture, Pictures, Section, Terms

# The page must open in a browser; the files beside it hold the rest.
_MOST_SLIDES = 60
_OVERLAY_PX = 900
# A sheet of tiles is shown as it is.
_SHEET_PX = 10_000


@dataclass(frozen=True, kw_only=True)
class AttendedSlide:
    """One slide of the page, or one drawn bag.

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


def make_attention_page(
    title: str,
    facts: Sequence[str],
    scale: Sequence[str],
    slides: Sequence[AttendedSlide],
) -> Page:
    """Show slides with their attention, of very many the first 60.

    Args:
        title: Heading.
        facts: Words for the line below it.
        scale: What the numbers and colours mean, as sentences.
        slides: In the order to be shown.
    """
    sections = [_show(i, slide) for i, slide in enumerate(slides[:_MOST_SLIDES])]
    if n_more := len(slides) - len(sections):
        words = f"{n_more} more are not shown; their pictures lie beside this file."
        sections.append(Section("more", "More", (words,)))
    return Page(
        kind="attention",
        title=title,
        facts=facts,
        warning="How to read it",
        cautions=scale,
        sections=sections,
    )


def _show(number: int, slide: AttendedSlide) -> Section:
    name, pictures = slide.slide_id, []
    if slide.overlay is not None:
        alt = f"Attention on {name}"
        pictures.append(Picture(path=slide.overlay, alt=alt, max_px=_OVERLAY_PX))
    if slide.gallery is not None:
        alt = f"The most attended tiles of {name}, the first one most"
        words = "The most attended tiles, line by line; attention over 1/n: "
        words += f"{', '.join(slide.words)}."
        sheet: dict[str, Any] = {"style": "sheet", "max_px": _SHEET_PX}
        pictures.append(Picture(path=slide.gallery, alt=alt, lines=(words,), **sheet))
    shown = Pictures(pictures, "line") if pictures else None
    blocks = (Terms(slide.facts, "line"), slide.note, shown)
    return Section(f"slide-{number}", name, blocks)
