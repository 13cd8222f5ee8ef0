import dataclasses

import numpy as np
import pytest

from eosin.evaluation import MetricResult
from eosin.reports.words import (
    Nouns,
    count,
    format_interval,
    format_measure,
    format_number,
    format_percent,
    plural,
    say_auc,
    say_confusion,
    with_article,
)
from eosin.tiles import open_tile_folder

GOOD = MetricResult(0.93, 0.88, 0.97, n=34, n_defined=1000)
SAME = MetricResult(1.0, 1.0, 1.0, n=4, n_defined=100)
MISSING = MetricResult(0.5, None, None, n=4, n_defined=0, reason="one patient")


def test_numbers_and_nouns():
    assert (count(1, "slide"), count(1200, "patch")) == ("1 slide", "1,200 patches")
    assert [plural(n) for n in ("class", "epoch")] == ["classes", "epochs"]
    assert (with_article("adenoma"), with_article("clear")) == ("an adenoma", "a clear")
    assert (format_number(None), format_number(0.126, 1)) == ("\N{EN DASH}", "0.1")
    assert format_percent(0.987) == "99\N{NARROW NO-BREAK SPACE}%"
    assert format_percent(float("nan")) == format_percent(None) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2386.4, "2,386"),
        (99.5, "99.50"),
        (0.354, "0.35"),
        (-0.0944, "\N{MINUS SIGN}0.094"),
        (0.0001, "0"),
    ],
)
def test_measures_are_written_without_powers_of_ten(value, text):
    assert format_measure(value) == text


def test_units_are_called_what_they_are(tile_folder, odd_patches):
    assert Nouns.of_tiles(open_tile_folder(tile_folder)) == Nouns()
    nouns = Nouns.of_tiles(open_tile_folder(odd_patches))
    assert [nouns.of(u) for u in ("tile", "slide", "bag")] == ["patch", "group", "bag"]
    folder = open_tile_folder(odd_patches)
    info = dataclasses.replace(folder.info, grouping="given")
    given = Nouns.of_tiles(dataclasses.replace(folder, info=info))
    assert given == Nouns(tile="patch")
    assert Nouns.of_study("tile", folder).slide == "group"
    assert Nouns.of_study("slide", None) == Nouns()
    assert Nouns.of_study("patient", None).slide == "patient"
    assert Nouns.of_study("bag", folder) == Nouns(slide="bag", patient="bag")


def test_intervals_without_width_are_none():
    assert format_interval(GOOD) == "0.88 to 0.97"
    assert format_interval(SAME) == format_interval(MISSING) == "none"


@pytest.mark.parametrize(
    ("auc", "words"),
    [
        (GOOD, "interval 0.88 to 0.97"),
        (MISSING, "AUC 0.50, no interval"),
        (SAME, "AUC 1.00 in every resample"),
    ],
)
def test_auc_in_words(result, auc, words):
    slide = dataclasses.replace(result.levels["slide"], metrics={"roc_auc": auc})
    assert words in say_auc(slide)


def test_a_confusion_matrix_in_words(result):
    slide = dataclasses.replace(
        result.levels["slide"], confusion=np.array([[3, 1], [0, 0]])
    )
    assert say_confusion(slide, ("normal", "tumour"), "slide") == (
        "Of 4 normal slides: 3 as normal, 1 as tumour. There is no tumour slide."
    )
