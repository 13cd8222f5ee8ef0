import io
import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
from PIL import Image

from eosin.reports.style import (
    COLOURS,
    SERIES,
    figure_style,
    new_figure,
    new_panels,
    render_inline_svg,
    render_png,
)


@pytest.fixture
def figure():
    with new_figure(3, 2) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=SERIES[0], label="$x$ <b>&")
        axes.fill_between([0, 1], [0, 1], color=SERIES[1])
        axes.set(xlim=(0, 0.5), title="$\\broken{")
        axes.legend()
    return figure


def test_png_has_the_size_asked_for(figure):
    image = Image.open(io.BytesIO(render_png(figure)))
    assert (image.format, image.size) == ("PNG", (660, 440))


def test_an_inline_figure_follows_the_theme_and_keeps_its_ids_apart(figure):
    text = render_inline_svg(figure, "slide-roc")
    ET.fromstring(text.replace("xlink:href", "href"))
    assert text.startswith('<svg aria-hidden="true"')
    # Names are no mathematics, and no tags.
    assert "$x$ &lt;b&gt;&amp;" in text
    assert "var(--series-0)" in text
    for gone in ("<b>", "<metadata", "<!--", *COLOURS.values()):
        assert gone not in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert ids
    assert all(name.startswith("slide-roc-") for name in ids)
    used = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', text)
    assert used
    assert {one or other for one, other in used} <= set(ids)


def test_the_users_own_settings_are_left_as_they_were(figure):
    before = dict(mpl.rcParams)
    render_png(figure)
    with figure_style():
        assert mpl.rcParams["text.parse_math"] is False
    assert dict(mpl.rcParams) == before


def test_panels_fill_their_lines_and_no_more_are_seen():
    with new_panels(3, 2, (2, 1)) as (figure, panels):
        assert len(panels) == 3
    assert figure.get_size_inches().tolist() == [4, pytest.approx(2.3)]
    assert [axes.get_visible() for axes in figure.axes] == [True] * 3 + [False]


@pytest.mark.parametrize(
    ("code", "module"),
    [
        ("import eosin.reports", "matplotlib"),
        (
            "from eosin.reports.style import *\n"
            "with new_figure(1, 1) as (figure, _): render_png(figure)",
            "matplotlib.pyplot",
        ),
    ],
)
def test_drawing_alone_loads_matplotlib_and_never_pyplot(code, module):
    code = f"import sys\n{code}\nsys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
