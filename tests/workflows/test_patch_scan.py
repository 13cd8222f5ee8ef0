import cv2
import numpy as np
import pytest

from eosin.cohorts import describe_looks
from eosin.core import ManifestError, Progress
from eosin.tiles import PatchReader, fit_patch, measure_sharpness
from eosin.workflows import patch_scan as module
from eosin.workflows.patch_scan import choose_tile_px, scan_patches


def paint(i, height, width):
    rng = np.random.default_rng(i)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def sizes():
    return [(16, 16)] * 5 + [(24, 24)] * 3 + [(16, 20)]


@pytest.fixture
def reader(tmp_path, sizes):
    names = [f"{i}.png" for i in range(len(sizes))]
    for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
        cv2.imwrite(str(tmp_path / name), paint(i, *size)[..., ::-1])
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    names += ["bad.png", "copy.png"]
    n = len(names)
    return PatchReader([str(tmp_path)] * n, names, [-1] * n, 16)


def test_the_commonest_side_is_chosen_and_of_equals_the_smaller(tmp_path, reader):
    assert choose_tile_px(reader, 11) == 16
    two = PatchReader([str(tmp_path)] * 2, ["5.png", "0.png"], [-1, -1], 1)
    assert choose_tile_px(two, 2) == 16


def test_where_nothing_can_be_read_no_side_is_chosen(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    reader = PatchReader([str(tmp_path)], ["bad.png"], [-1], 1)
    with pytest.raises(ManifestError, match=r"can be read; patch bad\.png: no image"):
        choose_tile_px(reader, 1)


@pytest.mark.parametrize("block", [1, 256])
def test_every_patch_is_read_once_and_described(reader, sizes, monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    scan = scan_patches(reader, 11, 16, workers=3, progress=Progress())
    assert scan.is_read.tolist() == [True] * 9 + [False, True]
    assert list(scan.errors) == [9]
    assert "bad.png" in scan.errors[9]
    assert scan.side_px.tolist() == [*(min(size) for size in sizes), 0, 16]
    assert scan.content[10] == scan.content[0]
    assert len(set(scan.content[:9].tolist())) == 9
    assert scan.n_by_kind["not square"] == 1
    assert scan.n_by_kind["rgb"] == 10
    for i, size in enumerate(sizes):
        pixels = paint(i, *size)
        looks = describe_looks([pixels])
        assert np.array_equal(scan.looks.hashes[i], looks.hashes[0])
        tile = fit_patch(pixels, 16)
        assert scan.measures[i, 0] == pytest.approx(measure_sharpness(tile[None])[0])
        assert scan.measures[i, 1:] == pytest.approx(tile.mean(axis=(0, 1)), rel=1e-5)
    assert np.isnan(scan.measures[9]).all()


def test_measures_can_be_left_out(reader):
    scan = scan_patches(reader, 11, 16, measures=False)
    assert np.isnan(scan.measures).all()
    assert scan.is_read.sum() == 10


def test_readable_rows_are_taken(reader):
    scan = scan_patches(reader, 11, 16).take_readable()
    assert scan.is_read.all()
    assert len(scan.looks) == len(scan.content) == len(scan.measures) == 10
    assert scan.errors == {}
    assert scan.n_by_kind["rgb"] == 10
