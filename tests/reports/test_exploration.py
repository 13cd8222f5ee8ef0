import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eosin.evaluation import (
    SHOWN_MEASURES,
    CopyCount,
    correlate_measures,
    describe_by_class,
    map_colours,
)
from eosin.reports import (
    ExplorationData,
    Gallery,
    GalleryTile,
    render_exploration,
    write_exploration,
)
from eosin.reports import exploration as module

NAMES = ("normal", "<b>tumor</b>")


def make_gallery(name, n, *, n_groups=1):
    rng = np.random.default_rng(0)
    groups = tuple(
        tuple(
            GalleryTile(
                f"{name}-{group}-{i}",
                f"tile <{i}>" if n_groups > 1 else "",
                rng.integers(0, 256, (20, 20, 3), np.uint8),
            )
            for i in range(n)
        )
        for group in range(n_groups)
        if n
    )
    return Gallery(name, name.title(), f"{n} found.", groups)


def make_data(**changes):
    rng = np.random.default_rng(0)
    measures = pd.DataFrame(
        rng.uniform(0.1, 1, (40, len(SHOWN_MEASURES))), columns=list(SHOWN_MEASURES)
    )
    labels = np.arange(40) % 2
    counts = pd.DataFrame([[1200, 20]], index=["all"], columns=list(NAMES))
    slides = pd.DataFrame(
        {
            "slide_id": [f"S{i}" for i in range(20)],
            "patient_id": "P",
            "split": None,
            "tiles": [2] * 18 + [1] * 2,
            "normal": 1,
        }
    )
    data = ExplorationData(
        title="A <i>set</i>",
        facts="96 px",
        headline=["All of it.", "A second sentence."],
        key_numbers=[("Outliers", "3", "of 40")],
        cautions=["Beware."],
        counts=counts,
        splits=pd.DataFrame({"split": ["all"], "tiles": [1220]}),
        slides=slides,
        slides_are_groups=False,
        class_names=NAMES,
        labels=labels,
        measures=measures,
        by_class=describe_by_class(measures, labels, NAMES),
        correlations=correlate_measures(measures, labels, NAMES),
        colour_map=map_colours(rng.normal(size=(40, 3))),
        factors=pd.DataFrame(
            {"class": pd.Categorical.from_codes(labels, list(NAMES))},
            index=[f"t{i}" for i in range(40)],
        ),
        explained={"class": 0.25, "slide": None},
        samples=[make_gallery("samples", 3)],
        outliers=[make_gallery("blank", 0), make_gallery("blurred", 2)],
        copies=[CopyCount("exact", 2, 5, 3, 4, 1)],
        copy_galleries=[make_gallery("copies", 2, n_groups=3)],
        next_steps=[("eosin clean tiles", "drops")],
        method={"Seed": "0"},
        versions={"eosin": "0.1.0"},
        created="2026-01-31",
    )
    return replace(data, **changes)


@pytest.fixture(scope="module")
def page():
    return render_exploration(make_data())


def test_the_page_needs_nothing_but_itself(page):
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(a.startswith(("data:image/", "#")) for a in addresses)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert "var(--series-1)" in page


def test_text_is_escaped(page):
    assert "A &lt;i&gt;set&lt;/i&gt;" in page
    assert "tile &lt;0&gt;" in page
    assert "<b>tumor" not in page
    assert "<i>set" not in page


def test_all_that_was_found_is_there(page):
    for text in ("A second sentence.", "Beware.", "1,220", "eosin clean tiles", "Seed"):
        assert text in page
    # Tiles, thrice in pairs, and the points within one drawing.
    assert page.count("data:image/jpeg") == 3 + 2 + 6
    assert page.count('class="group"') == 3
    assert "The 15 largest of 20 slides" in page
    assert "1200 normal" not in page
    assert "1,200 normal, 20 &lt;b&gt;tumor&lt;/b&gt;; 60.0 to 1." in page
    assert re.search(r"classes</th><td class=\"n\">25.%", page)
    assert '<td class="n">5</td><td class="n">3</td>' in page
    assert "AUC alone" in page


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
    assert module._format(value) == text


def test_every_id_is_there_once(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_figures_come_with_their_numbers(tmp_path):
    write_exploration(tmp_path, make_data())
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    figures = {"class-balance", "distributions", "correlations", "colour-map"}
    galleries = {"samples", "blurred", "copies"}
    assert names == {
        f"{n}.{kind}" for n in figures | galleries for kind in ("png", "csv")
    }
    table = pd.read_csv(tmp_path / "figures" / "colour-map.csv")
    assert list(table.columns) == ["tile_id", "class", "x", "y"]
    assert len(table) == 40
    copies = pd.read_csv(tmp_path / "figures" / "copies.csv")
    assert copies["group"].tolist() == [0, 0, 1, 1, 2, 2]
    with Image.open(tmp_path / "figures" / "samples.png") as image:
        assert image.size == (6 + 3 * 114, 6 + 114)
    assert (tmp_path / "report.html").read_text() == render_exploration(make_data())


def test_groups_that_look_alike_are_not_called_slides():
    page = render_exploration(make_data(slides_are_groups=True))
    assert "Nobody says which slides" in page
    assert ">patient</th>" not in page
    assert ">group</th>" in page


def test_groups_of_one_are_not_listed():
    data = make_data(slides_are_groups=True)
    page = render_exploration(replace(data, slides=data.slides.tail(2)))
    assert "S19" not in page


def test_of_more_classes_no_area_under_the_curve_is_told():
    names = ("a", "b", "c")
    data = make_data()
    labels = np.where(np.arange(40) % 3 == 2, 0, np.arange(40) % 3)
    page = render_exploration(
        replace(
            data,
            class_names=names,
            labels=labels,
            by_class=describe_by_class(data.measures, labels, names),
            correlations=correlate_measures(data.measures, labels, names),
            counts=pd.DataFrame([[20, 20, 0]], index=["all"], columns=list(names)),
        )
    )
    assert "AUC alone" not in page
    assert "a class is empty" in page


def test_without_labels_and_measures_the_page_still_stands():
    data = make_data()
    none = data.measures.iloc[:0]
    page = render_exploration(
        replace(
            data,
            counts=data.counts * 0,
            measures=none,
            labels=data.labels[:0],
            factors=data.factors.iloc[:0],
            colour_map=map_colours(np.empty((0, 3))),
            explained={},
            cautions=[],
            versions={},
        )
    )
    assert "No tile has a label." in page
    assert "No tile could be measured." in page
    assert "Colour map" not in page


def test_without_a_colour_or_a_correlation_their_figures_are_left_out(tmp_path):
    data = make_data()
    write_exploration(
        tmp_path,
        replace(
            data,
            correlations=data.correlations * np.nan,
            colour_map=map_colours(np.full((40, 3), np.nan)),
            by_class=describe_by_class(data.measures, data.labels - 5, NAMES),
        ),
    )
    assert not (tmp_path / "figures" / "correlations.png").exists()
    assert not (tmp_path / "figures" / "colour-map.png").exists()
