import dataclasses

import numpy as np
import pytest

from eosin.evaluation import MetricResult
from eosin.reports.wording import (
    choose_main_level,
    count,
    describe_measures,
    format_interval,
    format_number,
    say_auc,
    say_confusion,
    write_headline,
)

GOOD = MetricResult(0.93, 0.88, 0.97, n=34, n_defined=1000)


def change_level(result, level, *, auc=None, **changes):
    found = result.levels[level]
    if auc is not None:
        changes["metrics"] = {**found.metrics, "roc_auc": auc}
    changed = dataclasses.replace(found, **changes)
    return dataclasses.replace(result, levels={**result.levels, level: changed})


def test_the_headline_says_how_good_the_model_is(result):
    result = change_level(
        result,
        "slide",
        auc=GOOD,
        n=34,
        n_patients=12,
        threshold=0.41,
        confusion=np.array([[21, 2], [1, 10]]),
    )
    first, second = write_headline(result, None)
    assert first.replace("\N{NARROW NO-BREAK SPACE}", " ") == (
        "On 34 slides from 12 patients the model never saw, it ranked a tumour slide "
        "above a normal one 93 times in 100 (AUC 0.93, 95 % interval 0.88 to 0.97)."
    )
    assert second == (
        "At its threshold of 0.41 it found 10 of 11 tumour slides and called 2 of 23 "
        "normal slides tumour by mistake."
    )


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("external", "another cohort"),
        ("val", "on which the model was chosen"),
        ("train", "says nothing about new ones"),
    ],
)
def test_the_headline_says_which_rows_were_scored(result, split, words):
    assert words in write_headline(dataclasses.replace(result, split=split), None)[0]


def test_a_baseline_is_set_beside_the_model(result, baseline):
    model = change_level(result, "slide", auc=GOOD)
    worse = change_level(baseline, "slide", auc=dataclasses.replace(GOOD, value=0.7))
    better = change_level(baseline, "slide", auc=dataclasses.replace(GOOD, value=0.95))
    missing = change_level(baseline, "slide", auc=dataclasses.replace(GOOD, value=None))
    assert "AUC of 0.70; what the model sees" in write_headline(model, worse)[-1]
    assert "AUC of 0.95: the model is no better" in write_headline(model, better)[-1]
    assert len(write_headline(model, missing)) == 2


def test_folds_with_thresholds_of_their_own_are_said(result):
    result = change_level(
        result,
        "slide",
        auc=GOOD,
        threshold=0.41,
        threshold_range=(0.3, 0.7),
        confusion=np.array([[21, 2], [1, 10]]),
    )
    text = write_headline(result, None)[1]
    assert text.startswith("At the thresholds of its folds, 0.30 to 0.70, it found")


def test_a_baseline_below_guessing_is_no_yardstick(result, baseline):
    bad = MetricResult(0.12, 0.0, 0.3, n=34, n_defined=1000)
    baseline = change_level(baseline, choose_main_level(result), auc=bad)
    assert write_headline(result, baseline)[-1] == (
        "Mean colour alone does no better than guessing (an AUC of 0.12)."
    )


def test_patches_of_unknown_slides_are_not_called_slides(result):
    alike = {"auc": GOOD, "n": 24, "n_patients": 24}
    result = change_level(change_level(result, "tile", **alike), "slide", **alike)
    assert choose_main_level(result) == "tile"
    first = write_headline(result, None)[0]
    assert first.startswith("On 24 tiles the model never saw, it ranked")


def test_tiles_speak_where_slides_have_no_auc(result):
    undefined = MetricResult(None, None, None, 3, 0, "no row has the label normal")
    result = change_level(result, "slide", auc=undefined)
    assert choose_main_level(result) == "tile"
    for level in ("tile", "patient"):
        result = change_level(result, level, auc=undefined)
    assert choose_main_level(result) == "tile"
    headline = write_headline(result, None)[0]
    assert headline.endswith("can be measured: no row has the label normal.")


def test_patients_and_one_class_are_said_plainly(result):
    levels = {"patient": result.levels["patient"]}
    result = dataclasses.replace(result, levels=levels)
    one = change_level(
        result, "patient", n=1, auc=GOOD, confusion=np.array([[0, 0], [0, 1]])
    )
    first, second = write_headline(one, None)
    assert first.startswith("On 1 patient the model never saw")
    assert second.endswith("it found 1 of 1 tumour patient.")
    other = change_level(
        result, "patient", auc=GOOD, confusion=np.array([[2, 0], [0, 0]])
    )
    assert "called 0 of 2 normal patients" in write_headline(other, None)[1]


def test_several_classes_have_a_headline(three_classes):
    first, second = write_headline(three_classes.result, None)
    assert "told 3 classes apart" in first
    assert "slides right" in second


def test_names_with_a_vowel_get_their_article(result):
    result = dataclasses.replace(result, class_names=("benign", "adenoma"))
    assert (
        "ranked an adenoma slide above a benign one" in write_headline(result, None)[0]
    )


def test_intervals_without_width_are_none():
    same = MetricResult(1.0, 1.0, 1.0, n=4, n_defined=100)
    missing = MetricResult(0.5, None, None, n=4, n_defined=0, reason="one patient")
    assert format_interval(GOOD) == "0.88 to 0.97"
    assert format_interval(same) == format_interval(missing) == "none"


def test_auc_in_words(result):
    slide = result.levels["slide"]
    for auc, words in (
        (GOOD, "interval 0.88 to 0.97"),
        (MetricResult(0.5, None, None, 4, 0), "AUC 0.50, no interval"),
        (MetricResult(1.0, 1.0, 1.0, 4, 9), "AUC 1.00 in every resample"),
    ):
        found = dataclasses.replace(slide, metrics={"roc_auc": auc})
        assert words in say_auc(found)


def test_a_confusion_matrix_in_words(result):
    slide = dataclasses.replace(
        result.levels["slide"], confusion=np.array([[3, 1], [0, 0]])
    )
    assert say_confusion(slide, ("normal", "tumour")) == (
        "Of 4 normal slides: 3 as normal, 1 as tumour. There is no tumour slide."
    )


def test_numbers_and_nouns():
    assert (count(1, "slide"), count(1200, "slide")) == ("1 slide", "1,200 slides")
    assert (format_number(None), format_number(0.126, 1)) == ("\N{EN DASH}", "0.1")


def test_every_metric_has_words(result):
    for n_classes in (2, 3):
        assert set(describe_measures(n_classes)) == set(result.levels["tile"].metrics)
