import dataclasses

import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import (
    Classes,
    MetricResult,
)
from eosin.reports import Nouns, make_evaluation_page
from eosin.reports.page import Bar
from eosin.reports.provenance import describe_choices, describe_model
from eosin.reports.scores import (
    choose_main_level,
    list_levels,
    say_verdict,
    show_level,
)
from eosin.runs.card import Card, FoldCard, Sees

GOOD = MetricResult(0.93, 0.88, 0.97, n=34, n_defined=1000)
UNDEFINED = MetricResult(None, None, None, 3, 0, "no row has the label normal")
STUDY = Nouns()
DRAWN = Nouns(slide="bag", patient="bag")


def change_level(result, level, *, auc=None, **changes):
    old = result.levels[level]
    if auc is not None:
        changes["metrics"] = {**old.metrics, "roc_auc": auc}
    changed = dataclasses.replace(old, **changes)
    return dataclasses.replace(result, levels={**result.levels, level: changed})


def keep_levels(facts, *levels):
    kept = {level: facts.result.levels[level] for level in levels}
    return dataclasses.replace(facts.result, levels=kept)


# The page.


def test_the_page_has_its_sections_the_verdict_and_tissue_first(full_page):
    sections = [a["id"] for a in full_page.find("h2")]
    levels = ["slide", "patient", "tile"]
    assert sections[:3] == ["in-short", "cautions", "tissue"]
    assert sections[3:6] == levels
    assert sections[6:] == ["calls", "choices", "data", "training", "method"]
    for text in (
        "2026-01-31 10:11",
        "16 slides of 8 patients",
        "made, CC0",
        "smallcnn",
        "How the intervals were made",
        "What stands beside the model",
        "eosin 0.1.0",
    ):
        assert text in full_page.words


def test_cautions_have_the_gravest_first(full_page):
    order = [
        "These slides were made by a computer",
        "No patient ids were given",
        "The scanner changed in May",
    ]
    places = [full_page.words.index(words) for words in order]
    assert places == sorted(places)


def test_everything_a_user_writes_is_escaped(full_facts, read_facts):
    evil = '<script>alert("1")</script>&'
    names = ("normal", evil)
    calls = full_facts.result.calls.rename(
        columns={"probability_tumour": f"probability_{evil}"}
    )
    page = read_facts(
        full_facts,
        title=evil,
        result=dataclasses.replace(
            full_facts.result,
            target=Classes(names),
            calls=calls.assign(id=evil, patient_id=evil + "P"),
        ),
        card=dataclasses.replace(full_facts.card, class_names=names),
        licence=evil,
        cautions=[evil],
        overlays={evil: next(iter(full_facts.overlays.values()))},
    )
    assert page.words.count(evil) > 20


def test_what_is_not_known_is_said(light_facts, read_facts):
    words = read_facts(light_facts, licence=None).words
    assert "Nobody stated where the slides come from" in words
    assert "Source and licence not stated" in words
    calm = dataclasses.replace(light_facts.result, cautions=())
    words = read_facts(light_facts, result=calm).words
    assert "Before you believe" not in words
    assert "No baseline was scored beside the model" in words
    assert "Training curves" not in words


def test_several_classes_make_a_page(three_facts, read_facts):
    words = read_facts(three_facts).words
    for text in (
        "told 3 classes apart",
        "papillary tiles",
        "Probability of the call",
        "the class with the highest probability",
    ):
        assert text in words


def test_pictures_are_few_and_the_most_wrong_ones(light_facts, full_facts, read_facts):
    overlay = next(iter(full_facts.overlays.values()))
    every = dict.fromkeys(light_facts.result.calls["id"], overlay)
    images = read_facts(light_facts, overlays=every).find("img")
    assert len(images) == 12
    assert light_facts.result.calls.loc[0, "id"] in images[0]["alt"]


def test_drawn_bags_are_called_bags(light_facts, read_facts):
    card = Card(
        learner="pixels",
        unit="bag",
        class_names=("normal", "tumour"),
        sees=Sees(encoder="smallcnn", tile_px=96),
        folds=tuple(
            FoldCard(models=("m",), temperature=t, threshold=t, aggregator="mean")
            for t in (0.4, 0.6)
        ),
        together=FoldCard(threshold=0.5),
        threshold_rule="youden",
        bag_size=40,
        witnesses=(20, 5),
    )
    result = light_facts.result
    bags = result.calls.assign(patient_id=None, slide_id=None)
    level = dataclasses.replace(result.levels["slide"], level="bag", n_patients=0)
    result = dataclasses.replace(
        result, calls=bags, listed="bag", levels={"bag": level}, cautions=()
    )
    page = read_facts(
        light_facts,
        result=result,
        card=card,
        nouns=DRAWN,
        validation=None,
        units=bags.assign(split="test", tiles=40),
        settings={"epochs": 9, "batch": 4},
        are_patients_known=False,
    )
    for text in (
        "On 16 bags the model never saw",
        "other bags of the same tiles",
        "Bag by bag",
        "bags of different splits share no patient",
        "test scored here 16 640 8 8",
        "Intervals are drawn over bags",
        "40 drawn tiles; positive ones hold 20, 5 witnesses",
        "by fold 0.400, 0.600",
    ):
        assert text in page.words
    # Elsewhere a slide is a file that was scanned, and a patient has bags.
    assert "slides" not in page.words.replace("for new slides", "").lower()
    assert "No patient ids were given" not in page.words


def test_patches_are_called_patches(facts, read_facts):
    alone = {"n_patients": facts.result.levels["tile"].n}
    result = change_level(facts.result, "tile", **alone)
    nouns = Nouns(tile="patch", slide="group", patient="group")
    page = read_facts(facts, result=result, nouns=nouns, are_patients_known=False)
    assert "160 patches the model never saw" in page.words
    assert "normal patches" in page.words
    assert "all patches of a group are in one" in page.words
    assert "Group by group" in page.words
    # Each is a group of its own, which says nothing else.
    assert not [a for a in page.find("h2") if a["id"] in ("slide", "patient")]


def test_splits_are_counted_in_their_order(full_page):
    # Eight patients of two slides of ten tiles each.
    words = "train 8 16 160 80 80 val 8 16 160 80 80 test scored here 8 16 160 80 80"
    assert words in full_page.words


def test_models_of_many_seeds_have_one_curve(light_facts, history):
    many = pd.concat([history.assign(fold=i, seed=i) for i in (0, 1)])
    for learner, n_lines in (("bags", 2), ("tiles", 4)):
        card = dataclasses.replace(light_facts.card, learner=learner)
        page = make_evaluation_page(
            dataclasses.replace(light_facts, history=many, card=card)
        )
        (figure,) = next(s for s in page.sections if s.name == "training").shown
        assert figure.text.startswith("5 epochs.")
        lines = figure.drawing.axes[0].get_lines()
        assert len([line for line in lines if len(line.get_xdata()) == 5]) == n_lines


# The verdict.


def test_the_verdict_says_how_good_the_model_is(result):
    result = change_level(
        result,
        "slide",
        auc=GOOD,
        n=34,
        n_patients=12,
        threshold=0.41,
        confusion=np.array([[21, 2], [1, 10]]),
    )
    first, second = say_verdict(result, None, STUDY)
    assert first.replace("\N{NARROW NO-BREAK SPACE}", " ") == (
        "On 34 slides from 12 patients the model never saw, it ranked a tumour slide "
        "above a normal one 93 times in 100 (AUC 0.93, 95 % interval 0.88 to 0.97)."
    )
    assert second == (
        "At its threshold of 0.41 it found 10 of 11 tumour slides and called 2 of 23 "
        "normal slides tumour by mistake."
    )
    folds = change_level(result, "slide", threshold_range=(0.3, 0.7))
    second = say_verdict(folds, None, STUDY)[1]
    assert second.startswith("At the thresholds of its folds, 0.30 to 0.70, it found")


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("external", "another cohort"),
        ("val", "on which the model was chosen"),
        ("train", "says nothing about new ones"),
    ],
)
def test_the_verdict_says_which_rows_were_scored(result, split, words):
    seen = dataclasses.replace(result, split=split)
    assert words in say_verdict(seen, None, STUDY)[0]


@pytest.mark.parametrize(
    ("colour", "words"),
    [
        (0.7, "AUC of 0.70; what the model sees"),
        (0.95, "AUC of 0.95: the model is no better"),
        (0.12, "does no better than guessing (an AUC of 0.12)"),
        (None, "by mistake"),
    ],
)
def test_a_baseline_is_set_beside_the_model(result, baseline, colour, words):
    model = change_level(result, "slide", auc=GOOD)
    auc = dataclasses.replace(GOOD, value=colour)
    other = change_level(baseline, "slide", auc=auc)
    assert words in say_verdict(model, other, STUDY)[-1]


def test_tiles_speak_where_slides_have_no_auc(result):
    result = change_level(result, "slide", auc=UNDEFINED)
    assert choose_main_level(result).level == "tile"
    result = change_level(result, "tile", auc=UNDEFINED)
    result = change_level(result, "patient", auc=UNDEFINED)
    assert "no row has the label normal." in say_verdict(result, None, STUDY)[0]


def test_patients_and_one_class_are_said_plainly(facts):
    result = keep_levels(facts, "patient")
    for confusion, words in (
        ([[0, 0], [0, 1]], "it found 1 of 1 tumour patient."),
        ([[2, 0], [0, 0]], "called 0 of 2 normal patients tumour by mistake."),
    ):
        one = change_level(result, "patient", n=1, confusion=np.array(confusion))
        first, second = say_verdict(one, None, STUDY)
        assert first.startswith("On 1 patient the model never saw")
        assert second.endswith(words)


# Levels.


def test_what_says_the_same_is_not_shown_twice(facts):
    assert [r.level for r in list_levels(facts.result)] == ["slide", "patient", "tile"]
    n = facts.result.levels["slide"].n
    result = change_level(facts.result, "patient", n=n)
    assert [r.level for r in list_levels(result)] == ["slide", "tile"]
    slide = result.levels["slide"]
    words = show_level(result, slide, None, STUDY, is_average=True).shown[0]
    assert "Every patient has one slide" in words


def test_what_lacks_a_label_or_a_curve_is_said(facts):
    result = change_level(
        facts.result, "slide", n_unlabelled=2, roc_curves=(), precision_curves=()
    )
    slide = result.levels["slide"]
    section = show_level(result, slide, None, STUDY, is_average=True)
    assert "2 slides without a label are left out" in section.shown[0]
    names = [figure.name for figure in section.shown[2].figures]
    assert names == ["slide-confusion", "slide-scores", "slide-reliability"]


@pytest.mark.parametrize(
    ("metric", "texts", "span"),
    [
        (GOOD, ("0.93", "0.88 to 0.97", ""), (0.88, 0.97)),
        (UNDEFINED, ("\N{EN DASH}", "none", "no row has the label normal"), None),
        (MetricResult(0.5, None, None, 3, 0, "one"), ("0.50", "none", "one"), None),
        (
            MetricResult(1.0, 1.0, 1.0, 3, 9),
            ("1.00", "none", "the same in every resample"),
            (1.0, 1.0),
        ),
    ],
)
def test_metrics_stand_beside_the_baseline(result, baseline, metric, texts, span):
    changed = change_level(result, "tile", auc=metric)
    other = change_level(baseline, "tile", auc=dataclasses.replace(GOOD, value=0.6))
    section = show_level(changed, changed.levels["tile"], other, STUDY, is_average=True)
    name, value, interval, bar, colour = section.shown[1].rows[0]
    assert name.text == "ROC AUC"
    assert (value.text, interval.text, interval.below) == texts
    assert bar == Bar(span=span, dot=metric.value, other=0.6)
    assert colour == "0.60"


def test_averages_are_not_called_chances(result):
    for level, is_average, is_said in (
        ("slide", True, True),
        ("tile", True, False),
        ("slide", False, False),
    ):
        shown = show_level(
            result, result.levels[level], None, STUDY, is_average=is_average
        )
        text = shown.shown[2].figures[-1].text
        assert ("not to be read as a chance" in text) == is_said


# Calls.


def test_calls_keep_their_order_and_need_a_label_for_a_verdict(light_facts):
    result = light_facts.result
    calls = result.calls.copy()
    calls.loc[0, ["label", "is_right"]] = pd.NA
    page = make_evaluation_page(
        dataclasses.replace(
            light_facts, result=dataclasses.replace(result, calls=calls)
        )
    )
    (table,) = next(s for s in page.sections if s.name == "calls").shown
    assert [row[0] for row in table.rows] == list(calls["id"])
    confusion = result.levels["slide"].confusion
    n_wrong = int(confusion.sum() - confusion.trace())
    verdicts = [row[4].text for row in table.rows]
    right = ["right"] * (len(verdicts) - n_wrong)
    assert verdicts == ["no label"] + ["wrong"] * (n_wrong - 1) + right
    assert table.rows[0][2] == "\N{EN DASH}"
    assert table.rows[0][-1].tick == result.levels["slide"].threshold


# How it came about.


def describe(facts, validation=None, **changes):
    card = dataclasses.replace(facts.card, **changes)
    validation = validation or facts.validation
    return dict(describe_choices(card, validation, STUDY, is_external=False))


def test_choices_are_said_with_what_they_rest_on(facts):
    rows = describe(facts)
    assert "chosen among 9 shares on 16 validation slides" in rows["Score of a slide"]
    assert "slide in which most was found" in rows["Score of a patient"]
    assert "(Youden)" in rows["A tile is called tumour from"]
    assert rows["Temperature"] == "1.250, of all folds together"


def test_another_rule_is_named(facts):
    validation = facts.validation
    tile = dataclasses.replace(validation.tile, rule="sensitivity@0.95")
    rows = describe(facts, dataclasses.replace(validation, tile=tile))
    assert "by the rule sensitivity@0.95" in rows["A tile is called tumour from"]


def test_folds_say_what_each_chose(facts):
    own = facts.card.folds[0]
    folds = tuple(dataclasses.replace(own, threshold=t) for t in (0.25, 0.75))
    row = describe(facts, folds=folds)["A slide is called tumour from"]
    assert row.startswith("by fold 0.250, 0.750")
    assert row.endswith("which figures show")


def test_bag_models_are_described_by_what_they_learnt_from():
    folds = tuple(FoldCard(models=("a", "b"), aggregator="mean") for _ in range(3))
    card = Card(
        learner="bags",
        unit="slide",
        class_names=("normal", "tumour"),
        sees=Sees(),
        folds=folds,
        together=FoldCard(threshold=0.5),
        threshold_rule="youden",
        columns=("age", "sex"),
    )
    settings = {"epochs": 50, "learning_rate": 2e-4, "batch": 4}
    rows = describe_model(card, settings, STUDY, is_external=False)
    assert rows["Encoder"] == "not stated by the features"
    assert rows["Learnt from"].endswith(
        "no outline was used; with the columns age, sex"
    )
    assert rows["Split"] == (
        "by patient, 3 folds, 6 models; each patient is scored by the fold that never "
        "saw it"
    )
    assert rows["Training"].startswith(
        "at most 50 epochs, learning rate 0.0002, 4 bags"
    )
    assert "Tiles" not in rows
    external = describe_model(card, settings, STUDY, is_external=True)
    assert external["Split"].endswith("the mean of all folds' probabilities")
    rows = dict(describe_choices(card, None, STUDY, is_external=True))
    assert rows["A slide is called tumour from"] == (
        "probability 0.500, chosen by the rule youden on validation of all folds"
    )


def test_tile_classifiers_are_described_by_what_was_trained(facts):
    rows = describe_model(facts.card, facts.settings, STUDY, is_external=False)
    assert rows == {
        "Encoder": "smallcnn, weights none",
        "Trained": "head and last block",
        "Tiles": "256 px at 0.5 micrometres per pixel",
        "Split": "by patient, one split",
    }
    sees = dataclasses.replace(facts.card.sees, mpp=None)
    card = dataclasses.replace(facts.card, sees=sees)
    rows = describe_model(card, facts.settings, Nouns(tile="patch"), is_external=False)
    assert rows["Patches"] == "256 px at a resolution that nobody stated"
