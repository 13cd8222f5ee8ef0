import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import OUTLIERS, OutlierLimits, find_copies
from eosin.tiles import APPEARANCE
from eosin.workflows.exploration import Exploration
from eosin.workflows.exploration_galleries import GalleryMaker, format_percent
from eosin.workflows.tile_folder import TileFolder, open_tile_folder
from eosin.workflows.tile_scan import read_contents


def make(folder: TileFolder, **changes):
    n = len(folder.tiles)
    found = Exploration(
        folder=folder,
        shown=4,
        seed=0,
        mark_px=None,
        is_sample=False,
        measured=np.arange(n),
        measures=pd.DataFrame(
            np.arange(n * len(APPEARANCE), dtype=float).reshape(n, -1) / 1000,
            columns=list(APPEARANCE),
        ),
        outliers=pd.DataFrame(np.zeros((n, 4), bool), columns=list(OUTLIERS)),
        isolation=None,
        copies=find_copies(folder.tiles, np.arange(n)),
        copy_counts=(),
        n_unreadable=0,
        limits=OutlierLimits(),
    )
    return dataclasses.replace(found, **changes)


@pytest.fixture
def folder(odd_patches):
    return open_tile_folder(odd_patches)


def list_ids(gallery):
    return [tile.tile_id for tile in gallery.tiles]


def test_samples_are_of_their_class_and_of_many_slides(tile_folder):
    folder = open_tile_folder(tile_folder)
    with folder.open_reader() as reader:
        galleries = list(GalleryMaker(make(folder), reader).make_samples())
    tiles = folder.tiles.set_index("tile_id")
    for label, gallery in enumerate(galleries[:2]):
        own = tiles.loc[list_ids(gallery)]
        assert (own["label"] == label).all()
        assert own["slide_id"].nunique() == len(own) == 4
        assert gallery.mark_px == 0
        with folder.open_reader() as reader:
            row = folder.tiles.index[folder.tiles["tile_id"] == own.index[0]]
            assert np.array_equal(gallery.tiles[0].pixels, reader.read(row)[0])


def test_unlabelled_tiles_are_shown_last_if_there_are_any(folder):
    folder.tiles.loc[2, "label"] = pd.NA
    with folder.open_reader() as reader:
        galleries = list(GalleryMaker(make(folder), reader).make_samples())
    assert [g.title for g in galleries] == ["normal", "tumor", "unlabelled"]
    assert list_ids(galleries[2]) == [folder.tiles["tile_id"][2]]


def test_the_oddest_come_first(folder):
    odd = pd.DataFrame(np.zeros((15, 4), bool), columns=list(OUTLIERS))
    odd.loc[[1, 3, 5, 7, 9], ["blank", "blurred"]] = True
    isolation = np.ones(15)
    isolation[[4, 6]] = (2.5, 8)
    names = folder.tiles["tile_id"]
    with folder.open_reader() as reader:
        maker = GalleryMaker(make(folder, outliers=odd, isolation=isolation), reader)
        found = {g.title: g for g in maker.make_outliers()}
    # Measures grow from row to row: the whitest last, the least sharp first.
    assert list_ids(found["Blank"]) == [names[i] for i in (9, 7, 5, 3)]
    assert list_ids(found["Blurred"]) == [names[i] for i in (1, 3, 5, 7)]
    assert "5 found, 4 shown." in found["Blurred"].text
    assert found["Black"].tiles == ()
    assert found["Black"].text.endswith("None.")
    isolated = found["Isolated in feature space"]
    assert list_ids(isolated) == [names[6], names[4]]
    assert "8.0 times" in isolated.tiles[0].caption
    assert "2 found." in isolated.text


def test_copies_stand_beside_each_other(folder):
    copies = find_copies(folder.tiles, read_contents(folder.tiles))
    with folder.open_reader() as reader:
        galleries = list(
            GalleryMaker(make(folder, copies=copies), reader).make_copies()
        )
    conflict, same = galleries
    assert conflict.title == "Identical, with different labels"
    assert [len(group) for group in conflict.groups] == [2]
    assert [t.caption for t in conflict.tiles] == ["normal: 1", "tumor: conflict"]
    assert list_ids(same) == ["normal/0", "normal/copy"]
    assert conflict.text == (
        "1 group, at most 4 tiles of each. One of the labels must be wrong."
    )


def test_of_many_groups_some_are_shown(folder):
    copies = find_copies(folder.tiles, np.arange(15) // 2, np.arange(15) // 5)
    copies["is_conflicting"] = False
    with folder.open_reader() as reader:
        maker = GalleryMaker(make(folder, copies=copies), reader)
        found = {g.name: g for g in maker.make_copies()}
    assert [len(g) for g in found["duplicates-near"].groups] == [4, 4, 4]
    assert found["duplicates-exact"].text.startswith("7 groups, at most")


def test_a_tile_that_cannot_be_read_is_left_out(folder):
    folder.tiles.loc[folder.tiles["tile_id"] == "normal/0", "source"] = "gone.png"
    copies = find_copies(folder.tiles, read_contents(folder.tiles))
    with folder.open_reader() as reader:
        galleries = list(
            GalleryMaker(make(folder, copies=copies), reader).make_copies()
        )
    assert list_ids(galleries[1]) == ["normal/copy"]


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
    folder, tmp_path, layout, tile_px, asked, mark_px
):
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"layout": layout}}))
    info = dataclasses.replace(folder.info, tile_px=tile_px)
    own = dataclasses.replace(folder, path=tmp_path, info=info)
    with folder.open_reader() as reader:
        maker = GalleryMaker(make(own, mark_px=asked), reader)
        gallery = next(maker.make_samples())
    assert gallery.mark_px == mark_px
    assert (f"central {mark_px} px" in gallery.text) == (mark_px > 0)


def test_per_cents_are_whole():
    assert format_percent(0.987) == "99\N{NARROW NO-BREAK SPACE}%"
