import re
from dataclasses import replace

import pandas as pd
import pytest

from eosin.reports import LimitReport, render_limit_report, write_limit_report

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


def make_report(**changes):
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
        "facts": "12 tiles",
        "bag_size": 40,
        "specificity": 0.95,
        "power": 0.9,
        "summary": summary,
        "cells": pd.DataFrame(rows).assign(seed=7),
        "limits": pd.DataFrame(limits),
        "ceilings": pd.DataFrame(ceilings),
        "sources": pd.DataFrame(sources),
        "cautions": ("Few <i>patients</i>.",),
        "method": {"Bags": "of 40 tiles"},
    }
    return LimitReport(**{**content, **changes})


@pytest.fixture(scope="module")
def page():
    return render_limit_report(make_report())


def strip(page):
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_limit_that_validation_chose_comes_first_with_its_interval(page):
    text = strip(page)
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
    limits = make_report().limits.head(len(aucs))
    limits = limits.assign(val_roc_auc=pd.Series(aucs, dtype=float), training=trainings)
    text = strip(render_limit_report(make_report(limits=limits)))
    assert said in text
    assert "which validation chose" not in text
    assert "no better than guessing" not in text


def test_a_model_that_learnt_nothing_is_called_so():
    limits = make_report().limits.assign(val_roc_auc=[0.2, 0.381, 0.1, 0.3])
    text = strip(render_limit_report(make_report(limits=limits)))
    assert "no better than guessing (an AUC of 0.38): it has learnt nothing" in text


def test_wide_tables_wrap_instead_of_being_cut_off(page):
    assert page.count('<table class="wide">') == 2
    assert ".wide td { padding: 6px 5px; white-space: normal; }" in page


def test_a_mixture_is_told_rather_than_one_rate():
    report = make_report()
    # Bags of many witnesses validate better, and say less.
    limits = report.limits.assign(training=["20", "mixture", "20", "20"])
    text = strip(render_limit_report(replace(report, limits=limits)))
    assert "Bags with 6 of 40 witnesses are found" in text
    text = strip(render_limit_report(replace(report, limits=limits.iloc[2:])))
    assert "Bags with 4 of 40 witnesses are found" in text


def test_limits_that_are_not_reached_are_said_to_be(page):
    report = make_report()
    text = strip(
        render_limit_report(replace(report, limits=report.limits.iloc[:1].copy()))
    )
    assert "At no witness rate are bags found, 90% of them" in text


def test_numbers_have_their_deviation_and_confusion(page):
    text = strip(page)
    assert "0.800 \N{PLUS-MINUS SIGN} 0.012 0.912 0.750" in text
    assert "90 / 10 / 30 / 70" in text
    assert "1,234" in text
    assert "Every seed" in text


def test_text_is_escaped_and_nothing_is_loaded(page):
    assert "Limit &lt;of&gt; detection" in page
    assert "Few &lt;i&gt;patients&lt;/i&gt;." in page
    assert "mean<b>" not in page
    assert not re.search(r'(src|href)="https?:', page)
    assert page.count("<svg") == 3


def test_without_colours_and_cautions_nothing_is_said_of_them():
    report = make_report()
    own = report.ceilings[report.ceilings["source"] == "features"]
    page = render_limit_report(replace(report, ceilings=own, cautions=()))
    assert "mean colour alone" not in page
    assert "Before you believe it" not in page


def test_without_attention_to_measure_there_is_no_figure_of_it():
    report = make_report()
    summary = report.summary.assign(attention_auc=float("nan"))
    page = render_limit_report(replace(report, summary=summary))
    assert page.count("<svg") == 2
    assert "\N{EN DASH}" in page


def test_figures_are_written_beside_the_page(tmp_path):
    write_limit_report(tmp_path, make_report())
    assert (tmp_path / "report.html").read_text(encoding="utf-8").endswith("</html>\n")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"sensitivity.png", "auc.png", "attention.png"}
