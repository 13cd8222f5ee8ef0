import math

import pytest
from shapely import LineString, box

from eosin.annotations.shapes import (
    is_closed,
    keep_area,
    make_box,
    make_ellipse,
    make_polygon,
    parse_number,
)
from eosin.core import AnnotationError


@pytest.mark.parametrize("text", ["abc", None, "nan", "inf", [1]])
def test_what_is_no_finite_number_is_named(text):
    with pytest.raises(AnnotationError, match="X must be a finite number"):
        parse_number(text, "X")


def test_a_ring_may_be_closed_or_open():
    ring = [(0, 0), (4, 0), (4, 3)]
    assert make_polygon(ring).area == make_polygon([*ring, (0, 0)]).area == 6


@pytest.mark.parametrize("make", [make_polygon, make_box, make_ellipse])
def test_too_few_corners_are_empty(make):
    assert make([]).is_empty
    assert make([(1, 1)]).is_empty


def test_a_line_there_and_back_is_empty():
    assert make_polygon([(0, 0), (5, 5), (0, 0)]).is_empty


def test_a_box_comes_from_any_two_opposite_corners():
    assert make_box([(5, 1), (2, 9)]).equals(box(2, 1, 5, 9))


def test_an_ellipse_has_its_area_and_its_box():
    ellipse = make_ellipse([(10, 20), (50, 40)])
    assert ellipse.bounds == pytest.approx((10, 20, 50, 40))
    assert ellipse.area == pytest.approx(math.pi * 20 * 10, rel=1e-3)


def test_a_small_gap_is_closed_and_a_wide_one_is_not():
    square = [(0, 0), (10, 0), (10, 10), (0, 10), (0, 1)]
    assert is_closed(square)
    assert not is_closed(square[:4])
    assert not is_closed([(0, 0), (1, 1)])


def test_only_parts_with_an_area_are_kept():
    mixed = LineString([(0, 0), (9, 9)]).union(box(20, 20, 21, 21))
    assert keep_area(mixed).equals(box(20, 20, 21, 21))
    assert keep_area(LineString([(0, 0), (1, 1)])).is_empty
