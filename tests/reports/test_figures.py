import dataclasses

import numpy as np
import pandas as pd
import pytest

from eosin.exploring.statistics import SHOWN_MEASURES
from eosin.reports import draw_history, draw_learning_rates, point_panels
from eosin.reports.figures import (
    MEASURE_TITLES,
    bin_measures,
    draw_balance,
    draw_confusion,
    draw_correlations,
    draw_curves,
    draw_distributions,
    draw_reliability,
    draw_score_histogram,
)
from eosin.reports.point_panels import (
    draw_colour_map,
    draw_feature_map,
    draw_silhouettes,
)
from eosin.reports.style import render_inline_svg


def texts_of(figure):
    return {
        text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))
    }


def say(texts):
    return [text.get_text() for text in texts]


def labels_of(axes):
    return axes.get_legend_handles_labels()[1]


def line_of(axes, label):
    return next(line for line in axes.lines if line.get_label().startswith(label))


def titles_of(figure):
    return [a.get_title(loc="left") for a in figure.axes if a.get_visible()]


# How good a model is.


def test_curves_have_their_band_the_baseline_and_the_level_of_guessing(
    result, baseline
):
    tile, other = result.levels["tile"], baseline.levels["tile"]
    (axes,) = draw_curves("roc", tile, other, "patients").axes
    curve, line = tile.roc_curves[0], line_of(axes, "tumour")
    np.testing.assert_array_equal(line.get_xydata(), np.c_[curve.x, curve.y])
    assert f"tumour: AUC {curve.area:.2f}" in labels_of(axes)
    assert labels_of(axes)[1].endswith("band over patients")
    assert labels_of(axes)[-1].startswith("mean colour")
    assert len(axes.collections) == 1
    (axes,) = draw_curves("precision", tile, None, "bags").axes
    assert line_of(axes, "tumour").get_drawstyle() == "steps-pre"
    assert "guessing" in labels_of(axes)
    assert not any(label.startswith("mean colour") for label in labels_of(axes))


@pytest.mark.parametrize("kind", ["roc", "precision"])
def test_several_classes_have_a_curve_each_and_no_band(three_facts, kind):
    tile = three_facts.result.levels["tile"]
    (axes,) = draw_curves(kind, tile, tile, "bags").axes
    names = [label.split(":")[0] for label in labels_of(axes) if label != "guessing"]
    assert names == ["normal", "clear cell", "papillary"]
    assert not axes.collections


@pytest.mark.parametrize(
    ("confusion", "texts"),
    [
        ([[3, 1], [0, 1200]], {"3", "1", "0", "1,200", "75%", "25%", "0%", "100%"}),
        ([[0, 0], [1, 1]], {"no row", "50%", "Truth", "Called by the model"}),
    ],
)
def test_confusion_shows_counts_and_shares_of_the_truth(result, confusion, texts):
    slide = dataclasses.replace(result.levels["slide"], confusion=np.array(confusion))
    assert texts <= texts_of(draw_confusion(slide, ("normal", "tumour")))


def test_reliability_leaves_empty_bins_out(result):
    tile = result.levels["tile"]
    axes, below = draw_reliability(tile, "tiles").axes
    assert len(axes.lines[1].get_xdata()) == (tile.reliability.n > 0).sum()
    assert sum(bar.get_height() for bar in below.patches) == tile.n


@pytest.mark.parametrize("threshold", [0.2, None])
def test_the_histogram_marks_the_threshold(result, threshold):
    tile = dataclasses.replace(result.levels["tile"], threshold=threshold)
    shown = texts_of(draw_score_histogram(tile, ("normal", "tumour"), "bags"))
    assert (f"threshold {threshold or 0:.2f}" in shown) == (threshold is not None)
    assert {"Probability of tumour", f"tumour ({tile.n_by_class[1]:,})"} <= shown


def test_the_histogram_leaves_a_class_without_rows_out(three_facts):
    tile = three_facts.result.levels["tile"]
    scores = (tile.scores_by_class[0], tile.scores_by_class[1][:0], np.array([0.5]))
    tile = dataclasses.replace(tile, scores_by_class=scores)
    names = three_facts.result.class_names
    shown = texts_of(draw_score_histogram(tile, names, "tiles"))
    assert "Probability of the called class" in shown
    assert not any(text.startswith("clear cell") for text in shown)


# What tiles are like.


def make_measures(n=60, **changes):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.1, 1, (n, len(MEASURE_TITLES)))
    return pd.DataFrame(values, columns=list(MEASURE_TITLES)).assign(**changes)


def test_the_balance_says_how_many_of_each_class():
    counts = pd.DataFrame(
        {"normal": [30, 1], "tumor": [10, 60], "unlabelled": [0, 4]},
        index=["train", "test"],
    )
    axes = draw_balance(counts).axes[0]
    assert say(axes.texts) == ["30 (75%)", "10 (25%)", "60 (92%)"]
    assert say(axes.get_yticklabels()) == ["train", "test"]
    # Tumour begins in each split where normal ends.
    bars = [(bar.get_x(), bar.get_width()) for bar in axes.patches[2:4]]
    assert bars == [pytest.approx((0.75, 0.25)), pytest.approx((1 / 65, 60 / 65))]


def test_bins_hold_every_tile_of_a_class():
    assert set(MEASURE_TITLES) == set(SHOWN_MEASURES)
    measures = make_measures()
    measures.loc[:1, "eosin"] = (1e6, np.nan)
    bins = bin_measures(measures, np.arange(60) % 3 - 1, ("a", "b"))
    columns = ["measure", "class_name", "low", "high", "n", "share"]
    assert list(bins) == columns
    own = bins[bins["measure"] == "eosin"].groupby("class_name")
    assert own["n"].sum().to_dict() == {"a": 19, "b": 20}
    assert own["share"].sum().tolist() == pytest.approx([1, 1])
    sharp = bins[(bins["measure"] == "sharpness") & (bins["class_name"] == "a")]
    ratios = (sharp["high"] / sharp["low"]).to_numpy()
    assert ratios == pytest.approx(ratios[0])
    bins = bin_measures(make_measures(), np.full(60, -1), ("a", "b"))
    assert set(bins["class_name"]) == {"all"}
    assert bins.groupby("measure")["n"].sum().tolist() == [60] * len(MEASURE_TITLES)


def test_a_measure_that_never_varies_or_is_missing_has_bins_or_none():
    measures = make_measures(intensity=7.0, sharpness=0.0, saturation=np.nan)
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
    assert titles_of(figure) == list(MEASURE_TITLES.values())
    text = render_inline_svg(figure, "d")
    assert "mathdefault" not in text
    assert "1,000" in text


def test_correlations_are_printed():
    names = ["a", "b_share"]
    table = pd.DataFrame([[1.0, -0.25], [-0.25, np.nan]], names, names)
    axes = draw_correlations(table).axes[0]
    minus = "\N{MINUS SIGN}0.25"
    assert say(axes.texts) == ["1.00", minus, minus, "\N{EN DASH}"]
    assert say(axes.get_xticklabels()) == ["a", "b"]


# Tiles as points.

SHARES = np.array([0.9, 0.08])


def find_legend(axes):
    return say(axes.get_legend().get_texts())


def test_colours_are_mapped_by_each_factor():
    points = np.random.default_rng(0).normal(size=(80, 2))
    points[5] = np.nan
    slides = np.repeat([f"S{i}" for i in range(8)], 10)
    points[slides == "S6"] += 9
    factors = pd.DataFrame(
        {
            "class": pd.Categorical(["b", "a"] * 40, ["b", "a"]),
            "site": [*["a site with a rather long name indeed"] * 79, None],
            "slide": slides,
        }
    )
    figure = draw_colour_map(points, SHARES, factors)
    by_class, by_site, by_slide = figure.axes[:3]
    assert find_legend(by_class) == ["b", "a"]
    assert "90%" in by_class.get_xlabel()
    assert find_legend(by_site) == ["none", "a site with…ame indeed"]
    # Six of the eight slides, the oddest among them.
    names = find_legend(by_slide)
    assert (names[0], len(names)) == ("others", 7)
    assert "S6" in names
    # Thousands of points are a picture in the drawing.
    assert "data:image/png" in render_inline_svg(figure, "m")


def test_of_many_scanners_the_largest_are_coloured():
    groups = [f"s{i}" for i in range(8) for _ in range(8 - i)]
    points = np.random.default_rng(0).normal(size=(len(groups), 2))
    factors = pd.DataFrame({"scanner": groups})
    axes = draw_colour_map(points, SHARES, factors).axes[0]
    assert find_legend(axes) == ["others", *(f"s{i}" for i in range(6))]


@pytest.mark.parametrize(("most", "n_shown"), [(1, 1), (3, 3), (9, 4)])
def test_points_are_few_and_means_are_marked(monkeypatch, most, n_shown):
    monkeypatch.setattr(point_panels, "_MOST_POINTS", most)
    points = np.array([[0.0, 0.0], [2, 4], [np.nan, np.nan], [6, 6], [8, 2]])
    factors = pd.DataFrame({"class": ["a", "a", "a", "b", None]})
    (axes,) = draw_colour_map(points, SHARES, factors).axes
    offsets = [
        (group.get_sizes().tolist() == [60], group.get_offsets().tolist())
        for group in axes.collections
    ]
    # The point without a place is not drawn.
    assert sum(len(own) for is_mean, own in offsets if not is_mean) == n_shown
    assert [own for is_mean, own in offsets if is_mean] == [[[1, 2]], [[6, 6]]]


def test_clusters_have_their_number_where_their_tiles_are():
    places = np.arange(60, dtype=float).reshape(30, 2)
    places[0] = places[29] = np.nan
    labels = pd.Categorical(["a"] * 20 + [None] * 10, ["a", "b"])
    factors = pd.DataFrame({"label": labels, "verdict": ["right"] * 30})
    figure = draw_feature_map(places, factors, [1] * 15 + [2] * 14 + [3])
    assert titles_of(figure) == ["By label", "By verdict"]
    axes = figure.axes[0]
    # Medians of rows 1 to 14 and 15 to 28; the third cluster has no tile with a place.
    numbers = {text.get_text(): text.get_position() for text in axes.texts}
    assert numbers == {"1": (15, 16), "2": (43, 44)}
    assert find_legend(axes) == ["none", "a"]


def test_the_number_of_clusters_that_was_taken_is_marked():
    line, mark = draw_silhouettes({2: 0.3, 3: 0.5, 4: 0.1}, 3).axes[0].lines
    assert line.get_ydata().tolist() == [0.3, 0.5, 0.1]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (3, 0.5)
    assert len(draw_silhouettes({2: 0.3, 3: 0.5}, 7).axes[0].lines) == 1


# How training went.


def test_training_curves_put_validation_beside_training(history):
    figure = draw_history(history)
    assert titles_of(figure) == ["Loss", "ROC AUC", "Accuracy"]
    assert labels_of(figure.axes[0]) == ["training", "validation"]
    assert labels_of(figure.axes[1]) == ["validation"]
    # Fine-tuning begins between epochs 3 and 4.
    assert list(figure.axes[0].lines[-1].get_xdata()) == [3.5, 3.5]
    assert len(draw_history(history[["loss", "val_loss"]]).axes[0].lines) == 2
    assert draw_history(history[["epoch", "learning_rate"]]) is None
    assert draw_history(pd.DataFrame()) is None


STEPS = pd.DataFrame({"learning_rate": np.geomspace(1e-4, 1e-1, 4)}).assign(
    loss=[1.0, 0.8, 0.2, 40], smoothed=[1.0, 0.8, 0.4, 30.0]
)


def test_learning_rates_are_marked_on_the_smoothed_curve():
    marks = {"steepest": 1e-3, "lowest": 1e-2, "suggested": 1e-3}
    never = {"steepest": None, "lowest": 1e-2, "suggested": None}
    figure = draw_learning_rates({"Head": (STEPS, marks), "Tuning": (STEPS, never)})
    assert titles_of(figure) == ["Head", "Tuning"]
    axes, flat = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert find_legend(axes) == [
        *("each step", "smoothed", "steepest, 1.0e-03"),
        *("lowest, 1.0e-02", "suggested, 1.0e-03"),
    ]
    assert find_legend(flat) == ["each step", "smoothed", "lowest, 1.0e-02"]
    assert lines["steepest, 1.0e-03"].get_ydata()[0] == pytest.approx(0.8)
    assert lines["lowest, 1.0e-02"].get_ydata()[0] == pytest.approx(0.4)
    # The fall from 1 to 0.4, 30 % of it below, 80 % above: no explosion presses it.
    assert axes.get_ylim() == pytest.approx((0.22, 1.48))
    # Powers of ten are plain text.
    render_inline_svg(figure, "r")
    labels = say(axes.get_xticklabels())
    assert "1e-03" in labels
    assert not any("$" in label for label in labels)
