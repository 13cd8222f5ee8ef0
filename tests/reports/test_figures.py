import dataclasses

import numpy as np
import pandas as pd
import pytest

from eosin.reports import (
    draw_confusion,
    draw_history,
    draw_precision_curves,
    draw_reliability,
    draw_roc_curves,
    draw_score_histogram,
    render_svg,
)


def texts_of(figure):
    return {
        text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))
    }


def labels_of(axes):
    return axes.get_legend_handles_labels()[1]


def line_of(axes, label):
    return next(line for line in axes.lines if line.get_label().startswith(label))


def test_the_roc_figure_holds_the_curve_its_band_and_the_baseline(result, baseline):
    tile = result.levels["tile"]
    (axes,) = draw_roc_curves(tile, baseline.levels["tile"]).axes
    curve = tile.roc_curves[0]
    np.testing.assert_array_equal(line_of(axes, "tumour").get_xdata(), curve.x)
    np.testing.assert_array_equal(line_of(axes, "tumour").get_ydata(), curve.y)
    assert f"tumour: AUC {curve.area:.2f}" in labels_of(axes)
    assert any(label.startswith("mean colour alone") for label in labels_of(axes))
    assert len(axes.collections) == 1


def test_precision_is_drawn_in_steps_with_the_level_of_guessing(result):
    tile = result.levels["tile"]
    (axes,) = draw_precision_curves(tile, None).axes
    assert line_of(axes, "tumour").get_drawstyle() == "steps-pre"
    assert "guessing" in texts_of(axes.figure)
    assert not any(label.startswith("mean colour") for label in labels_of(axes))


def test_several_classes_have_a_curve_each_and_no_band(three_classes):
    tile = three_classes.result.levels["tile"]
    for draw in (draw_roc_curves, draw_precision_curves):
        (axes,) = draw(tile, tile).axes
        assert [label.split(":")[0] for label in labels_of(axes)] == [
            "normal",
            "clear cell",
            "papillary",
        ]
        assert not axes.collections


def test_no_curve_still_makes_a_figure(result):
    empty = dataclasses.replace(
        result.levels["tile"], roc_curves=(), precision_curves=()
    )
    assert draw_roc_curves(empty, None).axes[0].get_legend() is None
    assert draw_precision_curves(empty, None).axes[0].get_legend() is None


def test_confusion_shows_counts_and_shares_of_the_truth(result):
    slide = dataclasses.replace(
        result.levels["slide"], confusion=np.array([[3, 1], [0, 1200]])
    )
    shown = texts_of(draw_confusion(slide, ("normal", "tumour")))
    assert {"3", "1", "0", "1,200", "75%", "25%", "0%", "100%"} <= shown
    assert {"normal", "tumour", "Truth", "Called by the model"} <= shown


def test_a_class_without_rows_has_no_share(result):
    slide = dataclasses.replace(
        result.levels["slide"], confusion=np.array([[0, 0], [1, 1]])
    )
    assert "no row" in texts_of(draw_confusion(slide, ("normal", "tumour")))


def test_reliability_leaves_empty_bins_out(result):
    tile = result.levels["tile"]
    axes, below = draw_reliability(tile).axes
    assert len(axes.lines[1].get_xdata()) == (tile.reliability.n > 0).sum()
    assert sum(bar.get_height() for bar in below.patches) == tile.n


@pytest.mark.parametrize("threshold", [0.2, 0.9, None])
def test_the_histogram_marks_the_threshold(result, threshold):
    tile = dataclasses.replace(result.levels["tile"], threshold=threshold)
    figure = draw_score_histogram(tile, ("normal", "tumour"))
    shown = texts_of(figure)
    assert (f"threshold {threshold or 0:.2f}" in shown) == (threshold is not None)
    assert "Probability of tumour" in shown
    assert f"tumour ({tile.n_by_class[1]:,})" in shown


def test_the_histogram_leaves_a_class_without_rows_out(three_classes):
    tile = three_classes.result.levels["tile"]
    scores = (tile.scores_by_class[0], tile.scores_by_class[1][:0], np.array([0.5]))
    tile = dataclasses.replace(tile, scores_by_class=scores)
    shown = texts_of(draw_score_histogram(tile, three_classes.result.class_names))
    assert "Probability of the called class" in shown
    assert not any(text.startswith("clear cell") for text in shown)


def test_training_curves_put_validation_beside_training(history):
    figure = draw_history(history)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == [
        "Loss",
        "ROC AUC",
        "Accuracy",
    ]
    assert labels_of(shown[0]) == ["training", "validation"]
    assert labels_of(shown[1]) == ["validation"]
    # Fine-tuning begins between epochs 3 and 4.
    stage_line = shown[0].lines[-1]
    assert list(stage_line.get_xdata()) == [3.5, 3.5]


def test_one_stage_is_not_marked(history):
    axes = draw_history(history[["loss", "val_loss"]]).axes[0]
    assert len(axes.lines) == 2


def test_a_history_without_metrics_draws_nothing():
    assert draw_history(pd.DataFrame({"epoch": [1, 2], "learning_rate": 0.1})) is None
    assert draw_history(pd.DataFrame()) is None


def test_names_are_drawn_as_they_are(result):
    names = ("$\\frac{", "<script>&")
    text = render_svg(draw_confusion(result.levels["slide"], names)).decode()
    assert "$\\frac{" in text
    assert "&lt;script&gt;&amp;" in text
