import dataclasses

import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import (
    MetricResult,
    SlideAggregation,
    build_tile_predictions,
    choose_on_validation,
)
from eosin.reports.tables import describe_choices, list_metrics, list_slides


def with_metric(level, name, metric):
    return dataclasses.replace(level, metrics={**level.metrics, name: metric})


def test_metric_rows_carry_values_and_marks(result, baseline):
    tile = with_metric(
        result.levels["tile"], "roc_auc", MetricResult(0.9, 0.8, 0.95, 10, 60)
    )
    other = with_metric(
        baseline.levels["tile"], "roc_auc", MetricResult(0.6, 0.5, 0.7, 10, 60)
    )
    row = list_metrics(tile, other, 2)[0]
    assert row.measure.label == "ROC AUC"
    assert (row.value, row.interval, row.baseline) == ("0.90", "0.80 to 0.95", "0.60")
    assert (row.left, row.width, row.mark, row.baseline_mark) == (80, 15, 90, 60)
    assert row.reason == ""


@pytest.mark.parametrize(
    ("metric", "value", "left", "reason"),
    [
        (
            MetricResult(None, None, None, 3, 0, "no tumour"),
            "\N{EN DASH}",
            None,
            "no tumour",
        ),
        (
            MetricResult(0.5, None, None, 3, 0, "one patient"),
            "0.50",
            None,
            "one patient",
        ),
        (MetricResult(1.0, 1.0, 1.0, 3, 9), "1.00", 100, "the same in every resample"),
        (MetricResult(1.4, 1.2, 1.6, 3, 9), "1.40", 100, ""),
    ],
)
def test_missing_and_extreme_values_have_rows_too(result, metric, value, left, reason):
    tile = with_metric(result.levels["tile"], "roc_auc", metric)
    row = list_metrics(tile, None, 2)[0]
    assert (row.value, row.left, row.reason) == (value, left, reason)
    assert row.baseline == ""
    assert row.baseline_mark is None


def test_slides_keep_their_order(result):
    rows = list_slides(result)
    assert [row.slide_id for row in rows] == list(result.slides["slide_id"])
    n_wrong = sum(row.verdict == "wrong" for row in rows)
    confusion = result.levels["slide"].confusion
    assert n_wrong == confusion.sum() - confusion.trace()
    assert [row.verdict for row in rows] == ["wrong"] * n_wrong + ["right"] * (
        len(rows) - n_wrong
    )
    first = result.slides.iloc[0]
    assert rows[0].probability == f"{first['probability_tumour']:.2f}"


def test_a_slide_without_a_label_has_no_verdict(result):
    slides = result.slides.copy()
    slides.loc[0, ["label", "is_right"]] = pd.NA
    row = list_slides(dataclasses.replace(result, slides=slides))[0]
    assert (row.truth, row.verdict) == ("\N{EN DASH}", "no label")


def test_several_classes_show_the_probability_of_the_call(three_classes):
    row = list_slides(three_classes.result)[0]
    first = three_classes.result.slides.iloc[0]
    assert row.probability == f"{first[f'probability_{row.called}']:.2f}"


def test_choices_are_described(data):
    rows = dict(describe_choices(data.choices, ("normal", "tumour")))
    assert "chosen among 9 shares on 16 validation slides" in rows["Score of a slide"]
    assert "slide in which most was found" in rows["Score of a patient"]
    assert "(Youden)" in rows["A tile is called tumour from"]


def test_set_choices_are_described_as_set():
    names = ("normal", "tumour")
    tiles = pd.DataFrame(
        {
            "tile_id": ["a"],
            "slide_id": "S",
            "patient_id": "P",
            "split": "val",
            "label": 1,
        }
    )
    predictions = build_tile_predictions(tiles, np.array([[0.3, 0.7]]), names)
    choices = choose_on_validation(predictions, class_names=names)
    rows = dict(describe_choices(choices, names))
    assert rows["Score of a slide"].endswith("set, because validation could not choose")
    assert "0.500; set, because" in rows["A slide is called tumour from"]


def test_other_rules_and_the_mean_of_slides_are_named(data):
    tile = dataclasses.replace(data.choices.tile, rule="sensitivity@0.95")
    aggregation = dataclasses.replace(
        data.choices.aggregation, aggregation=SlideAggregation(0.1, "mean")
    )
    choices = dataclasses.replace(data.choices, tile=tile, aggregation=aggregation)
    rows = dict(describe_choices(choices, ("normal", "tumour")))
    assert "by the rule sensitivity@0.95" in rows["A tile is called tumour from"]
    assert rows["Score of a patient"] == "the mean of the slides"


def test_several_classes_have_no_threshold(three_classes):
    rows = dict(
        describe_choices(three_classes.choices, three_classes.result.class_names)
    )
    assert rows["Call"] == "the class with the highest probability"
