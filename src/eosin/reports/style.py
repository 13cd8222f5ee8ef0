"""Colours and rendering that all figures share.

Series colours are those of Okabe and Ito, told apart with any colour vision. In a
page the figures follow its light or dark theme: every colour below is replaced by
the CSS variable of its name, which the page's style sheet defines.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


@contextmanager
def figure_style() -> Iterator[None]:
    """Let a block draw in eosin's style, whatever the user's own settings."""
    import matplotlib as mpl  # noqa: PLC0415  only drawing needs it

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def make_figure(width_in: float, height_in: float) -> "Figure":
    """Make an empty figure, in inches, that no global state knows."""
    from matplotlib.figure import Figure  # noqa: PLC0415  only drawing needs it

    return Figure(figsize=(width_in, height_in), layout="constrained")


def pick_colour(i: int) -> str:
    """Return the colour of series `i`; they repeat after six."""
    return SERIES[i % len(SERIES)]


def render_png(figure: "Figure") -> bytes:
    """Draw a figure as PNG, for slides and papers."""
    return _render(figure, "png")


def render_svg(figure: "Figure") -> bytes:
    """Draw a figure as a stand-alone SVG file."""
    return _render(figure, "svg")


def render_inline_svg(figure: "Figure", name: str) -> str:
    """Draw a figure as an SVG element that follows the theme of its page.

    Args:
        figure: What to draw.
        name: Letters, digits and hyphens; unlike that of any other figure in the
            page, because the ids inside start with it.
    """
    text = render_svg(figure).decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for variable, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    # The page says in words what is shown, and hides the drawing's own parts.
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def _render(figure: "Figure", kind: str) -> bytes:
    buffer = io.BytesIO()
    # No date in the file, so that the same figure is the same bytes.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with figure_style():
        figure.savefig(buffer, format=kind, dpi=_PNG_DOTS_PER_INCH, metadata=metadata)
    return buffer.getvalue()
