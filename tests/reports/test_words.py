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


def test_numbers_and_nouns():
    assert (count(1, "slide"), count(1200, "patch")) == ("1 slide", "1,200 patches")
    assert [plural(n) for n in ("class", "epoch")] == ["classes", "epochs"]
    assert (with_article("adenoma"), with_article("clear")) == ("an adenoma", "a clear")
    assert (format_number(None), format_number(0.126, 1)) == ("\N{EN DASH}", "0.1")
    assert format_percent(0.987) == "99\N{NARROW NO-BREAK SPACE}%"
    assert format_percent(float("nan")) == format_percent(None) == "\N{EN DASH}"


def test_measures_are_written_without_powers_of_ten():
    texts = [format_measure(v) for v in (2386.4, 99.5, 0.354, -0.0944, 0.0001)]
    assert texts == ["2,386", "99.50", "0.35", "\N{MINUS SIGN}0.094", "0"]


def test_units_are_called_what_they_are(tile_folder, odd_patches):
    assert Nouns.of_tiles(open_tile_folder(tile_folder)) == Nouns()
    folder = open_tile_folder(odd_patches)
    nouns = Nouns.of_tiles(folder)
    assert [nouns.of(u) for u in ("tile", "slide", "bag")] == ["patch", "group", "bag"]
    info = dataclasses.replace(folder.info, grouping="given")
    given = Nouns.of_tiles(dataclasses.replace(folder, info=info))
    assert given == Nouns(tile="patch")
    assert Nouns.of_study("tile", folder).slide == "group"
    assert Nouns.of_study("slide", None) == Nouns()
    assert Nouns.of_study("patient", None).slide == "patient"
    assert Nouns.of_study("bag", folder) == Nouns(slide="bag", patient="bag")


@pytest.mark.parametrize(
    ("ends", "interval", "words"),
    [
        ((0.88, 0.97), "0.88 to 0.97", "interval 0.88 to 0.97"),
        # Nothing varied that could be measured.
        ((0.93, 0.93), "none", "AUC 0.93 in every resample"),
        ((None, None), "none", "AUC 0.93, no interval"),
    ],
)
def test_an_auc_in_words_has_an_interval_of_some_width(result, ends, interval, words):
    auc = MetricResult(0.93, *ends, n=34, n_defined=1000)
    assert format_interval(auc) == interval
    slide = dataclasses.replace(result.levels["slide"], metrics={"roc_auc": auc})
    assert words in say_auc(slide)


def test_a_confusion_matrix_in_words(result):
    confusion = np.array([[3, 1], [0, 0]])
    slide = dataclasses.replace(result.levels["slide"], confusion=confusion)
    assert say_confusion(slide, ("normal", "tumour"), "slide") == (
        "Of 4 normal slides: 3 as normal, 1 as tumour. There is no tumour slide."
    )
