import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing
from PIL import Image

from eosin.core import RunError
from eosin.heatmaps import Gallery, GalleryTile
from eosin.reports import Page, Section, make_evaluation_page, render_page, write_page
from eosin.reports.page import (
    Bar,
    Cell,
    Figure,
    Heading,
    Picture,
    Pictures,
    Table,
    Terms,
    show_steps,
    tabulate,
    tabulate_shares,
)

EVIL = '<script>alert("1")</script>&'


def draw():
    drawing = Drawing(figsize=(2, 1))
    drawing.add_subplot().plot([0, 1], [0, 1])
    return drawing


def make_gallery(name, *sizes, side_px=108):
    groups = tuple(
        tuple(
            GalleryTile(f"t{i}-{EVIL}", EVIL, np.full((16, 16, 3), 40 * i, np.uint8))
            for i in range(n)
        )
        for n in sizes
    )
    return Gallery(name, EVIL, EVIL, groups, 0, side_px)


def make_page(*blocks, **changes):
    page = Page(
        kind="test",
        title="A page",
        facts=("one", "", "two"),
        headline=("A verdict.", "More of it."),
        sections=[Section("part", "A part", blocks)],
    )
    return replace(page, **changes)


@pytest.fixture(scope="module")
def every_block(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.fromarray(np.zeros((2000, 10, 3), np.uint8)).save(path)
    table = Table(
        [EVIL, EVIL, "Bar"],
        [[Cell(EVIL, "value", EVIL, EVIL), 1200, Bar(0.5, (0.2, 1.4), 0.3, 0.4, 0.6)]],
        EVIL,
        marked=0,
    )
    return (
        EVIL,
        Heading(EVIL),
        Terms([(EVIL, EVIL)]),
        table,
        replace(table, folded=EVIL),
        Figure("one", EVIL, EVIL * 2, draw(), pd.DataFrame({"x": [0, 1]})),
        (Figure("two", EVIL, EVIL * 2, draw()),),
        make_gallery("pairs", 2, 2, side_px=84),
        make_gallery("none"),
        Pictures([Picture(path=path, alt=EVIL, title=EVIL, lines=(EVIL,))]),
    )


def test_whatever_text_a_page_holds_is_escaped(every_block, read):
    names = dict.fromkeys(("kind", "title", "note", "warning"), EVIL)
    page = make_page(
        *every_block,
        **names,
        facts=(EVIL,),
        headline=(EVIL, EVIL),
        key_numbers=[(EVIL, EVIL, EVIL)],
        cautions=(EVIL,),
    )
    assert "<script" not in render_page(page)
    assert read(page).words.count('alert("1")') > 20


def test_a_page_holds_its_parts_in_their_order(every_block, read):
    parsed = read(make_page(*every_block, key_numbers=[("AUC", "0.90", "high")]))
    words = ["one · two", "In short", "A verdict.", "AUC", "A part", "1,200"]
    places = [parsed.words.index(word) for word in words]
    assert places == sorted(places)
    assert len([a for a in parsed.find("div") if a.get("class") == "group"]) == 2
    assert [a["width"] for a in parsed.find("img") if "width" in a] == ["84"] * 4
    picture = every_block[-1].pictures[0]
    assert len(picture.address) < len(replace(picture, max_px=4000).address)
    # What lies beyond 1 ends where the bar does.
    marks = {a["class"]: a["style"] for a in parsed.find("i")}
    assert marks == {
        "fill": "width:50.0%",
        "bar": "left:20.0%;right:0.0%",
        "dot": "left:30.0%",
        "other": "left:40.0%",
        "tick": "left:60.0%",
    }


def test_what_is_empty_has_no_place_in_a_page(read):
    empty = Section("gone", "Gone", (None, ""))
    page = make_page("Here.", headline=(), sections=[empty])
    words = read(page).words
    for gone in ("Gone", "In short", "Before you believe it"):
        assert gone not in words
    assert show_steps([]).shown == []
    assert tabulate_shares(["A", "B"], {"slide": None}, "") is None


def test_tables_are_made_of_columns():
    frame = pd.DataFrame(
        {"name": ["a", None], "n": [1200, 3], "share": [0.5, np.nan], "other": 1}
    )
    table = tabulate(frame, {"name": "Name", "n": "N", "share": "Share"}, "All.")
    assert list(table.rows) == [["a", 1200, "0.500"], ["\N{EN DASH}", 3, "\N{EN DASH}"]]
    assert table.heads == ["Name", "N", "Share"]


def test_figures_and_galleries_lie_beside_a_page_with_their_numbers(
    every_block, tmp_path
):
    write_page(make_page(*every_block), tmp_path / "out", "page.html")
    assert (tmp_path / "out" / "page.html").read_text().endswith("</html>\n")
    folder = tmp_path / "out" / "figures"
    names = {"one.png", "one.csv", "two.png", "pairs.png", "pairs.csv"}
    assert {path.name for path in folder.iterdir()} == names
    assert pd.read_csv(folder / "one.csv").x.tolist() == [0, 1]
    assert pd.read_csv(folder / "pairs.csv").group.tolist() == [0, 0, 1, 1]
    with Image.open(folder / "pairs.png") as sheet:
        # Two groups of two tiles of 84 px, 6 px apart.
        assert sheet.size == (6 + 4 * 90, 6 + 90)


@pytest.mark.parametrize("name", ["broken.jpg", "missing.jpg"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    pictures = Pictures([Picture(path=tmp_path / name, alt="It")])
    with pytest.raises(RunError, match=name):
        write_page(make_page(pictures), tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_cannot_be_written_is_named(every_block, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="file"):
        write_page(make_page(*every_block), tmp_path / "file")


def test_a_page_is_the_same_file_again_and_follows_theme_and_width(every_block):
    page = make_page(*every_block)
    text = render_page(page)
    assert render_page(page) == text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert re.search(r"@media screen and \(max-width: \d+px\)", text)


def test_a_browser_can_show_a_page(full_facts, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed; only a browser can lay out a page")
    write_page(make_evaluation_page(full_facts), tmp_path)
    picture = tmp_path / "report.png"
    options = ["headless", "no-sandbox", "disable-gpu", "disable-background-networking"]
    options += [f"user-data-dir={tmp_path / 'profile'}", "window-size=1000,1400"]
    options += [f"screenshot={picture}"]
    command = [
        browser,
        *(f"--{o}" for o in options),
        (tmp_path / "report.html").as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with Image.open(picture) as image:
        assert image.size == (1000, 1400)
        # The caution box's yellow, so that the style sheet was applied.
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}
        assert (255, 245, 223) in colours
