import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.heatmaps import rasterise_tiles, rasters


def lay(places, size, values):
    x, y = np.array(places, np.int64).reshape(-1, 2).T
    return rasterise_tiles(x, y, size, np.asarray(values, np.float64))


@given(
    grid=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9)),
        min_size=1, max_size=30, unique=True,
    ),
    origin=st.tuples(st.integers(0, 3000), st.integers(0, 3000)),
    size=st.integers(1, 600),
    overlap=st.floats(0, 0.9),
    seed=st.integers(0, 1000),
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_each_value_lands_where_its_tile_was(grid, origin, size, overlap, seed):
    """Every cell holds the mean of the tiles around its centre, and only that."""
    step = max(1, round(size * (1 - overlap)))
    places = np.array(grid) * step + origin
    values = np.random.default_rng(seed).random(len(grid))
    heatmap = lay(places, size, values)
    height, width = heatmap.values.shape
    (x0, y0), cell = heatmap.origin_px0, heatmap.cell_px0
    assert cell <= size
    for row in range(height):
        for column in range(width):
            centre = np.array([x0 + (column + 0.5) * cell, y0 + (row + 0.5) * cell])
            around = ((places <= centre) & (centre < places + size)).all(axis=1)
            expected = values[around].mean() if around.any() else np.nan
            found = heatmap.values[row, column]
            assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)


@given(
    places=st.lists(
        st.tuples(st.integers(0, 5000), st.integers(0, 5000)), min_size=1, max_size=8
    ),
    size=st.integers(1, 500),
)
@settings(deadline=None, max_examples=60)
def test_tiles_off_any_grid_all_leave_a_trace_within_the_raster(places, size):
    heatmap = lay(places, size, np.ones(len(places)))
    assert np.isfinite(heatmap.values).any()
    height, width = np.array(heatmap.values.shape) * heatmap.cell_px0
    right, bottom = np.max(places, axis=0) - np.min(places, axis=0) + size
    assert right <= width < right + heatmap.cell_px0 + 1e-6
    assert bottom <= height < bottom + heatmap.cell_px0 + 1e-6


def test_without_overlap_one_tile_is_one_cell():
    heatmap = lay([(100, 50), (356, 50), (100, 306)], 256, [0.1, 0.2, 0.3])
    assert heatmap.cell_px0 == 256
    assert heatmap.origin_px0 == (100, 50)
    np.testing.assert_allclose(heatmap.values, [[0.1, 0.2], [0.3, np.nan]])


def test_half_a_tile_of_overlap_gives_cells_of_half_a_tile():
    heatmap = lay([(0, 0), (128, 0)], 256, [0.0, 1.0])
    assert heatmap.cell_px0 == 128
    np.testing.assert_allclose(heatmap.values, [[0, 0.5, 1], [0, 0.5, 1]])


def test_a_quarter_of_overlap_keeps_every_tile_in_its_place():
    heatmap = lay([(192 * i, 0) for i in range(5)], 256, np.arange(5) / 4)
    assert heatmap.cell_px0 == 64
    assert heatmap.values.shape == (4, 16)
    np.testing.assert_allclose(
        heatmap.values[0, :7], [0, 0, 0, 0.125, 0.25, 0.25, 0.375]
    )


def test_nan_leaves_no_trace():
    heatmap = lay([(0, 0), (0, 0), (10, 0)], 10, [np.nan, 0.5, np.nan])
    np.testing.assert_allclose(heatmap.values, [[0.5, np.nan]])
    assert np.isnan(lay([(0, 0)], 10, [np.nan]).values).all()


def test_a_huge_raster_is_coarsened(monkeypatch):
    monkeypatch.setattr(rasters, "MAX_CELLS", 100)
    places = [(x, y) for x in range(0, 1000, 10) for y in range(0, 1000, 10)]
    heatmap = lay(places, 10, [x / 1000 for x, _ in places])
    assert heatmap.cell_px0 == 100
    assert heatmap.values.shape == (10, 10)
    # Each cell keeps tiles of its own columns only.
    columns = np.arange(10) / 10
    assert (np.abs(heatmap.values - columns - 0.05) <= 0.06).all()


def test_wrong_calls_are_refused():
    with pytest.raises(ValueError, match="at least one tile"):
        lay([], 10, [])
    with pytest.raises(ValueError, match=r"got 2, 2 and 1, and 10"):
        lay([(0, 0), (10, 0)], 10, [1.0])
    with pytest.raises(ValueError, match="size above 0"):
        lay([(0, 0)], 0, [1.0])


def test_tiles_smaller_than_a_cell_stay_in_the_cell_that_holds_them(monkeypatch):
    monkeypatch.setattr(rasters, "MAX_CELLS", 100)
    places = [(x, y) for y in range(0, 400, 10) for x in range(0, 400, 10)]
    heatmap = lay(places, 10, [0.25 if y < 200 else 0.75 for _, y in places])
    assert heatmap.cell_px0 == 40
    expected = np.float32([[0.25] * 10] * 5 + [[0.75] * 10] * 5)
    np.testing.assert_array_equal(heatmap.values, expected)
