import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import Classes, MetricResult
from eosin.reports import make_evaluation_page
from eosin.reports.page import Bar
from eosin.reports.provenance import describe_choices, describe_model
from eosin.reports.scores import choose_main_level, list_levels, say_verdict, show_level
from eosin.runs.card import FoldCard, Sees

GOOD = MetricResult(0.93, 0.88, 0.97, n=34, n_defined=1000)
UNDEFINED = MetricResult(None, None, None, 3, 0, "no row has the label normal")


def change_level(result, level, *, auc=None, **changes):
    old = result.levels[level]
    if auc is not None:
        changes["metrics"] = {**old.metrics, "roc_auc": auc}
    changed = dataclasses.replace(old, **changes)
    return dataclasses.replace(result, levels={**result.levels, level: changed})


def change_run(facts, **changes):
    """Change the card of the run."""
    card = dataclasses.replace(facts.run.card, **changes)
    return dataclasses.replace(facts.run, card=card)


def find_section(facts, name):
    page = make_evaluation_page(facts)
    return next(section for section in page.sections if section.name == name).shown


# The page.


def test_the_page_has_its_sections_the_verdict_and_tissue_first(full_page):
    levels = ["slide", "patient", "tile"]
    assert [a["id"] for a in full_page.find("h2")] == [
        *("in-short", "cautions", "tissue", *levels),
        *("calls", "choices", "data", "training", "method"),
    ]
    for text in (
        "Evaluation of full run",
        "2026-01-31 10:11",
        "16 slides of 8 patients",
        "made, CC0",
        "smallcnn",
        "How the intervals were made",
        "What stands beside the model",
        "eosin 0.1.0",
        # Eight patients of two slides of ten tiles each.
        "train 8 16 160 80 80 val 8 16 160 80 80 test scored here 8 16 160 80 80",
    ):
        assert text in full_page.words


def test_cautions_have_the_gravest_first(full_page):
    order = ("made by a computer", "No patient ids", "The scanner changed in May")
    places = [full_page.words.index(words) for words in order]
    assert places == sorted(places)


def test_everything_a_user_writes_is_escaped(full_facts, read_facts):
    evil = '<script>alert("1")</script>&'
    result, names = full_facts.result, ("normal", evil)
    calls = result.calls.rename(columns={"probability_tumour": f"probability_{evil}"})
    calls = calls.assign(id=evil, patient_id=evil + "P")
    page = read_facts(
        full_facts,
        result=dataclasses.replace(result, target=Classes(names), calls=calls),
        run=change_run(full_facts, class_names=names),
        scored=SimpleNamespace(**vars(full_facts.scored) | {"licence": evil}),
        cautions=[evil],
        overlays={evil: next(iter(full_facts.overlays.values()))},
    )
    assert page.words.count(evil) > 20


def test_what_is_not_known_is_said(light_facts, read_facts):
    calm = dataclasses.replace(light_facts.result, cautions=())
    words = read_facts(light_facts, result=calm).words
    for gone in ("Before you believe", "Training curves"):
        assert gone not in words
    assert "No baseline was scored beside the model" in words
    words = read_facts(light_facts, scored=None).words
    assert "Nobody stated where the slides come from" in words
    assert "Source and licence not stated" in words


def test_the_tiles_of_the_training_speak_for_its_own_patients_alone(light_facts):
    source = light_facts.scored
    facts = dataclasses.replace(light_facts, scored=None, trained_on=source)
    assert facts.slides is source
    other = dataclasses.replace(facts.result, split="external")
    assert dataclasses.replace(facts, result=other).slides is None
    slides = pd.DataFrame({"id": ["S1", "S2"], "patient_id": ["S1", "S2"]})
    for unit, units, is_known in (
        ("slide", slides, False),
        ("slide", slides.assign(patient_id=["P", "P"]), True),
        ("patient", slides, True),
    ):
        run = change_run(facts, unit=unit)
        changed = dataclasses.replace(facts, run=run, units=units)
        assert changed.are_patients_known == is_known


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
    folds = [
        FoldCard(models=("m",), temperature=t, threshold=t, aggregator="mean")
        for t in (0.4, 0.6)
    ]
    run = change_run(
        light_facts,
        learner="pixels",
        unit="bag",
        folds=tuple(folds),
        together=FoldCard(threshold=0.5),
        bag_size=40,
        witnesses=(20, 5),
    )
    record = dict(run.record, settings={"epochs": 9, "batch": 4})
    result = light_facts.result
    bags = result.calls.assign(patient_id=None, slide_id=None)
    level = dataclasses.replace(result.levels["slide"], level="bag", n_patients=0)
    page = read_facts(
        light_facts,
        run=dataclasses.replace(run, record=record),
        result=dataclasses.replace(
            result, calls=bags, listed="bag", levels={"bag": level}, cautions=()
        ),
        scored=None,
        validation=None,
        units=bags.assign(split="test", tiles=40),
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
    words = page.words.replace("for new slides", "").replace("where the slides", "")
    assert "slides" not in words.lower()
    assert "No patient ids were given" not in words


def test_patches_are_called_patches(facts, read_facts):
    alone = {"n_patients": facts.result.levels["tile"].n}
    patches = {"has_patches": True, "knows_patients": False}
    grouping = SimpleNamespace(grouping="estimated")
    page = read_facts(
        facts,
        result=change_level(facts.result, "tile", **alone),
        scored=SimpleNamespace(**vars(facts.scored) | patches, info=grouping),
    )
    for text in (
        "160 patches the model never saw",
        "normal patches",
        "all patches of a group are in one",
        "Group by group",
    ):
        assert text in page.words
    # Each is a group of its own, which says nothing else.
    assert not [a for a in page.find("h2") if a["id"] in ("slide", "patient")]


@pytest.mark.parametrize(("learner", "n_lines"), [("bags", 2), ("tiles", 4)])
def test_bag_models_of_many_seeds_have_one_curve(
    light_facts, history, tmp_path, learner, n_lines
):
    many = pd.concat([history.assign(fold=i, seed=i) for i in (0, 1)])
    many.to_csv(tmp_path / "history.csv", index=False)
    run = dataclasses.replace(change_run(light_facts, learner=learner), path=tmp_path)
    (figure,) = find_section(dataclasses.replace(light_facts, run=run), "training")
    assert figure.text.startswith("5 epochs.")
    lines = figure.drawing.axes[0].get_lines()
    assert len([line for line in lines if len(line.get_xdata()) == 5]) == n_lines


def test_calls_keep_their_order_and_need_a_label_for_a_verdict(light_facts):
    result = light_facts.result
    calls = result.calls.copy()
    calls.loc[0, ["label", "is_right"]] = pd.NA
    changed = dataclasses.replace(result, calls=calls)
    (table,) = find_section(dataclasses.replace(light_facts, result=changed), "calls")
    assert [row[0] for row in table.rows] == list(calls["id"])
    confusion = result.levels["slide"].confusion
    n_wrong = int(confusion.sum() - confusion.trace())
    verdicts = [row[4].text for row in table.rows]
    right = ["right"] * (len(verdicts) - n_wrong)
    assert verdicts == ["no label"] + ["wrong"] * (n_wrong - 1) + right
    assert table.rows[0][2] == "\N{EN DASH}"
    assert table.rows[0][-1].tick == result.levels["slide"].threshold


# The verdict.


def judge(facts, result, **changes):
    """Say the verdict on other results."""
    return list(say_verdict(dataclasses.replace(facts, result=result, **changes)))


def test_the_verdict_says_how_good_the_model_is(facts, result):
    counts = {"n": 34, "n_patients": 12, "threshold": 0.41}
    confusion = np.array([[21, 2], [1, 10]])
    result = change_level(result, "slide", auc=GOOD, confusion=confusion, **counts)
    first, second = judge(facts, result)
    assert first.replace("\N{NARROW NO-BREAK SPACE}", " ") == (
        "On 34 slides from 12 patients the model never saw, it ranked a tumour slide "
        "above a normal one 93 times in 100 (AUC 0.93, 95 % interval 0.88 to 0.97)."
    )
    assert second == (
        "At its threshold of 0.41 it found 10 of 11 tumour slides and called 2 of 23 "
        "normal slides tumour by mistake."
    )
    folds = change_level(result, "slide", threshold_range=(0.3, 0.7))
    assert "thresholds of its folds, 0.30 to 0.70" in judge(facts, folds)[1]


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("external", "another cohort"),
        ("val", "on which the model was chosen"),
        ("train", "says nothing about new ones"),
    ],
)
def test_the_verdict_says_which_rows_were_scored(facts, split, words):
    seen = dataclasses.replace(facts.result, split=split)
    assert words in judge(facts, seen)[0]


@pytest.mark.parametrize(
    ("colour", "words"),
    [
        (0.7, "AUC of 0.70; what the model sees"),
        (0.95, "AUC of 0.95: the model is no better"),
        (0.12, "does no better than guessing (an AUC of 0.12)"),
        (None, "by mistake"),
    ],
)
def test_a_baseline_is_set_beside_the_model(facts, baseline, colour, words):
    model = change_level(facts.result, "slide", auc=GOOD)
    auc = dataclasses.replace(GOOD, value=colour)
    other = change_level(baseline, "slide", auc=auc)
    assert words in judge(facts, model, baseline=other)[-1]


def test_tiles_speak_where_slides_have_no_auc(facts, result):
    result = change_level(result, "slide", auc=UNDEFINED)
    assert choose_main_level(result).level == "tile"
    for level in ("tile", "patient"):
        result = change_level(result, level, auc=UNDEFINED)
    assert "no row has the label normal." in judge(facts, result)[0]


@pytest.mark.parametrize(
    ("confusion", "words"),
    [
        ([[0, 0], [0, 1]], "it found 1 of 1 tumour patient."),
        ([[2, 0], [0, 0]], "called 0 of 2 normal patients tumour by mistake."),
    ],
)
def test_patients_and_one_class_are_said_plainly(facts, result, confusion, words):
    alone = dataclasses.replace(result, levels={"patient": result.levels["patient"]})
    alone = change_level(alone, "patient", n=1, confusion=np.array(confusion))
    first, second = judge(facts, alone)
    assert first.startswith("On 1 patient the model never saw")
    assert second.endswith(words)


# Levels.


def show(facts, result, level, **changes):
    """Show one level of other results."""
    changed = dataclasses.replace(facts, result=result, **changes)
    return show_level(changed, result.levels[level]).shown


def test_what_says_the_same_is_not_shown_twice(facts, result):
    assert [r.level for r in list_levels(result)] == ["slide", "patient", "tile"]
    result = change_level(result, "patient", n=result.levels["slide"].n)
    assert [r.level for r in list_levels(result)] == ["slide", "tile"]
    assert "Every patient has one slide" in show(facts, result, "slide")[0]


def test_what_lacks_a_label_or_a_curve_is_said(facts, result):
    bare = {"n_unlabelled": 2, "roc_curves": (), "precision_curves": ()}
    text, _, figures = show(facts, change_level(result, "slide", **bare), "slide")
    assert "2 slides without a label are left out" in text
    names = [figure.name for figure in figures]
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
def test_metrics_stand_beside_the_baseline(facts, baseline, metric, texts, span):
    changed = change_level(facts.result, "tile", auc=metric)
    other = change_level(baseline, "tile", auc=dataclasses.replace(GOOD, value=0.6))
    table = show(facts, changed, "tile", baseline=other)[1]
    name, value, interval, bar, colour = table.rows[0]
    assert (name.text, colour) == ("ROC AUC", "0.60")
    assert (value.text, interval.text, interval.below) == texts
    assert bar == Bar(span=span, dot=metric.value, other=0.6)


@pytest.mark.parametrize(
    ("level", "unit", "is_said"),
    [("slide", "tile", True), ("tile", "tile", False), ("slide", "slide", False)],
)
def test_averages_are_not_called_chances(facts, level, unit, is_said):
    figures = show(facts, facts.result, level, run=change_run(facts, unit=unit))[2]
    assert ("not to be read as a chance" in figures[-1].text) == is_said


# How it came about.


def choose(facts, validation=None, **changes):
    """Describe the choices of another card."""
    changed = {"run": change_run(facts, **changes)}
    if validation is not None:
        changed["validation"] = validation
    return dict(describe_choices(dataclasses.replace(facts, **changed)))


def test_choices_are_said_with_what_they_rest_on(facts):
    rows = choose(facts)
    assert "chosen among 9 shares on 16 validation slides" in rows["Score of a slide"]
    assert "slide in which most was found" in rows["Score of a patient"]
    assert "(Youden)" in rows["A tile is called tumour from"]
    assert rows["Temperature"] == "1.250, of all folds together"
    tile = dataclasses.replace(facts.validation.tile, rule="sensitivity@0.95")
    rows = choose(facts, dataclasses.replace(facts.validation, tile=tile))
    assert "by the rule sensitivity@0.95" in rows["A tile is called tumour from"]
    fold = facts.run.card.folds[0]
    folds = tuple(dataclasses.replace(fold, threshold=t) for t in (0.25, 0.75))
    row = choose(facts, folds=folds)["A slide is called tumour from"]
    assert row.startswith("by fold 0.250, 0.750")
    assert row.endswith("which figures show")


def test_models_are_described_by_what_they_learnt_from(facts):
    assert describe_model(facts) == {
        "Encoder": "smallcnn, weights none",
        "Trained": "head and last block",
        "Tiles": "256 px at 0.5 micrometres per pixel",
        "Split": "by patient, one split",
    }
    sees = dataclasses.replace(facts.run.card.sees, mpp=None)
    unstated = dataclasses.replace(facts, run=change_run(facts, sees=sees))
    rows = describe_model(unstated)
    assert rows["Tiles"] == "256 px at a resolution that nobody stated"


def test_bag_models_are_described_by_what_they_learnt_from(facts):
    fold = FoldCard(models=("a", "b"), aggregator="mean")
    run = change_run(
        facts,
        learner="bags",
        unit="slide",
        sees=Sees(),
        folds=(fold,) * 3,
        together=FoldCard(threshold=0.5),
        columns=("age", "sex"),
    )
    settings = {"epochs": 50, "learning_rate": 2e-4, "batch": 4}
    run = dataclasses.replace(run, record={"settings": settings})
    bags = dataclasses.replace(facts, run=run, validation=None)
    rows = describe_model(bags)
    assert rows["Encoder"] == "not stated by the features"
    assert "no outline was used; with the columns age, sex" in rows["Learnt from"]
    assert rows["Split"].startswith("by patient, 3 folds, 6 models; each patient")
    assert "50 epochs, learning rate 0.0002, 4 bags" in rows["Training"]
    assert "Tiles" not in rows
    other = dataclasses.replace(facts.result, split="external")
    external = dataclasses.replace(bags, result=other)
    split = describe_model(external)["Split"]
    assert split.endswith("the mean of all folds' probabilities")
    row = dict(describe_choices(external))["A slide is called tumour from"]
    assert row.startswith("probability 0.500, chosen by the rule youden")
