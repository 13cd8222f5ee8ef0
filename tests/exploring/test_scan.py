import cv2
import numpy as np
import pytest

from eosin.core import ManifestError
from eosin.exploring import scan as module
from eosin.exploring.near_duplicates import describe_looks
from eosin.exploring.scan import ScanPlan, choose_tile_px, scan_tiles
from eosin.tiles import (
    APPEARANCE,
    PatchReader,
    fit_patch,
    hash_tiles,
    measure_appearance,
    measure_plainly,
    measure_sharpness,
)
from eosin.tiles.folder import open_tile_folder

SIZES = [(16, 16)] * 5 + [(24, 24)] * 3 + [(16, 20)]
BAD = 9


def paint(i, height, width):
    rng = np.random.default_rng(i)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def reader(tmp_path):
    """Patches of `SIZES`, one that cannot be read, and a copy of the first."""
    names = [f"{i}.png" for i in range(len(SIZES))]
    for i, (name, size) in enumerate(zip(names, SIZES, strict=True)):
        cv2.imwrite(str(tmp_path / name), paint(i, *size)[..., ::-1])
    (tmp_path / "bad.png").write_bytes(b"no image")
    names += ["bad.png", "0.png"]
    return PatchReader([str(tmp_path)] * 11, names, [-1] * 11, 16)


def plan(rows, tile_px, **changes):
    every = {"is_measured": np.ones(len(rows), bool)}
    return ScanPlan(rows=rows, tile_px=tile_px, **(every | changes))


def test_the_commonest_side_is_chosen_and_of_equals_the_smaller(tmp_path, reader):
    assert choose_tile_px(reader, 11) == 16
    two = PatchReader([str(tmp_path)] * 2, ["5.png", "0.png"], [-1, -1], 1)
    assert choose_tile_px(two, 2) == 16
    bad = PatchReader([str(tmp_path)], ["bad.png"], [-1], 1)
    with pytest.raises(ManifestError, match=r"can be read; patch bad\.png: no image"):
        choose_tile_px(bad, 1)


@pytest.mark.parametrize("block", [1, 256])
def test_every_patch_is_read_once_and_described_in_its_own_size(
    reader, monkeypatch, block
):
    monkeypatch.setattr(module, "_BLOCK", block)
    asked = []
    real = reader.read_patch
    monkeypatch.setattr(
        reader, "read_patch", lambda row: asked.append(row) or real(row)
    )
    wanted = plan(np.arange(11), 16, measure=measure_plainly)
    scan = scan_tiles(reader.read_each, wanted, workers=3)
    assert sorted(asked) == list(range(11))
    assert np.flatnonzero(~scan.is_read).tolist() == list(scan.errors) == [BAD]
    assert "bad.png" in scan.errors[BAD]
    assert scan.side_px.tolist() == [*(min(size) for size in SIZES), 0, 16]
    assert scan.content[10] == scan.content[0]
    # Nothing is a copy of what nobody could read.
    assert len(np.unique(scan.content)) == 10
    assert (scan.n_by_kind["not square"], scan.n_by_kind["rgb"]) == (1, 10)
    for i, size in enumerate(SIZES):
        pixels = paint(i, *size)
        looks = describe_looks([pixels])
        assert np.array_equal(scan.looks.hashes[i], looks.hashes[0])
        tile = fit_patch(pixels, 16)
        assert scan.measures[i, 0] == pytest.approx(measure_sharpness(tile[None])[0])
        assert scan.measures[i, 1:] == pytest.approx(tile.mean(axis=(0, 1)), rel=1e-5)
    assert np.isnan(scan.measures[BAD]).all()
    left = scan.take_readable()
    assert left.is_read.all()
    assert len(left.looks) == len(left.content) == len(left.measures) == 10
    assert left.errors == {}
    assert left.n_by_kind["rgb"] == 10


def test_tiles_of_slides_are_measured_as_they_are_read(tile_folder, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 7)
    folder = open_tile_folder(tile_folder)
    rows = np.arange(3, 40, 2)
    with folder.open_reader() as reader:
        pixels = reader.read(rows)
        scan = scan_tiles(reader.read_each, plan(rows, 64), workers=2)
    assert scan.is_read.all()
    assert np.array_equal(scan.measures, measure_appearance(pixels))
    assert np.array_equal(scan.content, hash_tiles(pixels))
    assert scan.looks.hashes[:, 0].all()
    table = scan.make_table(len(folder.tiles))
    assert list(table.columns) == list(APPEARANCE)
    assert np.flatnonzero(table["eosin"].notna()).tolist() == rows.tolist()


@pytest.mark.parametrize("n", [0, 11])
def test_only_what_is_asked_for_is_done(reader, n):
    rows = np.arange(n)
    wanted = plan(rows, 16, is_measured=rows < 3, looks=False)
    scan = scan_tiles(reader.read_each, wanted)
    assert np.isfinite(scan.measures[:3]).all()
    assert np.isnan(scan.measures[3:]).all()
    assert scan.looks is None
    assert len(scan.rows) == n


def test_what_cannot_be_read_is_listed_and_nothing_at_all_stops(reader, odd_patches):
    tiles = open_tile_folder(odd_patches).tiles
    scan = scan_tiles(reader.read_each, plan(np.arange(11), 16))
    scan.require_one("not one")
    (failure,) = scan.list_failures(tiles, "look")
    assert (failure.slide_id, failure.step) == (tiles["tile_id"][BAD], "look")
    assert scan.list_failures(tiles, "look", among=np.arange(15) < BAD) == []
    scan = scan_tiles(reader.read_each, plan(np.array([BAD]), 16))
    with pytest.raises(ManifestError, match=r"^not one can be read; .* bad\.png"):
        scan.require_one("not one")
