"""A small made study, and what a test asks of a page."""

import dataclasses
import itertools
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eosin.evaluation import (
    Classes,
    aggregate_predictions,
    build_predictions,
    choose_on_validation,
    evaluate_predictions,
)
from eosin.reports import EvaluationFacts, make_evaluation_page, render_page
from eosin.runs.card import Card, FoldCard, Sees
from eosin.runs.run import Run

VOID = {"meta", "img", "br", "path", "use", "rect", "line"}


class ParsedPage(HTMLParser):
    """A page's tags and words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.parts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.parts.append(data)

    def find(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.parts).split())


@pytest.fixture(scope="session")
def read():
    """Render a page, check what every page must be, and return what it holds."""

    def parse(page):
        text = render_page(page)
        parsed = ParsedPage(text)
        assert parsed.open == []
        _check_it_loads_nothing(parsed, text)
        _check_it_can_be_read_aloud(parsed)
        return parsed

    return parse


def _check_it_loads_nothing(page, text):
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:image/"))
    assert not page.find("script")
    assert not page.find("link")
    assert "@import" not in text
    assert "default-src 'none'" in text


def _check_it_can_be_read_aloud(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for a in page.find("a")}
    wanted |= {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert wanted <= set(ids)
    assert page.find("html")[0]["lang"] == "en"
    assert len(page.find("h1")) == 1
    assert all("scope" in attributes for attributes in page.find("th"))
    assert all(attributes["alt"] for attributes in page.find("img"))
    figures = [a for a in page.find("div") if a.get("role") == "img"]
    assert all(len(a["aria-label"]) > 20 for a in figures)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


@pytest.fixture(scope="session")
def read_facts(read):
    """Render the page of an evaluation."""
    return lambda facts, **changes: read(
        make_evaluation_page(dataclasses.replace(facts, **changes))
    )


def make_predictions(class_names, *, n_slides=48, noise=1.5):
    """Make ten tiles a slide and two slides a patient, of which classes differ."""
    rng = np.random.default_rng(4)
    n_classes = len(class_names)
    slide = np.repeat(np.arange(n_slides), 10)
    patient = slide // 2
    label = (patient // 3 + slide) % n_classes
    tiles = pd.DataFrame(
        {
            "tile_id": np.arange(len(slide)),
            "slide_id": [f"S{i:02}" for i in slide],
            "patient_id": [f"P{i:02}" for i in patient],
            "split": np.array(["train", "val", "test"])[patient % 3],
            "label": label,
        }
    )
    logits = 2.0 * np.eye(n_classes)[label]
    logits += rng.normal(0, noise, logits.shape)
    logits += rng.normal(0, noise / 2, (n_slides, n_classes))[slide]
    parts = np.exp(logits)
    values = parts / parts.sum(axis=1, keepdims=True)
    return build_predictions(tiles, values, Classes(class_names), unit="tile")


def evaluate(tiles, class_names):
    target = Classes(class_names)
    choices = choose_on_validation(tiles, target=target)
    table = aggregate_predictions(tiles, choices.aggregation.aggregation, target=target)
    return choices, evaluate_predictions(
        table, target=target, thresholds=choices.thresholds, n_bootstrap=60
    )


def make_facts(path, class_names=("normal", "tumour")):
    tiles = make_predictions(class_names)
    choices, result = evaluate(tiles, class_names)
    fold = FoldCard(
        models=("model.onnx",),
        temperature=1.25,
        threshold=choices.slide.threshold,
        tile_threshold=choices.tile.threshold,
    )
    card = Card(
        learner="tiles",
        unit="tile",
        class_names=class_names,
        sees=Sees(encoder="smallcnn", weights="none", mpp=0.5, tile_px=256),
        folds=(fold,),
        together=dataclasses.replace(fold, models=()),
        threshold_rule="youden",
    )
    record = {"settings": {"fine_tune": "last"}, "versions": {"eosin": "0.1.0"}}
    record["finished"] = "2026-01-31T10:11:12+00:00"
    return EvaluationFacts(
        run=Run(path, card, record),
        result=result,
        units=tiles,
        scored=make_folder(),
        validation=choices,
    )


def make_folder(**changes):
    """Make what a page asks a tile folder for."""
    content = {"licence": "made, CC0", "is_made": False, "knows_patients": True}
    return SimpleNamespace(**content | {"has_patches": False} | changes)


@pytest.fixture(scope="session")
def facts(tmp_path_factory):
    return make_facts(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def result(facts):
    return facts.result


@pytest.fixture(scope="session")
def baseline():
    names = ("normal", "tumour")
    return evaluate(make_predictions(names, noise=6), names)[1]


@pytest.fixture(scope="session")
def three_facts(tmp_path_factory):
    names = ("normal", "clear cell", "papillary")
    return make_facts(tmp_path_factory.mktemp("run"), names)


@pytest.fixture(scope="session")
def history():
    epochs = np.arange(1, 6)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "stage": ["head"] * 3 + ["fine_tune"] * 2,
            "accuracy": 1 - 0.5 / epochs,
            "loss": 1 / epochs,
            "val_loss": 1.1 / epochs,
            "val_roc_auc": 1 - 0.4 / epochs,
            "learning_rate": 1e-3,
            "empty": np.nan,
        }
    )


@pytest.fixture(scope="session")
def full_facts(facts, baseline, history, tmp_path_factory):
    """An evaluation with every section."""
    folder = tmp_path_factory.mktemp("full run")
    history.to_csv(folder / "history.csv", index=False)
    overlay = folder / "Bild ä.jpg"
    Image.new("RGB", (900, 500), (200, 120, 160)).save(overlay)
    return dataclasses.replace(
        facts,
        run=dataclasses.replace(facts.run, path=folder),
        baseline=baseline,
        overlays={facts.result.calls.loc[0, "id"]: overlay},
        cautions=["The scanner changed in May."],
        scored=make_folder(is_made=True, knows_patients=False),
    )


@pytest.fixture(scope="session")
def full_page(full_facts, read_facts):
    return read_facts(full_facts)


@pytest.fixture(scope="session")
def light_facts(facts):
    """An evaluation of slides alone, which is quickly drawn."""
    levels = {"slide": facts.result.levels["slide"]}
    result = dataclasses.replace(facts.result, levels=levels)
    return dataclasses.replace(facts, result=result)
