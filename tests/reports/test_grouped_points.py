import numpy as np
import pandas as pd
import pytest

from eosin.reports import render_png
from eosin.reports.grouped_points import MOST_GROUPS, draw_panels

POINTS = np.array([[0.0, 0.0], [2.0, 4.0], [np.nan, np.nan], [6.0, 6.0], [8.0, 2.0]])
FACTORS = pd.DataFrame(
    {
        "class": ["a", "a", "a", "a name that is much too long for it", None],
        "site": ["x", "x", "y", "y", "z"],
        "split": [None] * 5,
    }
)


def choose(name, groups):
    return list(groups.cat.categories)[: 1 if name == "site" else MOST_GROUPS]


def draw(**options):
    finished = []
    words = {"most_points": 100, "height": 3.0, **options}
    figure = draw_panels(POINTS, FACTORS, choose, finished.append, **words)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert finished == shown
    return figure, shown


def count_points(axes):
    return sum(len(group.get_offsets()) for group in axes.collections)


def test_each_factor_has_a_panel_and_each_group_a_name():
    figure, panels = draw()
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles == ["By class", "By site", "By split"]
    names = [
        [text.get_text() for text in axes.get_legend().get_texts()] for axes in panels
    ]
    assert names == [
        ["none", "a", "a name that\N{HORIZONTAL ELLIPSIS}ong for it"],
        ["others", "x"],
        ["none"],
    ]
    # The point without a place is not drawn.
    assert [count_points(axes) for axes in panels] == [4, 4, 4]
    assert render_png(figure).startswith(b"\x89PNG")


def test_a_group_s_mean_is_marked_where_that_is_asked_for():
    _, panels = draw(marks_means=True)
    means = [
        group.get_offsets().tolist()
        for group in panels[0].collections
        if group.get_sizes().tolist() == [60]
    ]
    assert means == [[[1.0, 2.0]], [[6.0, 6.0]]]


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (3, 3), (9, 4)])
def test_no_more_points_are_drawn_than_said(most, expected):
    _, panels = draw(most_points=most)
    assert {count_points(axes) for axes in panels} == {expected}
