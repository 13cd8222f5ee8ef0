"""Colours and rendering that all figures share.

Series colours are those of Okabe and Ito, told apart with any colour vision. In a
page the figures follow its light or dark theme: every colour below is replaced by
the CSS variable of its name, which the page's style sheet defines.
"""

import io
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Each value is there once, so that it can be found again in a drawn figure.
COLOURS = {
    "figure-ink": "#1f2328",
    "figure-muted": "#6a737d",
    "figure-grid": "#dfe3e8",
    "figure-surface": "#fefefe",
    "series-0": "#0072b2",
    "series-1": "#d55e00",
    "series-2": "#009e73",
    "series-3": "#cc79a7",
    "series-4": "#e69f00",
    "series-5": "#56b4e9",
}
INK, MUTED = COLOURS["figure-ink"], COLOURS["figure-muted"]
GRID, SURFACE = COLOURS["figure-grid"], COLOURS["figure-surface"]
SERIES = tuple(value for name, value in COLOURS.items() if name.startswith("series"))

# For a text with its middle at a place of the data.
CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}

_PNG_DOTS_PER_INCH = 220
_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": MUTED,
    "axes.facecolor": SURFACE,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "figure.facecolor": SURFACE,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 2.0,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    # Text stays text: smaller, selectable, and in the page's own font.
    "svg.fonttype": "none",
    "svg.hashsalt": "eosin",
    # A class called "$x$" is a name, not mathematics.
    "text.parse_math": False,
}


def figure_style() -> AbstractContextManager[None]:
    """Let a block draw in eosin's style, whatever the user's own settings."""
    import matplotlib.style

    return matplotlib.style.context(_RC, after_reset=True)


@contextmanager
def new_figure(
    width_in: float, height_in: float, n_rows: int = 1, n_columns: int = 1, **grid: Any
) -> "Iterator[tuple[Figure, Any]]":
    """Draw on a new figure, in inches, that no global state knows, and on its axes."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        yield figure, figure.subplots(n_rows, n_columns, **grid)


@contextmanager
def new_panels(
    n: int, most_columns: int, size_in: tuple[float, float]
) -> "Iterator[tuple[Figure, list[Axes]]]":
    """Draw on a new figure of `n` panels, each of a (width, height) in inches."""
    n_columns = min(most_columns, max(1, n))
    n_rows = max(1, -(-n // n_columns))
    width, height = size_in[0] * n_columns, 0.3 + size_in[1] * n_rows
    with new_figure(width, height, n_rows, n_columns, squeeze=False) as (figure, grid):
        panels = list(grid.flat)
        for axes in panels[n:]:
            axes.set_visible(False)
        yield figure, panels[:n]


def pick_colour(i: int) -> str:
    """Return the colour of series `i`; they repeat after six."""
    return SERIES[i % len(SERIES)]


def render_png(figure: "Figure") -> bytes:
    """Draw a figure as PNG, for slides and papers."""
    return _render(figure, "png", {"Software": None})


def render_inline_svg(figure: "Figure", name: str) -> str:
    """Draw a figure as an SVG element that follows the theme of its page.

    All ids within start with the name, which is letters, digits and hyphens.
    """
    # No date in the file, so that the same figure is the same bytes.
    text = _render(figure, "svg", {"Date": None}).decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    # Of two images alike the ids would be, and nothing asks for them.
    text = re.sub(r' id="image[0-9a-f]+"', "", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for variable, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    # The page says in words what is shown, and hides the drawing's own parts.
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def _render(figure: "Figure", kind: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format=kind, dpi=_PNG_DOTS_PER_INCH, metadata=metadata)
    return buffer.getvalue()
