import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import SHOWN_MEASURES
from eosin.reports.exploration_figures import (
    MEASURE_TITLES,
    bin_measures,
    draw_balance,
    draw_colour_map,
    draw_correlations,
    draw_distributions,
)
from eosin.reports.style import render_inline_svg


def make_measures(n=60):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.1, 1, (n, len(MEASURE_TITLES)))
    return pd.DataFrame(values, columns=list(MEASURE_TITLES))


def list_texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_shown_measure_has_a_title():
    assert set(MEASURE_TITLES) == set(SHOWN_MEASURES)


def test_the_balance_says_how_many_of_each_class():
    counts = pd.DataFrame(
        {"normal": [30, 1], "tumor": [10, 60], "unlabelled": [0, 4]},
        index=["train", "test"],
    )
    axes = draw_balance(counts).axes[0]
    assert list_texts(axes) == ["30 (75%)", "10 (25%)", "60 (92%)"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["train", "test"]


def test_bins_hold_every_tile_of_a_class():
    measures = make_measures()
    measures.loc[0, "eosin"] = 1e6
    measures.loc[1, "eosin"] = np.nan
    labels = np.arange(60) % 3 - 1
    bins = bin_measures(measures, labels, ("a", "b"))
    own = bins[bins["measure"] == "eosin"].groupby("class_name")
    assert own["n"].sum().to_dict() == {"a": 19, "b": 20}
    assert own["share"].sum().tolist() == pytest.approx([1, 1])
    sharp = bins[(bins["measure"] == "sharpness") & (bins["class_name"] == "a")]
    ratios = (sharp["high"] / sharp["low"]).to_numpy()
    assert ratios == pytest.approx(ratios[0])


def test_unlabelled_tiles_alone_are_drawn_as_one():
    bins = bin_measures(make_measures(), np.full(60, -1), ("a", "b"))
    assert set(bins["class_name"]) == {"all"}
    assert bins.groupby("measure")["n"].sum().tolist() == [60] * len(MEASURE_TITLES)


def test_a_measure_that_never_varies_or_is_missing_has_bins_or_none():
    measures = make_measures()
    measures["intensity"] = 7.0
    measures["sharpness"] = 0.0
    measures["saturation"] = np.nan
    bins = bin_measures(measures, np.zeros(60, int), ("a",))
    counts = bins.groupby("measure")["n"].sum()
    assert counts["intensity"] == counts["sharpness"] == 60
    assert "saturation" not in counts
    draw_distributions(bins)


def test_distributions_have_a_panel_each_and_plain_numbers():
    measures = make_measures()
    measures["sharpness"] *= 3000
    bins = bin_measures(measures, np.zeros(60, int), ("a", "an empty class"))
    figure = draw_distributions(bins)
    assert [axes.get_title("left") for axes in figure.axes] == list(
        MEASURE_TITLES.values()
    )
    text = render_inline_svg(figure, "d")
    assert "mathdefault" not in text
    assert "1,000" in text


def test_no_bins_draw_an_empty_figure():
    empty = bin_measures(make_measures().iloc[:0], np.empty(0, int), ("a",))
    assert not draw_distributions(empty).axes[0].get_visible()


def test_correlations_are_printed():
    table = pd.DataFrame(
        [[1.0, -0.25], [-0.25, np.nan]],
        index=["a", "b_share"],
        columns=["a", "b_share"],
    )
    axes = draw_correlations(table).axes[0]
    minus = "\N{MINUS SIGN}0.25"
    assert list_texts(axes) == ["1.00", minus, minus, "\N{EN DASH}"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b"]


def find_legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_colours_are_mapped_by_each_factor():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(80, 2))
    points[5] = np.nan
    slides = np.repeat([f"S{i}" for i in range(8)], 10)
    points[slides == "S6"] += 9
    classes = pd.Categorical(["b", "a"] * 40, ["b", "a"])
    factors = pd.DataFrame(
        {
            "class": classes,
            "site": [*["a site with a rather long name indeed"] * 79, None],
            "slide": slides,
        }
    )
    figure = draw_colour_map(points, np.array([0.9, 0.08]), factors)
    by_class, by_site, by_slide = figure.axes[:3]
    assert find_legend(by_class) == ["b", "a"]
    assert "90%" in by_class.get_xlabel()
    assert find_legend(by_site) == ["none", "a site with…ame indeed"]
    # Six of the eight slides, the oddest among them.
    names = find_legend(by_slide)
    assert names[0] == "others"
    assert len(names) == 7
    assert "S6" in names
    # Thousands of points are a picture in the drawing.
    assert "data:image/png" in render_inline_svg(figure, "m")


def test_of_many_scanners_the_largest_are_coloured():
    groups = [f"s{i}" for i in range(8) for _ in range(8 - i)]
    points = np.random.default_rng(0).normal(size=(len(groups), 2))
    factors = pd.DataFrame({"scanner": groups})
    axes = draw_colour_map(points, np.array([0.9, 0.08]), factors).axes[0]
    assert find_legend(axes) == ["others", *(f"s{i}" for i in range(6))]
