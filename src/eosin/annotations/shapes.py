"""Polygons from corners, boxes and ellipses, made valid."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from eosin.core import AnnotationError

Area = Polygon | MultiPolygon
Point = tuple[float, float]

# With 128 corners a polygon has 99.96 % of its ellipse's area.
_ELLIPSE_CORNERS = 128


def parse_number(text: Any, what: str) -> float:
    """Read a finite number, which `what` names; a decimal comma is a point."""
    try:
        number = float(text.replace(",", ".") if isinstance(text, str) else text)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise AnnotationError(f"{what} must be a finite number, got {text!r}")
    return number


def read_corners(elements: Iterable[Element], what: str) -> list[Point]:
    """Read points of the shape `what` from elements with attributes `X` and `Y`."""
    return [
        (
            parse_number(element.get("X"), f"{what}: X"),
            parse_number(element.get("Y"), f"{what}: Y"),
        )
        for element in elements
    ]


def make_polygon(corners: Sequence[Point]) -> Polygon:
    """Return the polygon of a ring, closed or not; empty below 3 corners."""
    is_ring = len(corners) > 1 and corners[0] == corners[-1]
    ring = list(corners[:-1] if is_ring else corners)
    return Polygon(ring) if len(ring) >= 3 else Polygon()


def make_box(corners: Sequence[Point]) -> Polygon:
    """Return the upright rectangle around the given points; empty below 2."""
    return box(*_bounds(corners)) if len(corners) >= 2 else Polygon()


def make_ellipse(corners: Sequence[Point]) -> Polygon:
    """Return the upright ellipse that fills the box around the points."""
    if len(corners) < 2:
        return Polygon()
    left, top, right, bottom = _bounds(corners)
    angles = np.linspace(0, 2 * math.pi, _ELLIPSE_CORNERS, endpoint=False)
    x = (left + right) / 2 + (right - left) / 2 * np.cos(angles)
    y = (top + bottom) / 2 + (bottom - top) / 2 * np.sin(angles)
    return Polygon(np.column_stack([x, y]))


def is_closed(corners: Sequence[Point]) -> bool:
    """Tell an outline from an open line.

    Hands seldom meet the first point exactly, so the gap between the ends may
    reach a tenth of the line's length.
    """
    if len(corners) < 3:
        return False
    steps = [math.dist(a, b) for a, b in pairwise(corners)]
    return math.dist(corners[0], corners[-1]) <= 0.1 * sum(steps)


def keep_area(geometry: BaseGeometry) -> Area:
    """Return the parts of a valid geometry that have an area; empty without any."""
    parts = [
        part
        for part in shapely.get_parts(shapely.get_parts([geometry])).tolist()
        if isinstance(part, Polygon) and part.area > 0
    ]
    if not parts:
        return Polygon()
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _bounds(corners: Sequence[Point]) -> tuple[float, float, float, float]:
    x, y = zip(*corners, strict=True)
    return min(x), min(y), max(x), max(y)
