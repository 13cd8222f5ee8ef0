import numpy as np
import pytest
import shapely
from shapely import MultiPolygon, Polygon, box

from eosin.annotations.crossings import count_crossings, repair_area, subtract, unite
from eosin.core import AnnotationError


def draw_slivers(n_slivers: int) -> list[Polygon]:
    """Draw thin rectangles from side to side, each of which crosses most others."""
    y = np.random.default_rng(0).random((n_slivers, 2)) * 1000
    left, right = np.zeros(n_slivers), np.full(n_slivers, 1000.0)
    corners = [
        (left, y[:, 0]),
        (right, y[:, 1]),
        (right, y[:, 1] + 1),
        (left, y[:, 0] + 1),
    ]
    return list(shapely.polygons(np.stack([np.stack(each, 1) for each in corners], 1)))


def test_both_loops_of_an_eight_are_kept():
    # Two triangles of base 2 and height 1.
    area, n_crossings = repair_area(Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]), "a")
    assert n_crossings == 1
    assert area.is_valid
    assert area.area == 2


def test_a_hole_that_reaches_out_only_takes_away():
    shell = [(0, 0), (10, 0), (10, 10), (0, 10)]
    hole = [(5, 2), (15, 2), (15, 4), (5, 4)]
    area, n_crossings = repair_area(Polygon(shell, [hole]), "a")
    assert n_crossings
    assert area.equals(box(0, 0, 10, 10).difference(box(5, 2, 15, 4)))


def test_a_collapsed_outline_is_empty():
    area, _ = repair_area(Polygon([(0, 0), (1, 1), (2, 2)]), "a")
    assert area.is_empty


def test_crossings_are_those_of_the_edges():
    # An eight crosses once; two squares whose corners overlap cross twice.
    assert count_crossings([Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])]) == 1
    assert count_crossings([box(0, 0, 2, 2), box(1, 1, 3, 3)]) == 2
    assert count_crossings([box(0, 0, 2, 2)]) == 0


def test_a_tangle_is_refused_by_name_before_the_work():
    corners = np.random.default_rng(0).random((2000, 2)) * 1000
    with pytest.raises(AnnotationError, match="edges of region 7 cross each other"):
        repair_area(Polygon(corners), "region 7")


def test_sound_outlines_of_many_corners_pass_as_they_are():
    angles = np.linspace(0, 2 * np.pi, 300_000, endpoint=False)
    circle = Polygon(np.column_stack([np.cos(angles), np.sin(angles)]) * 1000)
    area, n_crossings = repair_area(circle, "a")
    assert n_crossings == 0
    assert area.area == pytest.approx(np.pi * 1000**2, rel=1e-6)


def test_overlaps_that_make_a_simple_area_are_joined_however_many():
    # Each of 4,900 squares of 2 x 2 crosses or touches its neighbours.
    places = np.stack(np.meshgrid(np.arange(70), np.arange(70)), -1).reshape(-1, 2)
    left, top = places.T
    squares = list(shapely.box(left, top, left + 2, top + 2))
    assert count_crossings(squares) > 100_000
    assert unite(squares, "a").equals(box(0, 0, 71, 71))
    area, n_crossings = repair_area(MultiPolygon(squares), "a")
    assert n_crossings > 0
    assert area.equals(box(0, 0, 71, 71))


def test_areas_that_cross_everywhere_are_refused():
    with pytest.raises(AnnotationError, match="all of them cross each other"):
        unite(draw_slivers(600), "all of them")


def test_cutting_combs_out_of_combs_is_refused():
    teeth = np.arange(200)
    rows = shapely.union_all(shapely.box(0, 2 * teeth, 400, 2 * teeth + 1))
    columns = shapely.union_all(shapely.box(2 * teeth, 0, 2 * teeth + 1, 400))
    with pytest.raises(AnnotationError, match="rows and columns cross each other"):
        subtract(rows, columns, "rows and columns")
    assert subtract(rows, box(0, 0, 400, 200), "a").area == 100 * 400
