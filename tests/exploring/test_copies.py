import numpy as np
import pandas as pd
import pytest

from eosin.core import Progress, SlideError
from eosin.exploring.copies import (
    CopyCount,
    caution_identical,
    count_copies,
    describe_identical,
    find_contents,
    find_copies,
    find_near_groups,
    plan_scan,
    read_contents,
    read_near_groups,
)
from eosin.exploring.scan import scan_tiles
from eosin.tiles.folder import open_tile_folder


@pytest.fixture
def tiles():
    return pd.DataFrame(
        {
            "tile_id": list("abcdefg"),
            "slide_id": list("xxxyyyy"),
            "split": ["train", "train", "train", "test", "train", None, None],
            "label": pd.array([0, 0, 1, 0, 0, None, 1], dtype="Int8"),
        }
    )


CONTENT = np.array([1, 1, 2, 1, 3, 2, 4], np.uint64)


def test_identical_tiles_are_listed_conflicts_first(tiles):
    tiles["label"] = pd.array([0, 0, 1, 0, 0, 0, 1], dtype="Int8")
    copies = find_copies(tiles, CONTENT)
    assert copies["tile_id"].tolist() == ["c", "f", "a", "b", "d"]
    assert copies.index.tolist() == [2, 5, 0, 1, 3]
    assert copies["group"].tolist() == [0, 0, 1, 1, 1]
    assert copies["is_conflicting"].tolist() == [True] * 2 + [False] * 3
    assert copies["is_across_splits"].tolist() == [False] * 2 + [True] * 3
    assert set(copies["kind"]) == {"exact"}
    assert count_copies(copies, ["exact"]) == [CopyCount("exact", 2, 5, 3, 2, 3)]


def test_a_missing_label_contradicts_nothing_and_larger_groups_come_first(tiles):
    copies = find_copies(tiles, CONTENT)
    assert not copies["is_conflicting"].any()
    assert copies["tile_id"].tolist() == ["a", "b", "d", "c", "f"]


def test_near_groups_hold_exact_copies_but_are_not_made_of_them(tiles):
    # a, b, d are identical and e looks like them; c and f are identical.
    near = np.array([0, 0, 1, 0, 0, 1, 2])
    copies = find_copies(tiles, CONTENT, near)
    own = copies[copies["kind"] == "near"]
    assert own["tile_id"].tolist() == ["a", "b", "d", "e"]
    counts = count_copies(copies, ["exact", "near"])
    assert counts[1] == CopyCount("near", 1, 4, 3, 0, 4)


def test_without_copies_there_is_an_empty_table(tiles):
    copies = find_copies(tiles, np.arange(7), np.arange(7))
    assert copies.empty
    assert list(copies.columns)[:3] == ["kind", "group", "tile_id"]
    assert count_copies(copies, ["exact"]) == [CopyCount("exact", 0, 0, 0, 0, 0)]
    assert find_copies(tiles.iloc[:0], np.empty(0)).empty
    nothing = describe_identical(tiles, np.arange(7, dtype=np.uint64))
    assert not any(nothing.values())
    assert caution_identical(nothing) == []


def test_identical_tiles_are_counted_with_what_is_wrong_with_them(tiles):
    # a, b and d are copies with two labels across splits, c and f with one and none.
    tiles["label"] = pd.array([0, 1, 1, 0, 0, None, 1], dtype="Int8")
    found = describe_identical(tiles, CONTENT)
    assert found == {
        "n_copies": 3,
        "n_conflicting": 3,
        "conflicting": ["a", "b", "d"],
        "n_copies_across_splits": 3,
    }
    across, wrong = caution_identical(found)
    assert across.startswith("3 patches have an identical copy in another split")
    assert wrong.startswith("3 patches have an identical copy with another label, such")
    assert "a, b:" in wrong


def test_what_an_import_has_found_is_found_again_by_reading(odd_patches):
    folder = open_tile_folder(odd_patches)
    known = folder.tiles.set_index("tile_id")
    written = read_near_groups(folder.tiles)
    assert not plan_scan(folder, np.arange(3), exact=True, near=True).looks
    # Two parts of a group that the given splits divide say nothing of looks.
    folder.tiles["slide_id"] += "-train"
    folder.slides["slide_id"] += "-train"
    del folder.tiles["content_hash"]
    plan = plan_scan(folder, np.arange(3), exact=True, near=True)
    assert len(plan.rows) == len(folder.tiles)
    assert plan.is_measured.sum() == 3
    with folder.open_reader() as reader:
        scan = scan_tiles(reader.read_each, plan)
    content = pd.Series(find_contents(folder.tiles, scan), known.index)
    assert content["normal/0"] == content["normal/copy"] != content["normal/1"]
    assert content.tolist() == read_contents(known).tolist()
    found = find_near_groups(folder.tiles, scan, Progress())
    groups = pd.Series(found, known.index)
    for first, second in (
        ("normal/0", "normal/copy"),
        ("normal/1", "tumor/conflict"),
        ("normal/2", "normal/turned"),
    ):
        assert groups[first] == groups[second]
    assert groups["normal/3"] not in groups.drop("normal/3").to_numpy()
    assert len(set(zip(groups, written, strict=True))) == len(set(written))


def test_a_table_of_slides_knows_no_copies(tile_folder):
    folder = open_tile_folder(tile_folder)
    assert read_contents(folder.tiles) is read_near_groups(folder.tiles) is None
    plan = plan_scan(folder, np.arange(2), exact=False, near=False)
    assert plan.rows.tolist() == [0, 1]
    plan = plan_scan(folder, plan.rows, exact=False, near=False, read_all=True)
    assert len(plan.rows) == len(folder.tiles)


def test_a_tile_that_cannot_be_read_is_like_no_other(tile_folder):
    folder = open_tile_folder(tile_folder)

    def read_each(rows):
        tiles = reader.read_each(rows)
        return [
            SlideError("damaged") if row < 2 else tile
            for row, tile in zip(rows, tiles, strict=True)
        ]

    plan = plan_scan(folder, np.arange(0), exact=True, near=True)
    with folder.open_reader() as reader:
        scan = scan_tiles(read_each, plan)
    groups = find_near_groups(folder.tiles, scan, Progress())
    assert groups[0] != groups[1]
    assert not set(groups[:2]) & set(groups[2:])
