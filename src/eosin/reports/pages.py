"""What pages of figures and galleries have in common: templates, and files behind."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from eosin.core import atomic_path
from eosin.reports.galleries import Gallery, draw_sheet
from eosin.reports.style import render_inline_svg, render_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class FigureSlot:
    """A figure on a page.

    Attributes:
        name: Its files are named after it.
        title: Heading.
        text: The words that stand for it.
        figure: The figure.
        numbers: What it was drawn from, written beside it; None where a table of the
            page holds it.
    """

    name: str
    title: str
    text: str
    figure: "Figure"
    numbers: pd.DataFrame | None = None

    @property
    def svg(self) -> Markup:
        """The figure as SVG, to stand in the page."""
        # Drawn by matplotlib, which escapes every text that it writes.
        return Markup(render_inline_svg(self.figure, self.name))


def render_page(template: str, **values: Any) -> str:
    """Fill one of the package's templates; whatever text it is given is escaped."""
    environment = Environment(
        loader=PackageLoader("eosin.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values) + "\n"


def write_slots(folder: Path, slots: Iterable[FigureSlot]) -> None:
    """Write each figure as PNG, and its numbers as CSV.

    Raises:
        RunError: A file cannot be written.
    """
    for slot in slots:
        with atomic_path(folder / f"{slot.name}.png") as temporary:
            temporary.write_bytes(render_png(slot.figure))
        if slot.numbers is not None:
            _write_table(folder / f"{slot.name}.csv", slot.numbers)


def write_galleries(folder: Path, galleries: Iterable[Gallery]) -> None:
    """Write each gallery with tiles as PNG, and which tiles they are as CSV.

    Raises:
        RunError: A file cannot be written.
    """
    for gallery in galleries:
        if not gallery.tiles:
            continue
        with atomic_path(folder / f"{gallery.name}.png") as temporary:
            Image.fromarray(draw_sheet(gallery)).save(temporary)
        _write_table(folder / f"{gallery.name}.csv", _list_tiles(gallery))


def _list_tiles(gallery: Gallery) -> pd.DataFrame:
    rows = [
        (number, tile.tile_id, tile.caption)
        for number, group in enumerate(gallery.groups)
        for tile in group
    ]
    return pd.DataFrame(rows, columns=["group", "tile_id", "caption"])


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
