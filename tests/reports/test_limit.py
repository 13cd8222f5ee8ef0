import numpy as np
import pandas as pd
import pytest

from eosin.reports import make_limit_page
from eosin.reports.limit import draw_by_rate
from eosin.settings import LimitSettings

SETTINGS = LimitSettings(witnesses=(20, 1), bag_size=40)
HEAD = {"training": "mixture", "bags": 2000, "aggregator": "mean<b>"}
SCORES = {
    "roc_auc": 0.912345,
    "accuracy": 0.8,
    "precision": 0.75,
    "recall": 0.9,
    "sensitivity": 0.7,
    "attention_auc": 0.85,
    "true_positive": 90,
    "false_negative": 10,
    "false_positive": 30,
    "true_negative": 70,
}


def make_tables(**changes):
    cells = pd.DataFrame(
        {**HEAD, "witnesses": [20, 1], "rate": [0.5, 0.025], **SCORES, "seed": 7}
    )
    summary = cells.drop(columns="seed").assign(
        accuracy_sd=0.0123, sensitivity_low=0.5, sensitivity_high=0.9
    )
    limits = pd.DataFrame(
        {
            **HEAD,
            "rate": [None, 0.15, 0.05, 0.1],
            "limit": ["not reached", "6 of 40", "2 of 40", "4 of 40"],
            "interval": "2 of 40 to not reached",
            "val_roc_auc": [0.7, 0.8, 0.7, 0.9],
        }
    )
    ceilings = pd.DataFrame(
        {
            "source": ["features", "features", "colour", "colour"],
            "witnesses": [20, 1] * 2,
            "rate": [0.5, 0.025] * 2,
            "instance_auc": 0.88,
            "roc_auc": [1.0, 0.666] * 2,
            "sensitivity": 0.2,
        }
    )
    sources = {"fold": 0, "side": "test", "patients": 5, "patients_with_witnesses": 3}
    sources |= {"slides": 6, "witness_tiles": 1234, "other_tiles": 567}
    tables = {"summary": summary, "cells": cells, "limits": limits}
    tables |= {"ceilings": ceilings, "sources": pd.DataFrame([sources])}
    return tables | changes


def make_page(cautions=("Few <i>patients</i>.",), **changes):
    tables = make_tables(**changes)
    return make_limit_page("Limit <of> it", ["12 tiles"], SETTINGS, tables, cautions)


@pytest.fixture(scope="module")
def page():
    return make_page()


@pytest.fixture(scope="module")
def limits():
    return make_tables()["limits"]


def say(limits):
    return " ".join(make_page(limits=limits).headline)


def test_the_limit_that_validation_chose_comes_first_with_its_interval(page):
    text = " ".join(page.headline)
    for words in (
        "Bags with 4 of 40 witnesses are found, 90% of them at 95% specificity, by",
        "interval over patients and seeds is 2 of 40 to not reached",
        "AUC of 0.880; seen through it, no bag score gets beyond an AUC of 0.666",
        "at 1 of 40",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("aucs", "trainings", "words"),
    [
        ([0.6], ["mixture"], "2,000 bags), the only model of the study."),
        ([0.7, 0.6], ["20", "mixture"], ", the only one that learnt from a mixture."),
        (
            [None, None],
            ["20", "20"],
            ", the first of 2, since validation could rank no",
        ),
        ([0.6, 0.8, 0.8], ["20"] * 3, ", the first of 2 that are equally good on val"),
    ],
)
def test_what_validation_did_not_choose_is_not_called_chosen(
    limits, aucs, trainings, words
):
    few = limits.head(len(aucs))
    aucs = pd.Series(aucs, dtype=float)
    text = say(few.assign(val_roc_auc=aucs, training=trainings))
    assert words in text
    assert "which validation chose" not in text
    assert "no better than guessing" not in text


def test_a_model_that_learnt_nothing_is_called_so(limits):
    text = say(limits.assign(val_roc_auc=[0.2, 0.381, 0.1, 0.3]))
    assert "no better than guessing (an AUC of 0.38): it has learnt nothing" in text


def test_a_mixture_is_told_rather_than_one_rate(limits):
    # Bags of many witnesses validate better, and say less.
    mixed = limits.assign(training=["20", "mixture", "20", "20"])
    assert "Bags with 6 of 40 witnesses" in say(mixed)
    assert "Bags with 4 of 40 witnesses" in say(mixed.iloc[2:])
    assert "At no witness rate are bags found, 90% of them" in say(mixed.iloc[:1])


def test_numbers_have_their_deviation_and_confusion(page, read):
    parsed = read(page)
    words = parsed.words.replace("\xa0", " ")
    for text in (
        "0.800 \N{PLUS-MINUS SIGN} 0.012 0.912 0.750",
        "90 / 10 / 30 / 70",
        "1,234",
        "Every seed",
        "their features 0.880 20 1.000 0.200",
        "Limit <of> it",
        "Few <i>patients</i>.",
        "mean<b>",
    ):
        assert text in words
    assert len(parsed.find("svg")) == 3
    # Wide tables wrap instead of being cut off.
    assert [a.get("class") for a in parsed.find("table")].count("small") == 2


def test_what_there_is_nothing_of_is_not_shown(read):
    tables = make_tables()
    ceilings = tables["ceilings"].query("source == 'features'")
    summary = tables["summary"].assign(attention_auc=np.nan)
    parsed = read(make_page((), ceilings=ceilings, summary=summary))
    assert "mean colour alone" not in parsed.words
    assert "Before you believe it" not in parsed.words
    assert len(parsed.find("svg")) == 2
    assert "\N{EN DASH}" in parsed.words


# The figure.


def make_summary(trainings, sizes):
    keys = [trainings, sizes, ("mean", "max"), (20, 5, 1)]
    names = ["training", "bags", "aggregator", "n"]
    table = pd.MultiIndex.from_product(keys, names=names).to_frame(index=False)
    return table.assign(
        rate=table["n"] / 40,
        roc_auc=0.5 + table["n"] / 50,
        sensitivity=table["n"] / 20,
        sensitivity_low=table["n"] / 25,
        sensitivity_high=table["n"] / 20,
    )


def test_every_training_and_size_has_its_panel():
    summary = make_summary(("20", "mixture"), (500, 1000))
    ceilings = make_tables()["ceilings"]
    figure = draw_by_rate(summary, "sensitivity", SETTINGS, ceilings)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "500 bags, trained at 20",
        "1,000 bags, trained at 20",
        "500 bags, trained on mixture",
        "1,000 bags, trained on mixture",
    ]
    assert [bool(axes.get_ylabel()) for axes in figure.axes] == [True, False] * 2
    axes = figure.axes[0]
    # Two methods, two ceilings and the level line; an interval for each method.
    assert len(axes.get_lines()) == 5
    assert axes.get_lines()[-1].get_ydata()[0] == 0.9
    assert len(axes.collections) == 2
    assert axes.get_lines()[0].get_xdata().tolist() == [0.025, 0.125, 0.5]
    labels = figure.axes[-1].get_xticklabels()
    assert [t.get_text() for t in labels] == ["1", "5", "20"]


def test_what_there_is_nothing_of_is_not_drawn():
    summary, none = make_summary(("5",), (500,)), pd.DataFrame()
    figure = draw_by_rate(summary, "roc_auc", SETTINGS, none)
    (axes,) = figure.axes
    assert len(axes.get_lines()) == 3
    assert not axes.collections
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["mean", "max"]
    # The axis starts below chance, unless something lies lower.
    assert axes.get_ylim() == pytest.approx((0.38, 1.02))
    (axes,) = draw_by_rate(summary.assign(roc_auc=0.1), "roc_auc", SETTINGS, none).axes
    assert axes.get_ylim()[0] == pytest.approx(0.08)
