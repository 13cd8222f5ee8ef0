import numpy as np
import pytest

from eosin.core import Progress
from eosin.exploring.rules import apply_rules, plan_rules
from eosin.exploring.scan import scan_tiles
from eosin.settings import CleanSettings
from eosin.tiles.folder import open_tile_folder


@pytest.fixture
def folder(odd_patches):
    return open_tile_folder(odd_patches)


def apply(folder, *rules, **settings):
    config = CleanSettings(rules=rules or CleanSettings().rules, **settings)
    with folder.open_reader() as reader:
        scan = scan_tiles(reader.read_each, plan_rules(folder, config))
    named = apply_rules(folder, config, scan, Progress())
    named.index = folder.tiles["tile_id"].tolist()
    return {rule: named[rule].dropna().to_dict() for rule in named}


def test_the_other_rules_name_what_they_say(folder):
    found = apply(folder, "black", "saturated", "blurred", "duplicates")
    assert {rule: list(tiles) for rule, tiles in found.items()} == {
        "black": ["normal/black"],
        "saturated": ["tumor/saturated"],
        "blurred": ["tumor/blurred"],
        "duplicates": ["normal/copy"],
    }
    assert found["duplicates"]["normal/copy"] == "copy of normal/0, which is kept"
    assert found["black"]["normal/black"] == "black on 100.0%"
    assert found["blurred"]["tumor/blurred"].startswith("sharpness ")


def test_look_alikes_are_copies_where_that_is_asked_for(folder):
    found = apply(folder, "duplicates", near=True)["duplicates"]
    # Blank and black are both flat, and one of them is kept.
    assert set(found) == {"normal/copy", "normal/turned", "normal/blank"}
    assert found["normal/turned"] == "copy of normal/2, which is kept"


def test_look_alikes_are_sought_where_no_import_has_found_them(folder):
    expected = apply(folder, "duplicates", near=True)
    folder.tiles["slide_id"] = folder.tiles["slide_id"] + "-train"
    folder.slides["slide_id"] = folder.slides["slide_id"] + "-train"
    assert apply(folder, "duplicates", near=True) == expected


def test_the_copy_that_stays_is_one_that_models_are_tested_on(folder):
    tiles = folder.tiles
    tiles["content_hash"] = "00"
    tiles["label"] = 0
    tiles["split"] = ["train"] * 8 + ["val", "val", None, "test", "test", None, "train"]
    found = apply(folder, "duplicates")["duplicates"]
    kept = tiles["tile_id"][11]
    assert set(tiles["tile_id"]) - set(found) == {kept}
    assert set(found.values()) == {f"copy of {kept}, which is kept"}


def test_one_of_each_label_stays_and_a_label_before_none(folder):
    tiles = folder.tiles
    tiles["content_hash"] = "00"
    tiles["label"] = [None, 1, 1, 0, 0, *[None] * 10]
    tiles["label"] = tiles["label"].astype("Int8")
    found = apply(folder, "duplicates", "conflicting")
    assert set(tiles["tile_id"]) - set(found["duplicates"]) == set(
        tiles["tile_id"].iloc[[1, 3]]
    )
    # A tile without a label is in no conflict.
    assert set(found["conflicting"]) == set(tiles["tile_id"].iloc[1:5])
    tiles["label"] = tiles["label"] * np.nan
    tiles["label"] = tiles["label"].astype("Int8")
    assert len(apply(folder, "duplicates")["duplicates"]) == 14


def test_nothing_is_read_that_no_rule_asks_for(folder):
    config = CleanSettings(rules=("conflicting", "duplicates"), near=True)
    assert len(plan_rules(folder, config).rows) == 0
    plan = plan_rules(folder, CleanSettings(rules=("unreadable",)))
    assert len(plan.rows) == 15
    assert not plan.is_measured.any()


def test_copies_of_slides_tiles_are_found_by_reading(tile_folder):
    folder = open_tile_folder(tile_folder)
    # The same place once more, with another label.
    tiles = folder.tiles
    places = ["slide_id", "x_px0", "y_px0"]
    tiles.loc[1, places] = tiles.loc[0, places]
    tiles.loc[[0, 1], "label"] = [0, 1]
    found = apply(folder, "conflicting")["conflicting"]
    assert list(found) == tiles["tile_id"].tolist()[:2]
