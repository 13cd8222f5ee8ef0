import dataclasses
import itertools
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from PIL import Image

from eosin.core import RunError
from eosin.reports import render_report, write_figures, write_report

VOID = {"meta", "img", "br", "path", "use", "rect", "line"}


class Page(HTMLParser):
    """What a test asks of a page: its tags, headings and links."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
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
        self.text.append(data)

    def find(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def words_of(text):
    return " ".join(" ".join(Page(text).text).split())


def test_the_report_is_whole_and_has_its_sections(full_text):
    page = Page(full_text)
    assert page.open == []
    words = words_of(full_text)
    for section in (
        "In short",
        "Before you believe these numbers",
        "Thresholds, and where they were chosen",
        "Slide by slide",
        "Training",
        "Method",
        "How the intervals were made",
    ):
        assert section in words
    assert "2026-01-31" in words
    assert "made, CC0" in words
    assert "S99.svs: no mpp" in words
    assert "smallcnn" in words


def test_the_report_loads_nothing(full_text):
    page = Page(full_text)
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:image/jpeg;base64,"))
    assert not page.find("script")
    assert not page.find("link")
    assert "@import" not in full_text


def test_ids_are_unique_and_links_lead_somewhere(full_text):
    page = Page(full_text)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for a in page.find("a")}
    wanted |= {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert wanted <= set(ids)


def test_the_report_can_be_read_aloud(full_text):
    page = Page(full_text)
    assert page.find("html")[0]["lang"] == "en"
    assert len(page.find("h1")) == 1
    assert all("scope" in attributes for attributes in page.find("th"))
    assert all(attributes["alt"] for attributes in page.find("img"))
    figures = [a for a in page.find("div") if a.get("role") == "img"]
    assert figures
    assert all(len(a["aria-label"]) > 20 for a in figures)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_everything_a_user_writes_is_escaped(full_data):
    evil = '<script>alert("1")</script>&'
    result = dataclasses.replace(
        full_data.result,
        class_names=("normal", evil),
        slides=full_data.result.slides.rename(
            columns={"probability_tumour": f"probability_{evil}"}
        ).assign(slide_id=evil, patient_id=evil),
    )
    data = dataclasses.replace(
        full_data,
        title=evil,
        result=result,
        method={evil: evil},
        versions={evil: evil},
        data_licence=evil,
        cautions=[evil],
        failures=[dataclasses.replace(full_data.failures[0], message=evil)],
        created=evil,
        overlays={evil: next(iter(full_data.overlays.values()))},
    )
    text = render_report(data)
    assert "<script" not in text
    assert not Page(text).find("script")
    assert evil in " ".join(Page(text).text)


def test_cautions_come_before_results_the_gravest_first(full_text):
    text = words_of(full_text)
    order = [
        "These slides were made by a computer",
        "No patient ids were given",
        "The scanner changed in May",
        "1 slide could not be read and is missing",
        "What each split holds",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_an_unstated_licence_is_a_caution(light_data):
    bare = dataclasses.replace(light_data, data_licence=None)
    words = words_of(render_report(bare))
    assert "Nobody stated where the slides come from" in words
    assert "Source and licence: not stated" in words


def test_a_report_without_cautions_has_no_box(light_data):
    calm = dataclasses.replace(light_data.result, cautions=())
    words = words_of(render_report(dataclasses.replace(light_data, result=calm)))
    assert "Before you believe" not in words
    assert "No baseline was scored beside the model" in words


def test_results_on_seen_rows_are_marked(light_data):
    seen = dataclasses.replace(light_data.result, split="val")
    words = words_of(render_report(dataclasses.replace(light_data, result=seen)))
    assert "They are not a measure of its accuracy" in words
    assert "had a say" not in words


def test_the_same_input_gives_the_same_file(full_data, full_text):
    assert render_report(full_data) == full_text


def test_overlays_are_shrunk_and_few(light_data, full_data):
    overlay = next(iter(full_data.overlays.values()))
    every = dict.fromkeys(light_data.result.slides["slide_id"], overlay)
    images = Page(render_report(dataclasses.replace(light_data, overlays=every))).find(
        "img"
    )
    assert len(images) == 12
    assert light_data.result.slides.loc[0, "slide_id"] in images[0]["alt"]


def test_a_broken_overlay_is_named(light_data, tmp_path):
    slide = light_data.result.slides.loc[0, "slide_id"]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    for path in (broken, tmp_path / "missing.jpg"):
        with pytest.raises(
            RunError, match=f"{path.name}: cannot be read as an overlay"
        ):
            render_report(dataclasses.replace(light_data, overlays={slide: path}))


def test_several_classes_make_a_report(three_classes):
    words = words_of(render_report(three_classes))
    assert "told 3 classes apart" in words
    assert "papillary tiles" in words
    assert "Probability of the call" in words


def test_patients_with_one_slide_each_are_not_shown_twice(light_data):
    levels = dict(light_data.result.levels)
    levels["patient"] = dataclasses.replace(levels["slide"], level="patient")
    result = dataclasses.replace(light_data.result, levels=levels)
    text = render_report(dataclasses.replace(light_data, result=result))
    assert "Every patient has one slide" in text
    assert 'id="patient"' not in text


def test_tiles_alone_make_a_report(data):
    result = dataclasses.replace(
        data.result,
        levels={"tile": data.result.levels["tile"]},
        slides=data.result.slides.iloc[:0],
    )
    words = words_of(render_report(dataclasses.replace(data, result=result)))
    assert "Slide by slide" not in words
    assert "tumour tile above a normal one" in words


def test_unlabelled_rows_and_undefined_curves_are_said(light_data):
    slide = dataclasses.replace(
        light_data.result.levels["slide"],
        n_unlabelled=2,
        roc_curves=(),
        precision_curves=(),
    )
    result = dataclasses.replace(
        light_data.result, levels={**light_data.result.levels, "slide": slide}
    )
    text = render_report(dataclasses.replace(light_data, result=result))
    assert "2 slides without a label are left out" in text
    assert "slide-roc" not in text


def test_a_history_that_cannot_be_drawn_leaves_its_section_out(light_data, history):
    bare = dataclasses.replace(light_data, history=history[["epoch"]])
    assert 'id="training"' not in render_report(bare)


def test_files_are_written_whole(light_data, tmp_path):
    path = tmp_path / "out ö" / "report.html"
    write_report(path, light_data)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert path.stat().st_size < 2_000_000
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(RunError):
        write_report(path / "report.html", light_data)


def test_figures_are_written_as_png(full_data, tmp_path):
    paths = write_figures(tmp_path / "figures", full_data)
    names = {path.name for path in paths}
    assert {"slide-roc.png", "tile-confusion.png", "training.png"} <= names
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"


def test_no_training_figure_without_a_history(light_data, tmp_path):
    names = {path.name for path in write_figures(tmp_path, light_data)}
    assert names == {
        f"slide-{name}.png"
        for name in ("confusion", "scores", "roc", "precision", "reliability")
    }


def test_a_browser_can_show_the_report(full_text, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed; only a browser can lay out a page")
    report, picture = tmp_path / "report.html", tmp_path / "report.png"
    report.write_text(full_text, encoding="utf-8")
    subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--window-size=1000,1400",
            f"--screenshot={picture}",
            report.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with Image.open(picture) as image:
        assert image.size == (1000, 1400)
        # The caution box's yellow, so that the style sheet was applied.
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}
        assert (255, 245, 223) in colours
