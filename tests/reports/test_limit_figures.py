import pandas as pd
import pytest

from eosin.reports import draw_by_rate, render_png
from eosin.reports.limit_figures import say_training


def make_summary(*, trainings=("20", "mixture"), sizes=(500, 1000)):
    rows = [
        {
            "training": training,
            "bags": size,
            "aggregator": name,
            "rate": n / 40,
            "roc_auc": 0.5 + n / 50,
            "sensitivity": n / 20,
            "sensitivity_low": n / 25,
            "sensitivity_high": n / 20,
        }
        for training in trainings
        for size in sizes
        for name in ("mean", "max")
        for n in (20, 5, 1)
    ]
    return pd.DataFrame(rows)


CEILINGS = pd.DataFrame(
    {
        "source": ["features"] * 3 + ["colour"] * 3,
        "rate": [0.5, 0.125, 0.025] * 2,
        "roc_auc": [1.0, 0.9, 0.7, 0.8, 0.6, 0.5],
        "sensitivity": [1.0, 0.7, 0.2, 0.5, 0.2, 0.1],
    }
)


def test_every_training_and_size_has_its_panel():
    figure = draw_by_rate(
        make_summary(),
        "sensitivity",
        "found",
        bag_size=40,
        ceilings=CEILINGS,
        lines=(0.9,),
    )
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "500 bags, trained at 20",
        "1,000 bags, trained at 20",
        "500 bags, trained on mixture",
        "1,000 bags, trained on mixture",
    ]
    axes = figure.axes[0]
    # Two methods, two ceilings and the level line.
    assert len(axes.get_lines()) == 5
    # An interval for each method.
    assert len(axes.collections) == 2
    assert axes.get_lines()[0].get_xdata().tolist() == [0.025, 0.125, 0.5]
    labels = figure.axes[-1].get_xticklabels()
    assert [t.get_text() for t in labels] == ["1", "5", "20"]
    assert render_png(figure).startswith(b"\x89PNG")


def test_the_axis_starts_at_its_floor_unless_something_lies_lower():
    summary = make_summary()
    for measure, floor, start in (("roc_auc", 0.4, 0.38), ("sensitivity", 0.4, 0.02)):
        figure = draw_by_rate(summary, measure, "AUC", bag_size=40, floor=floor)
        # Of 1 of 40 the sensitivity's interval starts at 1 / 25.
        assert figure.axes[0].get_ylim() == pytest.approx((start, 1.02))


def test_without_ceilings_and_intervals_there_are_lines_alone():
    summary = make_summary(trainings=("5",), sizes=(500,))
    figure = draw_by_rate(summary, "roc_auc", "AUC", bag_size=40)
    (axes,) = figure.axes
    assert len(axes.get_lines()) == 2
    assert not axes.collections
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts == ["mean", "max"]


@pytest.mark.parametrize(
    ("training", "said"), [("20", "trained at 20"), ("mixture", "trained on mixture")]
)
def test_trainings_are_said_in_words(training, said):
    assert say_training(training) == said
