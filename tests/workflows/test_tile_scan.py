import shutil

import numpy as np
import pandas as pd
import pytest

from eosin.core import ConfigError, Progress
from eosin.tiles import APPEARANCE, hash_tiles, measure_appearance
from eosin.workflows import tile_scan as module
from eosin.workflows.import_patches import ImportConfig, import_patches
from eosin.workflows.tile_folder import open_tile_folder
from eosin.workflows.tile_scan import (
    ScanPlan,
    fill_unread,
    find_near_groups,
    read_contents,
    read_near_groups,
    require_other_folder,
    scan_tiles,
)


def plan_all(n, **changes):
    settings = {
        "rows": np.arange(n),
        "is_measured": np.ones(n, bool),
        "hashes": True,
        "looks": True,
    }
    return ScanPlan(**(settings | changes))


@pytest.fixture
def damaged(odd_patches, tmp_path):
    """The odd patches, of which two cannot be read."""
    shutil.copytree(odd_patches.parent / "set", tmp_path / "set")
    import_patches(tmp_path / "set", ImportConfig(layout="folder"), tmp_path / "tiles")
    (tmp_path / "set" / "normal" / "1.png").unlink()
    (tmp_path / "set" / "tumor" / "blurred.png").write_bytes(b"no image")
    return open_tile_folder(tmp_path / "tiles")


def test_tiles_of_slides_are_measured_as_they_are_read(tile_folder, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 7)
    folder = open_tile_folder(tile_folder)
    rows = np.arange(3, 40, 2)
    plan = plan_all(len(rows), rows=rows)
    scan = scan_tiles(folder, plan, workers=2)
    with folder.open_reader() as reader:
        pixels = reader.read(rows)
    assert scan.is_read.all()
    assert np.array_equal(scan.measures, measure_appearance(pixels))
    assert np.array_equal(scan.content, hash_tiles(pixels))
    assert scan.looks.hashes[:, 0].all()
    table = scan.make_table(len(folder.tiles))
    assert list(table.columns) == list(APPEARANCE)
    assert np.flatnonzero(table["eosin"].notna()).tolist() == rows.tolist()


def test_only_what_is_asked_for_is_done(odd_patches):
    folder = open_tile_folder(odd_patches)
    n = len(folder.tiles)
    plan = plan_all(n, is_measured=np.arange(n) < 3, hashes=False, looks=False)
    scan = scan_tiles(folder, plan)
    assert np.isfinite(scan.measures[:3]).all()
    assert np.isnan(scan.measures[3:]).all()
    assert not scan.content.any()
    assert scan.looks is None


def test_a_tile_that_cannot_be_read_spoils_no_other(damaged):
    n = len(damaged.tiles)
    scan = scan_tiles(damaged, plan_all(n))
    names = damaged.tiles["tile_id"].to_numpy(object)
    assert sorted(names[~scan.is_read]) == ["normal/1", "tumor/blurred"]
    assert {names[row] for row in scan.errors} == {"normal/1", "tumor/blurred"}
    with damaged.open_reader() as reader:
        expected = measure_appearance(reader.read(np.flatnonzero(scan.is_read)))
    assert np.array_equal(scan.measures[scan.is_read], expected)
    assert np.isnan(scan.measures[~scan.is_read]).all()
    # Nothing is a copy of what nobody could read.
    content = fill_unread(scan)
    assert len(np.unique(content)) == n - 1
    groups = find_near_groups(scan, content, Progress())
    bad = groups[~scan.is_read]
    assert len(set(bad)) == 2
    assert not set(bad) & set(groups[scan.is_read])


def test_where_nothing_can_be_read_every_tile_is_alone(damaged):
    rows = np.flatnonzero(damaged.tiles["tile_id"].isin(["normal/1", "tumor/blurred"]))
    scan = scan_tiles(damaged, plan_all(2, rows=rows))
    assert not scan.is_read.any()
    groups = find_near_groups(scan, fill_unread(scan), Progress())
    assert len(set(groups)) == 2


def test_turned_copies_are_near_and_all_others_are_not(odd_patches):
    folder = open_tile_folder(odd_patches)
    scan = scan_tiles(folder, plan_all(len(folder.tiles)))
    groups = pd.Series(
        find_near_groups(scan, scan.content, Progress()), folder.tiles["tile_id"]
    )
    for first, second in (
        ("normal/0", "normal/copy"),
        ("normal/1", "tumor/conflict"),
        ("normal/2", "normal/turned"),
    ):
        assert groups[first] == groups[second]
    assert groups["normal/3"] not in groups.drop("normal/3").to_numpy()
    # The import has found the same groups, and wrote them down.
    written = read_near_groups(folder.tiles)
    assert len(set(zip(groups, written, strict=True))) == len(set(written))


def test_groups_that_were_given_say_nothing_of_looks(odd_patches, tile_folder):
    tiles = open_tile_folder(odd_patches).tiles
    # Two parts of a group that the given splits divide.
    divided = tiles.assign(slide_id=tiles["slide_id"] + "-train")
    assert read_near_groups(divided) is None
    assert read_near_groups(tiles.assign(slide_id="slide-1")) is None
    assert read_near_groups(open_tile_folder(tile_folder).tiles) is None


def test_hashes_are_read_where_the_table_has_them(odd_patches, tile_folder):
    tiles = open_tile_folder(odd_patches).tiles
    content = pd.Series(read_contents(tiles), tiles["tile_id"])
    assert content["normal/0"] == content["normal/copy"] != content["normal/1"]
    assert read_contents(open_tile_folder(tile_folder).tiles) is None


def test_the_tiles_own_folder_is_not_written_to(odd_patches):
    folder = open_tile_folder(odd_patches)
    require_other_folder(folder, odd_patches.parent / "other")
    with pytest.raises(ConfigError, match="is the tile folder itself"):
        require_other_folder(folder, odd_patches / "." / ".." / odd_patches.name)
