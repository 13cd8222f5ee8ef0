import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import CopyCount, count_copies, find_copies


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


def test_a_missing_label_contradicts_nothing(tiles):
    copies = find_copies(tiles, CONTENT)
    assert not copies["is_conflicting"].any()
    # The larger group first.
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
