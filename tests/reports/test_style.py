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
    make_figure,
    make_panels,
    render_inline_svg,
    render_png,
    render_svg,
)


@pytest.fixture
def figure():
    with figure_style():
        figure = make_figure(3, 2)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=SERIES[0], label="$x$ <b>&")
        axes.fill_between([0, 1], [0, 1], color=SERIES[1])
        axes.set(xlim=(0, 0.5), title="$\\broken{")
        axes.legend()
    return figure


def test_png_has_the_size_asked_for(figure):
    image = Image.open(io.BytesIO(render_png(figure)))
    assert image.format == "PNG"
    assert image.size == (660, 440)


def test_svg_is_well_formed_and_names_are_no_mathematics(figure):
    text = render_svg(figure).decode()
    ET.fromstring(text)
    assert "$x$ &lt;b&gt;&amp;" in text
    assert "<b>" not in text


def test_an_inline_figure_follows_the_theme_and_keeps_its_ids_apart(figure):
    text = render_inline_svg(figure, "slide-roc")
    ET.fromstring(text.replace("xlink:href", "href"))
    assert text.startswith('<svg aria-hidden="true"')
    assert "var(--series-0)" in text
    assert not any(colour in text for colour in COLOURS.values())
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert ids
    assert all(name.startswith("slide-roc-") for name in ids)
    used = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', text)
    assert used
    assert {one or other for one, other in used} <= set(ids)
    assert "<metadata" not in text
    assert "<!--" not in text


def test_the_users_own_settings_are_left_as_they_were(figure):
    before = dict(mpl.rcParams)
    render_png(figure)
    with figure_style():
        assert mpl.rcParams["text.parse_math"] is False
    assert dict(mpl.rcParams) == before


def test_panels_fill_their_lines_and_no_more_are_seen():
    figure, panels = make_panels(3, 2, (2, 1))
    assert figure.get_size_inches().tolist() == [4, pytest.approx(2.3)]
    assert len(panels) == 3
    assert [axes.get_visible() for axes in figure.axes] == [True] * 3 + [False]


def test_importing_reports_loads_no_matplotlib():
    code = "import sys, eosin.reports; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_drawing_needs_no_pyplot(figure):
    code = (
        "import sys; from eosin.reports.style import *; "
        "render_png(make_figure(1, 1)); sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
