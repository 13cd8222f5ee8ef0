import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from eosin.core import Progress
from eosin.exploring.copies import count_copies, find_copies, read_contents
from eosin.exploring.exploration import Exploration
from eosin.exploring.statistics import OUTLIERS, find_outliers
from eosin.heatmaps import Gallery, GalleryMaker, choose_mark
from eosin.reports import make_exploration_page
from eosin.reports.page import Figure
from eosin.reports.tile_galleries import show_copies, show_outliers, show_samples
from eosin.settings import ExploreSettings, OutlierLimits
from eosin.tiles import APPEARANCE
from eosin.tiles.folder import open_tile_folder


def make(folder, settings=None, **changes):
    n = len(folder.tiles)
    rng = np.random.default_rng(0)
    measures = pd.DataFrame(
        rng.uniform(0.1, 0.5, (n, len(APPEARANCE))), columns=list(APPEARANCE)
    )
    measures["contrast"] += 50
    measures["clipped_share"] = 0.0
    measures[["sharpness", "detail"]] += 1
    # Of more than twenty tiles of each class this one number tells all.
    measures["eosin"] -= folder.tiles["label"].fillna(0).to_numpy(int)
    copies = find_copies(folder.tiles, np.r_[1, 1, np.arange(3, n + 1)])
    explored = Exploration(
        folder=folder,
        settings=ExploreSettings(**({"shown": 4, "mark_px": 0} | (settings or {}))),
        measured=np.arange(n),
        measures=measures,
        outliers=find_outliers(measures, OutlierLimits()),
        isolation=None,
        copies=copies,
        copy_counts=tuple(count_copies(copies, ["exact"])),
        n_unreadable=0,
    )
    return dataclasses.replace(explored, **changes)


@pytest.fixture
def slides(tile_folder):
    return open_tile_folder(tile_folder)


@pytest.fixture
def patches(odd_patches):
    return open_tile_folder(odd_patches)


@pytest.fixture
def build(read):
    def make_page(explored):
        page = make_exploration_page(explored, Progress())
        return page, read(page).words

    return make_page


def list_figures(page):
    return {own.name: own for own in page.list_blocks() if isinstance(own, Figure)}


def test_slides_are_told_by_scanner_split_and_slide(slides, build):
    table, places = slides.tiles, slides.slides
    places["scanner"] = ["A", "B"] * 5
    places["site"] = "one"
    table["split"] = np.where(table["slide_id"] < "slide-05", "train", "test")
    table.loc[0, "split"] = None
    page, words = build(make(slides))
    factors = list_figures(page)["colour-map"].numbers
    names = ["tile_id", "class", "scanner", "split", "slide", "x", "y"]
    assert list(factors.columns) == names
    scanners = places.set_index("slide_id")["scanner"]
    assert factors["scanner"].tolist() == table["slide_id"].map(scanners).tolist()
    counts = list_figures(page)["class-balance"].numbers
    assert counts["split"].tolist() == ["train", "test", "no split"]
    assert "no split 1 1 1" in words
    first, *others = page.headline
    assert first.startswith(f"{len(table):,} tiles of 10 slides and 10 patients")
    assert others[0].startswith("Eosin (mean density) alone tells")
    assert "AUC of 1.00" in others[0]
    assert "of the differences in colour lie between" in others[1]
    assert ", between classes" in others[1]
    assert "1 tiles are identical copies of others" in others[2]
    assert "AUC alone" in words
    sections = [section.name for section in page.sections]
    assert sections[:3] == ["samples", "outliers", "copies"]


def test_groups_of_look_alikes_are_told_as_such(patches, build):
    page, words = build(make(patches))
    assert list(list_figures(page)["colour-map"].numbers) == [
        "tile_id",
        "class",
        "x",
        "y",
    ]
    # Eight tiles of one class are too few for an area under the curve.
    assert len(page.headline) == 2
    assert page.title == "Exploration of tiles"
    assert page.facts == ("normal / tumor", "48 px", "mpp unknown")
    assert "Nobody says which slides" in words
    assert "split groups patches normal tumor" in words
    # Groups of one are not listed.
    assert "The 2 largest of" in words or "All in" not in words
    assert " patients" not in words


def test_patches_of_which_no_two_look_alike_are_told_so(patches, build):
    names = [f"group-{i}" for i in range(15)]
    patches.tiles["slide_id"] = patches.tiles["patient_id"] = names
    places = pd.DataFrame({"slide_id": names, "mpp_used": np.nan})
    places["path"] = patches.slides["path"].iloc[0]
    patches = dataclasses.replace(patches, slides=places)
    none = find_copies(patches.tiles, np.arange(15))
    counts = tuple(count_copies(none, ["exact"]))
    page, words = build(make(patches, copies=none, copy_counts=counts))
    assert page.headline == [
        "15 patches of which no two look alike: 8 normal, 7 tumor."
    ]
    assert "group-3" not in words


def test_what_limits_the_findings_is_said(patches, build):
    patches.tiles["split"] = ["train", "test"] * 7 + [None]
    copies = find_copies(patches.tiles, np.r_[1, 1, np.arange(3, 16)])
    page, _ = build(
        make(
            patches,
            settings={"sample": len(patches.tiles) - 1},
            measured=np.arange(12),
            n_unreadable=3,
            copies=copies,
            copy_counts=tuple(count_copies(copies, ["exact"])),
        )
    )
    text = " ".join(page.cautions)
    for said in (
        "3 tiles cannot be read",
        "12 of 15 tiles, drawn at random with seed 0",
        "2 tiles have a copy in another split",
    ):
        assert said in text
    assert set(patches.info.cautions) <= set(page.cautions)
    assert page.key_numbers[0] == ("Outliers", "0", "of 12 looked at")


def test_commands_can_be_copied(patches, build):
    page, words = build(make(patches))
    steps = next(s for s in page.sections if s.name == "next").shown[0].terms
    # The folder's name has a space.
    assert steps[0][0] == f"eosin clean '{patches.path}' -o cleaned/"
    assert "blank (0), unreadable (0) and conflicting (0)" in steps[0][1]
    assert "drops 1 surplus copies" in steps[1][1]
    assert "8 normal, 7 tumor; 1.1 to 1." in words


def test_without_labels_or_measures_the_page_still_stands(patches, build):
    patches.tiles["label"] = pd.array([pd.NA] * 15, dtype="Int64")
    page, words = build(make(patches, measured=np.zeros(0, np.int64)))
    assert "No tile has a label." in words
    assert "No patch could be measured." in words
    assert set(list_figures(page)) == {"class-balance"}


def test_of_more_classes_no_area_under_the_curve_is_told(patches, build):
    info = dataclasses.replace(patches.info, class_names=("normal", "tumor", "other"))
    _, words = build(make(dataclasses.replace(patches, info=info)))
    assert "AUC alone" not in words
    assert "a class is empty" in words


# Galleries.


@pytest.fixture
def show():
    def make_galleries(folder, mark_px=0, **changes):
        n = len(folder.tiles)
        values = np.arange(n * len(APPEARANCE)).reshape(n, -1) / 1000
        measures = pd.DataFrame(values, columns=list(APPEARANCE))
        explored = make(folder, **{"measures": measures, **changes})
        ids = folder.tiles["tile_id"].tolist()
        with folder.open_reader() as reader:
            maker = GalleryMaker(reader, ids, mark_px)
            shown = [
                *show_samples(explored, maker, mark_px),
                *show_outliers(explored, maker),
                *show_copies(explored, maker),
            ]
        return {one.title: one for one in shown if isinstance(one, Gallery)}

    return make_galleries


def list_ids(gallery):
    return [tile.tile_id for tile in gallery.tiles]


def test_samples_are_of_their_class_and_of_many_slides(slides, show):
    galleries = show(slides)
    tiles = slides.tiles.set_index("tile_id")
    for label, name in enumerate(slides.info.class_names):
        shown = tiles.loc[list_ids(galleries[name])]
        assert (shown["label"] == label).all()
        assert shown["slide_id"].nunique() == len(shown) == 4
        row = slides.tiles.index[slides.tiles["tile_id"] == shown.index[0]]
        with slides.open_reader() as reader:
            pixels = reader.read(row)[0]
        assert np.array_equal(galleries[name].tiles[0].pixels, pixels)


def test_unlabelled_tiles_are_shown_if_there_are_any(patches, show):
    patches.tiles.loc[2, "label"] = pd.NA
    assert list_ids(show(patches)["unlabelled"]) == [patches.tiles["tile_id"][2]]


def test_the_oddest_come_first(patches, show):
    odd = pd.DataFrame(np.zeros((15, 4), bool), columns=list(OUTLIERS))
    odd.loc[[1, 3, 5, 7, 9], ["blank", "blurred"]] = True
    isolation = np.ones(15)
    isolation[[4, 6]] = (2.5, 8)
    names = patches.tiles["tile_id"]
    galleries = show(patches, outliers=odd, isolation=isolation)
    # Measures grow from row to row: the whitest last, the least sharp first.
    assert list_ids(galleries["Blank"]) == [names[i] for i in (9, 7, 5, 3)]
    assert list_ids(galleries["Blurred"]) == [names[i] for i in (1, 3, 5, 7)]
    assert "5 found, 4 shown." in galleries["Blurred"].text
    assert galleries["Black"].tiles == ()
    assert galleries["Black"].text.endswith("None.")
    isolated = galleries["Isolated in feature space"]
    assert list_ids(isolated) == [names[6], names[4]]
    assert "8.0 times" in isolated.tiles[0].caption
    assert "2 found." in isolated.text


def test_copies_stand_beside_each_other(patches, show):
    copies = find_copies(patches.tiles, read_contents(patches.tiles))
    galleries = show(patches, copies=copies)
    conflict = galleries["Identical, with different labels"]
    assert [len(group) for group in conflict.groups] == [2]
    assert [t.caption for t in conflict.tiles] == ["normal: 1", "tumor: conflict"]
    assert list_ids(galleries["Identical"]) == ["normal/0", "normal/copy"]
    assert conflict.text.startswith("1 group, at most 4 tiles of each.")
    # One that cannot be read is left out.
    patches.tiles.loc[patches.tiles["tile_id"] == "normal/0", "source"] = "gone.png"
    assert list_ids(show(patches, copies=copies)["Identical"]) == ["normal/copy"]


def test_of_many_groups_some_are_shown(patches, show):
    copies = find_copies(patches.tiles, np.arange(15) // 2, np.arange(15) // 5)
    copies["is_conflicting"] = False
    galleries = show(patches, copies=copies)
    assert [len(group) for group in galleries["Alike"].groups] == [4, 4, 4]
    assert galleries["Identical"].text.startswith("7 groups, at most")


@pytest.mark.parametrize(
    ("layout", "tile_px", "asked", "mark_px"),
    [
        ("kaggle", 96, None, 32),
        ("pcam", 96, None, 32),
        ("pcam", 48, None, 0),
        ("folder", 96, None, 0),
        ("folder", 96, 20, 20),
        ("pcam", 96, 0, 0),
    ],
)
def test_the_centre_is_marked_where_the_label_is_its(
    patches, tmp_path, show, layout, tile_px, asked, mark_px
):
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"layout": layout}}))
    info = dataclasses.replace(patches.info, tile_px=tile_px)
    folder = dataclasses.replace(patches, path=tmp_path, info=info)
    assert choose_mark(folder, asked) == mark_px
    gallery = show(folder, mark_px)["normal"]
    assert gallery.mark_px == mark_px
    assert (f"central {mark_px} px" in gallery.text) == (mark_px > 0)
