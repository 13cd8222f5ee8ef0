import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eosin.heatmaps import Heatmap, find_regions

BIG = (10**6, 10**6)


def find(values, threshold=0.5, *, cell=100.0, origin=(0, 0), **options):
    options = {"mpp": 0.5, "slide_size": BIG} | options
    heatmap = Heatmap(np.asarray(values, np.float32), cell, origin)
    return find_regions(heatmap, threshold, **options)


def test_a_region_follows_the_edges_of_its_cells():
    (region,) = find([[0.1, 0.9], [np.nan, 0.6]], origin=(1000, 2000))
    assert region.geometry.equals(shapely.box(1100, 2000, 1200, 2200))
    assert region.mean_probability == pytest.approx(0.75)
    assert region.max_probability == pytest.approx(0.9)
    # 100 x 200 px of 0.5 um are 50 x 100 um.
    assert region.area_mm2 == pytest.approx(0.05 * 0.1)


def test_corners_are_the_only_points_of_an_outline():
    (region,) = find(np.ones((30, 50)))
    assert len(region.geometry.exterior.coords) == 5


def test_holes_are_kept_and_islands_in_them_are_regions():
    values = np.ones((5, 5))
    values[1:4, 1:4] = 0
    values[2, 2] = 0.7
    ring, island = find(values)
    assert len(ring.geometry.interiors) == 1
    assert ring.geometry.area == 16 * 100**2
    assert ring.max_probability == 1
    assert island.geometry.equals(shapely.box(200, 200, 300, 300))
    assert island.mean_probability == pytest.approx(0.7)


def test_the_threshold_belongs_to_the_region_and_nan_never():
    assert len(find([[0.5]])) == 1
    assert find([[0.49]]) == []
    assert find([[np.nan]], threshold=0.0) == []
    assert find(np.full((3, 3), np.nan), threshold=-1.0) == []


def test_small_regions_are_dropped_and_the_largest_comes_first():
    values = [[1, 0, 1, 1, 0, 1, 1, 1]]
    sizes = [round(r.geometry.area / 100**2) for r in find(values)]
    assert sizes == [3, 2, 1]
    cell_mm2 = 0.05**2
    kept = find(values, min_area_mm2=1.5 * cell_mm2)
    assert [round(r.area_mm2 / cell_mm2) for r in kept] == [3, 2]


def test_regions_end_at_the_slides_edge():
    (region,) = find([[1, 1]], slide_size=(150, 80))
    assert region.geometry.equals(shapely.box(0, 0, 150, 80))
    # One cell inside, and one that only touches the frame from outside.
    (inner,) = find([[1, 1, 1], [1, 0, 1]], slide_size=(100, 200))
    assert inner.geometry.equals(shapely.box(0, 0, 100, 200))
    assert find([[1.0]], origin=(500, 0), slide_size=(500, 500)) == []


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(deadline=None, max_examples=150)
def test_regions_cover_exactly_the_cells_above(is_over):
    cell = 37.3
    regions = find(np.where(is_over, 0.8, 0.2), cell=cell)
    assert all(region.geometry.is_valid for region in regions)
    rows, columns = np.indices(is_over.shape)
    x, y = (columns + 0.5) * cell, (rows + 0.5) * cell
    inside = np.zeros(is_over.shape, bool)
    for region in regions:
        inside |= shapely.contains_xy(region.geometry, x, y)
    np.testing.assert_array_equal(inside, is_over)
    total = sum(region.geometry.area for region in regions)
    assert total == pytest.approx(is_over.sum() * cell**2)


def test_parts_joined_off_the_slide_only_have_figures_of_their_own():
    # The right column lies off the slide and joins the upper and the lower cell.
    values = [[0.9, 1.0], [0.0, 1.0], [0.6, 1.0]]
    first, second = find(values, slide_size=(100, 300))
    assert first.mean_probability == pytest.approx(0.9)
    assert second.mean_probability == pytest.approx(0.6)
    assert first.max_probability == pytest.approx(0.9)
    assert second.max_probability == pytest.approx(0.6)


@pytest.mark.parametrize("value", [0.1, 0.35, 0.7])
def test_a_value_equal_to_a_float64_threshold_counts(value):
    # 0.7 and 0.35 as float32 are below what they are as float64.
    assert len(find([[value]], np.float64(value))) == 1


def test_cells_that_meet_at_a_corner_are_two_regions_and_one_ring_is_valid():
    assert len(find([[1, 0], [0, 1]])) == 2
    values = np.ones((4, 4))
    values[1, 1] = values[2, 2] = 0
    (region,) = find(values)
    assert region.geometry.is_valid
    # 14 cells of 0.05 mm a side.
    assert region.area_mm2 == pytest.approx(14 * 0.0025)


@given(
    is_over=arrays(bool, (6, 7)),
    origin=st.tuples(st.integers(-250, 250), st.integers(-250, 250)),
)
@settings(deadline=None)
def test_a_cut_region_has_the_figures_of_the_cells_it_shows(is_over, origin):
    values = np.random.default_rng(0).uniform(0.6, 1, is_over.shape) * is_over
    left, top = np.meshgrid(
        origin[0] + np.arange(7) * 100, origin[1] + np.arange(6) * 100
    )
    cells = shapely.box(left, top, left + 100, top + 100)
    frame = shapely.box(0, 0, 420, 380)
    for region in find(values, origin=origin, slide_size=(420, 380)):
        assert frame.covers(region.geometry)
        own = shapely.area(shapely.intersection(cells, region.geometry)) > 0
        assert region.mean_probability == pytest.approx(values[own].mean(), abs=1e-6)
        assert region.max_probability == pytest.approx(values[own].max(), abs=1e-6)
