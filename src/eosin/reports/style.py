"""Colours and rendering that all figures share.

Series colours are those of Okabe and Ito, told apart with any colour vision. In a
page the figures follow its light or dark theme: every colour below is replaced by
the CSS variable of its name, which the page's style sheet defines.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

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


def make_panels(
    n: int, most_columns: int, size_in: tuple[float, float]
) -> "tuple[Figure, list[Axes]]":
    """Make a figure of `n` panels, each of a (width, height) in inches."""
    n_columns = min(most_columns, max(1, n))
    n_rows = max(1, -(-n // n_columns))
    width, height = size_in
    figure = make_figure(width * n_columns, 0.3 + height * n_rows)
    grid = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes in grid[n:]:
        axes.set_visible(False)
    return figure, grid[:n]


def pick_colour(i: int) -> str:
    """Return the colour of series `i`; they repeat after six."""
    return SERIES[i % len(SERIES)]


def write_centred(
    axes: "Axes",
    x: float,
    y: float,
    text: str,
    *,
    size: float = 8.5,
    weight: Literal["normal", "bold"] = "normal",
) -> None:
    """Write a text with its middle at a place of the data."""
    axes.text(x, y, text, ha="center", va="center", fontsize=size, fontweight=weight)


def whole_numbers(most: int) -> "Locator":
    """Return a choice of at most so many ticks, at whole numbers."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  only drawing needs it

    return MaxNLocator(most, integer=True)


def draw_steps(
    axes: "Axes", shares: Any, edges: npt.NDArray[np.float64], i: int, label: str
) -> None:
    """Draw a histogram's outline over its tinted area, in the colour of series `i`."""
    colour = pick_colour(i)
    axes.stairs(shares, edges, color=colour, linewidth=1.7, label=label)
    axes.stairs(shares, edges, fill=True, alpha=0.16, color=colour)


def shade_cells(
    axes: "Axes", strengths: npt.NDArray[np.float64], names: Sequence[str]
) -> None:
    """Draw a square of cells, orange above 0 and blue below, as strong as they say."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415  only drawing needs it

    n = len(names)
    axes.grid(visible=False)
    for (row, column), strength in np.ndenumerate(strengths):
        axes.add_patch(
            Rectangle(
                (column - 0.48, row - 0.47),
                0.96,
                0.94,
                facecolor=SERIES[1] if strength > 0 else SERIES[0],
                alpha=abs(strength),
                linewidth=0,
            )
        )
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    axes.set_xticks(range(n), names)
    axes.set_yticks(range(n), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


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
    # Of two images alike the ids would be, and nothing asks for them.
    text = re.sub(r' id="image[0-9a-f]+"', "", text)
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
