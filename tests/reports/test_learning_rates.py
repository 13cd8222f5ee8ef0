import numpy as np
import pandas as pd
import pytest

from eosin.reports import LearningRatePanel, draw_learning_rates, render_png


def make_panel(**changes):
    rates = np.geomspace(1e-4, 1e-1, 4)
    table = pd.DataFrame(
        {"learning_rate": rates, "loss": [1.0, 0.8, 0.2, 40], "smoothed": rates}
    )
    table["smoothed"] = [1.0, 0.8, 0.4, 30.0]
    values = {"title": "Head", "steepest": 1e-3, "minimum": 1e-2, "suggested": 1e-3}
    return LearningRatePanel(table=table, **{**values, **changes})


def read_legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_each_test_has_its_panel_with_its_rates_in_words():
    figure = draw_learning_rates([make_panel(), make_panel(title="Fine-tuning")])
    first, second = figure.axes
    assert (first.get_title("left"), second.get_title("left")) == (
        "Head",
        "Fine-tuning",
    )
    assert read_legend(first) == [
        "each step",
        "smoothed",
        "steepest, 1.0e-03",
        "lowest, 1.0e-02",
        "suggested, 1.0e-03",
    ]
    assert render_png(figure).startswith(b"\x89PNG")


def test_marks_stand_on_the_smoothed_curve():
    (axes,) = draw_learning_rates([make_panel()]).axes
    marks = {line.get_label(): line for line in axes.get_lines()}
    assert marks["steepest, 1.0e-03"].get_ydata()[0] == pytest.approx(0.8)
    assert marks["lowest, 1.0e-02"].get_ydata()[0] == pytest.approx(0.4)


def test_an_explosion_does_not_press_the_valley_flat():
    (axes,) = draw_learning_rates([make_panel()]).axes
    # The fall from 1 to 0.4, 30 % of it below, 80 % above.
    assert axes.get_ylim() == pytest.approx((0.22, 1.48))


def test_powers_of_ten_are_plain_text():
    figure = draw_learning_rates([make_panel()])
    render_png(figure)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "1e-03" in labels
    assert not any("$" in label for label in labels)


def test_a_loss_that_never_falls_has_no_suggestion():
    panel = make_panel(steepest=None, suggested=None)
    (axes,) = draw_learning_rates([panel]).axes
    assert read_legend(axes) == ["each step", "smoothed", "lowest, 1.0e-02"]
