"""A page: sections of words, tables, figures and pictures, in one file of its own.

A page is data. `render_page` turns it into HTML that needs no network and no script;
`write_page` puts each figure beside it as PNG, and what it was drawn from as CSV.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from eosin.core import RunError, atomic_path, plural, write_csv, write_text
from eosin.heatmaps import Gallery, draw_sheet, embed_thumbnail, write_image
from eosin.reports.style import render_inline_svg, render_png
from eosin.reports.words import DASH, format_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Cell:
    """A cell with a framed tag beside its text, and a sentence on a line below.

    The style is `value` for what the eye shall find, or `verdict` and which.
    """

    text: str
    style: str = ""
    tag: str = ""
    below: str = ""


@dataclass(frozen=True)
class Bar:
    """A cell with a bar from 0 to `fill` and the ends of an interval as `span`.

    `dot` and `other` are a mark and a hollow mark on it, `tick` a line across it. All
    are from 0 to 1; what lies beyond is drawn at the end.
    """

    fill: float | None = None
    span: tuple[float, float] | None = None
    dot: float | None = None
    other: float | None = None
    tick: float | None = None


@dataclass(frozen=True)
class Table:
    """A table, whose first `n_words` columns hold words and the others numbers.

    The style is `ids` where words may be long names, `metrics` or `small`. The row of
    the number `marked` is tinted; the words `folded` stand for the table until it is
    asked for.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence["str | int | Cell | Bar"]]
    caption: str = ""
    n_words: int = 1
    style: str = ""
    marked: int | None = None
    folded: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Terms:
    """Names, each with its text; `steps` of commands, or a `line` of short facts."""

    terms: Sequence[tuple[str, str]]
    style: Literal["", "steps", "line"] = ""


@dataclass(frozen=True, eq=False)
class Figure:
    """A drawing under its title, with the words that stand for it.

    Its files are called `name`: the picture, and the numbers that it was drawn from
    where no table of the page holds them.
    """

    name: str
    title: str
    text: str
    drawing: "Drawing"
    numbers: pd.DataFrame | None = None

    @property
    def width_px(self) -> int:
        """How wide it is shown where there is room, so that its text has one size."""
        return round(110 * self.drawing.get_figwidth())

    @property
    def svg(self) -> Markup:
        """The drawing as SVG, to stand in the page."""
        # Drawn by matplotlib, which escapes every text that it writes.
        return Markup(render_inline_svg(self.drawing, self.name))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture from a JPEG or PNG file, embedded, with words below it.

    The style is `wrong` for a frame that warns, `sheet` for a wide one. Sides longer
    than `max_px` are shrunk.
    """

    path: Path
    alt: str
    title: str = ""
    lines: Sequence[str] = ()
    style: str = ""
    max_px: int = 640

    @property
    def address(self) -> str:
        """The picture as a data address; a `RunError` where it cannot be read."""
        try:
            with Image.open(self.path) as image:
                small = image.convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise RunError(
                f"{self.path}: cannot be read as a picture ({error})"
            ) from error
        small.thumbnail((self.max_px, self.max_px))
        buffer = io.BytesIO()
        small.save(buffer, format="JPEG", quality=85)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class Pictures:
    """Pictures beside each other: small ones in a grid, or a few that fill a line."""

    pictures: Sequence[Picture]
    style: Literal["grid", "line"] = "grid"


Block = str | Heading | Terms | Table | Figure | tuple[Figure, ...] | Gallery | Pictures
"""What a section is made of: a string is a paragraph, a tuple stands in a line."""


@dataclass(frozen=True, eq=False)
class Section:
    """A part of a page.

    Attributes:
        name: In links; letters, digits and hyphens, once in a page.
        title: Heading.
        blocks: In their order. What is None or empty is left out, and a section
            without anything in it as well.
        link: Its words in the list of contents; by default the title.
    """

    name: str
    title: str
    blocks: Sequence[Block | None]
    link: str = ""

    @property
    def shown(self) -> list[Block]:
        """What there is of it."""
        return [block for block in self.blocks if block is not None and block != ""]


@dataclass(frozen=True, kw_only=True, eq=False)
class Page:
    """A page. Text is escaped, whatever it holds.

    Attributes:
        kind: What kind of page it is, above the title.
        title: Heading.
        facts: One line below it.
        headline: Sentences that say what matters, the first one largest.
        key_numbers: Name, value and a word on it, for the side of the headline.
        note: Small print below the headline.
        warning: Heading of the cautions.
        cautions: What must be known, as sentences.
        sections: The parts.
    """

    kind: str
    title: str
    facts: Sequence[str]
    sections: Sequence[Section]
    headline: Sequence[str] = ()
    key_numbers: Sequence[tuple[str, str, str]] = ()
    note: str = ""
    warning: str = "Before you believe it"
    cautions: Sequence[str] = ()

    def list_blocks(self) -> list[Block]:
        """List what all sections hold, one by one."""
        blocks = [block for section in self.sections for block in section.shown]
        return [one for b in blocks for one in (b if isinstance(b, tuple) else (b,))]


def tabulate(
    table: pd.DataFrame, heads: Mapping[str, str], caption: str = "", **look: Any
) -> Table:
    """Show columns of a table by their heads; `look` as for `Table`.

    Of numbers whole ones stay, others have three decimals; what is missing is a dash.
    """
    cells = table[list(heads)].astype(object).map(_show)
    return Table(list(heads.values()), cells.to_numpy().tolist(), caption, **look)


def _show(value: Any) -> "str | int | Cell | Bar":
    if isinstance(value, Cell | Bar):
        return value
    if pd.isna(value):
        return DASH
    if isinstance(value, float):
        return f"{value:.3f}"
    return int(value) if isinstance(value, int | np.integer) else str(value)


def tabulate_shares(
    heads: Sequence[str],
    shares: Mapping[str, float | None],
    caption: str,
    write: Callable[[float], str] = format_number,
) -> Table | None:
    """Show shares from 0 to 1, as numbers and as bars; None without any."""
    rows: list[list[str | Bar]] = [
        [plural(name).capitalize(), write(share), Bar(fill=share)]
        for name, share in shares.items()
        if share is not None
    ]
    return Table([*heads, "As a bar"], rows, caption) if rows else None


def show_steps(steps: Sequence[tuple[str, str]]) -> Section:
    """Make the section of commands with a word on each."""
    terms = Terms(steps, "steps") if steps else None
    return Section("next", "What to do next", (terms,), link="Next")


def describe_method(
    rows: Mapping[str, str], versions: Mapping[str, str], *blocks: Block | None
) -> Section:
    """Make the section on how it was done, which ends with the versions."""
    words = ", ".join(
        f"{name}\N{NO-BREAK SPACE}{version}" for name, version in versions.items()
    )
    terms = Terms(list(rows.items()))
    return Section("method", "Method", (terms, *blocks, Heading("Versions"), words))


def render_page(page: Page) -> str:
    """Return a page's HTML.

    Raises:
        RunError: A picture cannot be read.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("eosin.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["embed"] = embed_thumbnail
    environment.filters["kind"] = lambda part: type(part).__name__
    environment.filters["percent"] = _to_percent
    return environment.get_template("page.html.j2").render(page=page) + "\n"


def _to_percent(share: float) -> float:
    return round(100 * min(max(share, 0.0), 1.0), 1)


def write_page(page: Page, folder: Path, name: str = "report.html") -> None:
    """Write a page and, in `figures/`, what was drawn for it.

    Args:
        page: The page.
        folder: Where to write; made when missing.
        name: Of the HTML file.

    Raises:
        RunError: A file cannot be written, or a picture cannot be read.
    """
    # First, because drawing a figure once more moves it by a hair.
    text = render_page(page)
    figures = folder / "figures"
    for drawn in page.list_blocks():
        if isinstance(drawn, Figure):
            with atomic_path(figures / f"{drawn.name}.png") as temporary:
                temporary.write_bytes(render_png(drawn.drawing))
            if drawn.numbers is not None:
                write_csv(figures / f"{drawn.name}.csv", drawn.numbers)
        elif isinstance(drawn, Gallery) and drawn.tiles:
            write_image(figures / f"{drawn.name}.png", draw_sheet(drawn))
            write_csv(figures / f"{drawn.name}.csv", _list_tiles(drawn))
    write_text(folder / name, text)


def _list_tiles(gallery: Gallery) -> pd.DataFrame:
    rows = [
        (number, tile.tile_id, tile.caption)
        for number, group in enumerate(gallery.groups)
        for tile in group
    ]
    return pd.DataFrame(rows, columns=["group", "tile_id", "caption"])
