from dataclasses import replace

import pandas as pd
import pytest

from eosin.reports import LimitFacts, make_limit_page
from eosin.reports.limit import draw_by_rate
from eosin.settings import LimitSettings

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


def make_facts(**changes):
    rows = [{**HEAD, "witnesses": n, "rate": n / 40, **SCORES} for n in (20, 1)]
    summary = pd.DataFrame(rows).assign(
        accuracy_sd=0.0123, sensitivity_low=0.5, sensitivity_high=0.9
    )
    limits = [
        {
            **HEAD,
            "rate": rate,
            "limit": text,
            "interval": "2 of 40 to not reached",
            "val_roc_auc": auc,
        }
        for rate, text, auc in (
            (None, "not reached", 0.7),
            (0.15, "6 of 40", 0.8),
            (0.05, "2 of 40", 0.7),
            (0.1, "4 of 40", 0.9),
        )
    ]
    ceilings = [
        {
            "source": source,
            "witnesses": n,
            "rate": n / 40,
            "instance_auc": 0.88,
            "roc_auc": auc,
            "sensitivity": 0.2,
        }
        for source in ("features", "colour")
        for n, auc in ((20, 1.0), (1, 0.666))
    ]
    sources = [
        {
            "fold": 0,
            "side": "test",
            "patients": 5,
            "patients_with_witnesses": 3,
            "slides": 6,
            "witness_tiles": 1234,
            "other_tiles": 567,
        }
    ]
    content = {
        "title": "Limit <of> detection",
        "facts": ["12 tiles"],
        "settings": LimitSettings(witnesses=(20, 1), bag_size=40),
        "summary": summary,
        "cells": pd.DataFrame(rows).assign(seed=7),
        "limits": pd.DataFrame(limits),
        "ceilings": pd.DataFrame(ceilings),
        "sources": pd.DataFrame(sources),
        "cautions": ("Few <i>patients</i>.",),
    }
    return LimitFacts(**{**content, **changes})


@pytest.fixture(scope="module")
def page():
    return make_limit_page(make_facts())


def say(facts):
    """Make the headline, without drawing the page."""
    return " ".join(make_limit_page(facts).headline)


def test_the_limit_that_validation_chose_comes_first_with_its_interval(page):
    text = " ".join(page.headline)
    lead = "Bags with 4 of 40 witnesses are found, 90% of them at 95% specificity, by"
    assert lead in text
    assert "interval over patients and seeds is 2 of 40 to not reached" in text
    assert (
        "AUC of 0.880; seen through it, no bag score gets beyond an AUC of 0.666"
        in (text)
    )
    assert "at 1 of 40" in text


@pytest.mark.parametrize(
    ("aucs", "trainings", "said"),
    [
        ([0.6], ["mixture"], "2,000 bags), the only model of the study."),
        ([0.7, 0.6], ["20", "mixture"], ", the only one that learnt from a mixture."),
        (
            [None, None],
            ["20", "20"],
            ", the first of 2, since validation could rank no",
        ),
        (
            [0.6, 0.8, 0.8],
            ["20"] * 3,
            ", the first of 2 that are equally good on valid",
        ),
    ],
)
def test_what_validation_did_not_choose_is_not_called_chosen(aucs, trainings, said):
    limits = make_facts().limits.head(len(aucs))
    limits = limits.assign(val_roc_auc=pd.Series(aucs, dtype=float), training=trainings)
    text = say(make_facts(limits=limits))
    assert said in text
    assert "which validation chose" not in text
    assert "no better than guessing" not in text


def test_a_model_that_learnt_nothing_is_called_so():
    limits = make_facts().limits.assign(val_roc_auc=[0.2, 0.381, 0.1, 0.3])
    text = say(make_facts(limits=limits))
    assert "no better than guessing (an AUC of 0.38): it has learnt nothing" in text


def test_a_mixture_is_told_rather_than_one_rate():
    facts = make_facts()
    # Bags of many witnesses validate better, and say less.
    limits = facts.limits.assign(training=["20", "mixture", "20", "20"])
    assert "Bags with 6 of 40 witnesses" in say(replace(facts, limits=limits))
    assert "Bags with 4 of 40 witnesses" in say(replace(facts, limits=limits.iloc[2:]))
    text = say(replace(facts, limits=limits.iloc[:1]))
    assert "At no witness rate are bags found, 90% of them" in text


def test_numbers_have_their_deviation_and_confusion(page, read):
    parsed = read(page)
    for text in (
        "0.800 \N{PLUS-MINUS SIGN} 0.012 0.912 0.750",
        "90 / 10 / 30 / 70",
        "1,234",
        "Every seed",
        "their features 0.880 20 1.000 0.200",
        "Limit <of> detection",
        "Few <i>patients</i>.",
        "mean<b>",
    ):
        assert text in parsed.words
    assert len(parsed.find("svg")) == 3
    # Wide tables wrap instead of being cut off.
    assert [a.get("class") for a in parsed.find("table")].count("small") == 2


def test_what_there_is_nothing_of_is_not_shown(read):
    facts = make_facts()
    own = facts.ceilings[facts.ceilings["source"] == "features"]
    summary = facts.summary.assign(attention_auc=float("nan"))
    bare = replace(facts, ceilings=own, cautions=(), summary=summary)
    parsed = read(make_limit_page(bare))
    assert "mean colour alone" not in parsed.words
    assert "Before you believe it" not in parsed.words
    assert len(parsed.find("svg")) == 2
    assert "\N{EN DASH}" in parsed.words


# The figure.


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
    figure = draw_by_rate(make_summary(), "sensitivity", 40, CEILINGS, 0.9)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "500 bags, trained at 20",
        "1,000 bags, trained at 20",
        "500 bags, trained on mixture",
        "1,000 bags, trained on mixture",
    ]
    axes = figure.axes[0]
    # Two methods, two ceilings and the level line; an interval for each method.
    assert len(axes.get_lines()) == 5
    assert axes.get_lines()[-1].get_ydata()[0] == 0.9
    assert len(axes.collections) == 2
    assert axes.get_lines()[0].get_xdata().tolist() == [0.025, 0.125, 0.5]
    labels = figure.axes[-1].get_xticklabels()
    assert [t.get_text() for t in labels] == ["1", "5", "20"]


def test_what_there_is_nothing_of_is_not_drawn():
    summary = make_summary(trainings=("5",), sizes=(500,))
    figure = draw_by_rate(summary, "roc_auc", 40)
    (axes,) = figure.axes
    assert len(axes.get_lines()) == 3
    assert not axes.collections
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["mean", "max"]
    # The axis starts below chance, unless something lies lower.
    assert axes.get_ylim() == pytest.approx((0.38, 1.02))
    (axes,) = draw_by_rate(summary.assign(roc_auc=0.1), "roc_auc", 40).axes
    assert axes.get_ylim()[0] == pytest.approx(0.08)
