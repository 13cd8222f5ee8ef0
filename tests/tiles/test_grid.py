import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.core import Box, SlideError
from eosin.settings import TileSpec
from eosin.tiles import TissueMap, find_boxes, grid, place_tiles


def blank(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def full(slide, downsample: float = 8.0) -> TissueMap:
    width, height = slide.dimensions
    shape = (int(np.ceil(height / downsample)), int(np.ceil(width / downsample)))
    return TissueMap(np.ones(shape, bool), downsample)


def test_a_full_slide_is_tiled_whole(array_slide) -> None:
    slide = array_slide(blank(200, 130))
    tiles = place_tiles(slide, TileSpec(1.0, 64), full(slide), min_tissue=1.0)
    assert list(zip(tiles["x_px0"], tiles["y_px0"], strict=True)) == [
        (0, 0), (64, 0), (128, 0), (0, 64), (64, 64), (128, 64),
    ]  # fmt: skip
    assert tiles["size_px0"].eq(64).all()
    assert tiles["flags"].eq("").all()
    assert tiles["x_px0"].dtype == tiles["size_px0"].dtype == np.int64


def test_overlap_and_resolution_are_in_level_0_pixels(array_slide) -> None:
    slide = array_slide(blank(256, 128), mpp=0.5)
    tiles = place_tiles(slide, TileSpec(1.0, 64, 32), full(slide), min_tissue=0)
    assert tiles["size_px0"].eq(128).all()
    assert tiles["x_px0"].tolist() == [0, 64, 128]


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(64, 400),
    height=st.integers(64, 400),
    mpp=st.floats(1.0, 3.0),
    overlap=st.integers(0, 19),
    x=st.integers(0, 300),
    y=st.integers(0, 300),
    native=st.sampled_from([None, (16, 16), (20, 20), (240, 16)]),
)
def test_tiles_lie_inside_the_slide(
    array_slide, width, height, mpp, overlap, x, y, native
) -> None:
    bounds = Box(min(x, width - 1), min(y, height - 1), 30, 30)
    slide = array_slide(blank(width, height), bounds=bounds, native_tile_px=native)
    tiles = place_tiles(slide, TileSpec(mpp, 20, overlap), full(slide), min_tissue=0)
    assert len(tiles)
    assert (tiles[["x_px0", "y_px0"]] >= 0).all(axis=None)
    assert (tiles["x_px0"] + tiles["size_px0"] <= width).all()
    assert (tiles["y_px0"] + tiles["size_px0"] <= height).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), downsample=st.floats(1.0, 9.7))
def test_tissue_fraction_is_the_mean_of_the_covered_pixels(
    array_slide, seed: int, downsample: float
) -> None:
    rng = np.random.default_rng(seed)
    slide = array_slide(blank(90, 70))
    shape = (int(np.ceil(70 / downsample)), int(np.ceil(90 / downsample)))
    mask = rng.random(shape) < 0.5
    tissue = TissueMap(mask, downsample)
    tiles = place_tiles(slide, TileSpec(1.0, 20), tissue, min_tissue=0)
    for x, y, got in tiles[["x_px0", "y_px0", "tissue_fraction"]].to_numpy():
        # By hand: each mask pixel counts by the length it shares in x and in y.
        rows, columns = (
            np.clip(
                np.minimum(start + 20, (np.arange(n) + 1) * downsample)
                - np.maximum(start, np.arange(n) * downsample),
                0,
                None,
            )
            for start, n in ((y, shape[0]), (x, shape[1]))
        )
        assert got == pytest.approx(rows @ mask @ columns / 400, abs=1e-8)


def test_tiles_with_too_little_tissue_are_left_out(array_slide) -> None:
    slide = array_slide(blank(128, 64))
    mask = np.zeros((8, 16), bool)
    mask[:, :2] = True  # a quarter of the first tile
    tissue = TissueMap(mask, 8.0)
    spec = TileSpec(1.0, 64)
    assert len(place_tiles(slide, spec, tissue, min_tissue=0.25)) == 1
    tiles = place_tiles(slide, spec, tissue, min_tissue=0.26)
    assert tiles.shape == (0, 5)
    assert tiles["x_px0"].dtype == np.int64


def test_faults_over_a_tenth_of_the_tile_are_named(array_slide) -> None:
    slide = array_slide(blank(128, 64))
    tissue = full(slide)
    pen, fold = np.zeros((8, 16), bool), np.zeros((8, 16), bool)
    pen[0, :] = True  # an eighth of both tiles
    fold[:, 8:] = True
    fold[0, 0] = True  # 1 / 64 of the first tile
    tissue = TissueMap(tissue.mask, 8.0, {"pen": pen, "fold": fold})
    tiles = place_tiles(slide, TileSpec(1.0, 64), tissue, min_tissue=0)
    assert tiles["flags"].tolist() == ["pen", "pen;fold"]


@pytest.mark.parametrize(
    ("native", "first"), [((64, 64), 64), ((16, 32), 64), ((48, 48), 100), (None, 100)]
)
def test_the_grid_fits_the_files_tiles_or_starts_at_the_scan(
    array_slide, native, first
) -> None:
    slide = array_slide(
        blank(400, 400), bounds=Box(100, 100, 250, 250), native_tile_px=native
    )
    tiles = place_tiles(slide, TileSpec(1.0, 64), full(slide), min_tissue=0)
    assert tiles["x_px0"].min() == tiles["y_px0"].min() == first
    assert tiles["x_px0"].max() < 350


@pytest.mark.parametrize(
    ("height", "slide_mpp", "mpp", "text"),
    [
        (63, 1.0, 1.0, r"covers 64 px .* 300 x 63"),
        (300, 1.0, 0.25, "finer"),
        (300, None, 1.0, "resolution"),
    ],
)
def test_a_slide_that_cannot_give_such_tiles_says_so(
    array_slide, height, slide_mpp, mpp, text
) -> None:
    slide = array_slide(blank(300, height), mpp=slide_mpp)
    with pytest.raises(SlideError, match=text):
        place_tiles(slide, TileSpec(mpp, 64), full(slide), min_tissue=0)


def test_context_is_read_around_the_tile() -> None:
    tiles = pd.DataFrame({"x_px0": [100], "y_px0": [10], "size_px0": [64]})
    assert find_boxes(tiles).tolist() == [[100, 10, 64, 64]]
    # As much again: half a side on each side.
    assert find_boxes(tiles, 2).tolist() == [[68, -22, 128, 128]]
    assert find_boxes(tiles, 1.5).tolist() == [[84, -6, 96, 96]]


def test_a_grid_without_end_is_refused(array_slide, monkeypatch) -> None:
    slide = array_slide(blank(200, 130))
    spec = TileSpec(1.0, 64, 63)
    # 137 x 67 places, one pixel apart.
    monkeypatch.setattr(grid, "_MOST_PLACES", 137 * 67)
    assert len(place_tiles(slide, spec, full(slide), min_tissue=0)) == 137 * 67
    monkeypatch.setattr(grid, "_MOST_PLACES", 137 * 67 - 1)
    with pytest.raises(SlideError, match="this one has 137 x 67"):
        place_tiles(slide, spec, full(slide), min_tissue=0)
