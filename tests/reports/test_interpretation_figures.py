import numpy as np
import pandas as pd

from eosin.reports import render_png
from eosin.reports.interpretation_figures import draw_feature_map, draw_silhouettes


def texts_of(axes):
    return {text.get_text() for text in axes.texts}


def test_each_factor_has_a_panel_and_each_cluster_its_number():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(30, 2))
    places[0] = np.nan
    factors = pd.DataFrame(
        {
            "label": pd.Categorical(["a"] * 20 + [None] * 10, ["a", "b"]),
            "slide": [f"a-very-long-name-of-slide-{i % 8}" for i in range(30)],
            "verdict": ["right"] * 30,
        }
    )
    numbers = np.array([1] * 15 + [2] * 14 + [3])
    places[29] = np.nan
    figure = draw_feature_map(places, factors, numbers.tolist())
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [
        "By label",
        "By slide",
        "By verdict",
    ]
    # The third cluster has no tile with a place.
    assert texts_of(panels[0]) == {"1", "2"}
    names = [t.get_text() for t in panels[0].get_legend().get_texts()]
    assert names == ["none", "a", "b"]
    names = [t.get_text() for t in panels[1].get_legend().get_texts()]
    assert names[0] == "others"
    assert len(names) == 7
    assert all(len(name) <= 22 for name in names)
    assert render_png(figure).startswith(b"\x89PNG")


def test_the_number_that_was_taken_is_marked():
    figure = draw_silhouettes({2: 0.3, 3: 0.5, 4: 0.1}, 3)
    line, mark = figure.axes[0].lines
    assert line.get_ydata().tolist() == [0.3, 0.5, 0.1]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (3, 0.5)
    assert len(draw_silhouettes({2: 0.3, 3: 0.5}, 7).axes[0].lines) == 1
