"""How tangled outlines are, found before the work that this costs is begun.

Making a shape valid, or one of many, takes time and memory by the number of places
where edges cross, and that grows with the square of the edges: 2,500 random ones cross
700,000 times. What people draw crosses itself some thousand times at most.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, STRtree
from shapely.geometry.base import BaseGeometry

from eosin.annotations.shapes import Area, keep_area
from eosin.core import AnnotationError

# A crossing costs 20 microseconds and some kilobytes.
MOST_CROSSINGS = 100_000
# A pair of edges whose boxes overlap costs a microsecond to look at, or a nanosecond
# where only validity is asked.
_MOST_NEAR = 5_000_000
_MOST_NEAR_OF_SOUND = 4_000_000_000
# Of more edges a sample is looked at, so that memory stays bounded.
_SAMPLE = 200_000
_STEP_PAIRS = 4_000_000
_GROUP = 16
# A union of few edges is quicker than counting.
_FEW_EDGES = 600


def count_crossings(geometries: Sequence[BaseGeometry]) -> int:
    """Estimate how often edges of polygons cross or touch; one too many stops it.

    Exact up to 200,000 edges.
    """
    edges = _Edges(geometries)
    near = edges.count_pairs(None, MOST_CROSSINGS)
    if near <= MOST_CROSSINGS:
        return near
    if edges.count_pairs(None, _MOST_NEAR) > _MOST_NEAR:
        return MOST_CROSSINGS + 1
    return edges.count_pairs("intersects", MOST_CROSSINGS)


def repair_area(geometry: BaseGeometry, where: str) -> tuple[Area, int]:
    """Return a geometry's area as a valid one, and its crossings if it was repaired.

    An outline that crosses itself keeps every part that it encloses; both loops
    of an eight, say. A hole that reaches out of its shell only takes away.

    Args:
        geometry: What was drawn.
        where: Names it in messages.

    Returns:
        The parts that have an area; and 0 where it was valid, 1 at least otherwise.

    Raises:
        AnnotationError: Its edges cross so often that the repair would take too long.
    """
    is_simple = _is_checkable(geometry)
    if is_simple and geometry.is_valid:
        return keep_area(geometry), 0
    n_crossings = count_crossings([geometry])
    if isinstance(geometry, MultiPolygon) and n_crossings > MOST_CROSSINGS:
        parts = [repair_area(part, where) for part in geometry.geoms]
        areas = [area for area, _ in parts]
        return unite(areas, f"the edges of {where}"), 1 + sum(n for _, n in parts)
    if not is_simple or n_crossings > MOST_CROSSINGS:
        raise AnnotationError(_say_tangled(f"the edges of {where}"))
    valid = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    # GEOS's structure method can leave a crossing behind, as in one of CAMELYON16's
    # lesions; the other method does not, and by then only slivers are at stake.
    area = keep_area(valid if valid.is_valid else shapely.make_valid(valid))
    return area, max(1, n_crossings)


def unite(areas: Sequence[Area], what: str) -> Area:
    """Join areas into one.

    Raises:
        AnnotationError: They cross each other so often that it would take too long.
    """
    if count_crossings(areas) <= MOST_CROSSINGS:
        return keep_area(shapely.union_all(areas))
    # Joined from neighbours up, as many overlapping areas soon make a simple one.
    n_left = MOST_CROSSINGS
    joined = _sort_by_place(areas)
    while len(joined) > 1:
        groups = [joined[i : i + _GROUP] for i in range(0, len(joined), _GROUP)]
        for group in groups:
            if shapely.get_num_coordinates(group).sum() > _FEW_EDGES:
                n_left -= count_crossings(group)
                if n_left < 0:
                    raise AnnotationError(_say_tangled(what))
        joined = [shapely.union_all(group) for group in groups]
    return keep_area(joined[0])


def subtract(area: Area, hole: Area, what: str) -> Area:
    """Cut a hole out of an area.

    Raises:
        AnnotationError: Their outlines cross so often that it would take too long.
    """
    if hole.is_empty or area.is_empty:
        return area
    if count_crossings([area, hole]) > MOST_CROSSINGS:
        raise AnnotationError(_say_tangled(what))
    return keep_area(area - hole)


def _is_checkable(geometry: BaseGeometry) -> bool:
    """Whether asking for a geometry's validity is cheap enough, tangled or not."""
    if shapely.get_num_coordinates(geometry) < _SAMPLE // 4:
        return True
    edges = _Edges([geometry], _SAMPLE // 10)
    return edges.count_pairs(None, _MOST_NEAR_OF_SOUND) <= _MOST_NEAR_OF_SOUND


def _sort_by_place(areas: Sequence[Area]) -> list[BaseGeometry]:
    """Order areas so that neighbours stand together: by strips, then along each."""
    left, top, right, bottom = shapely.bounds(np.asarray(areas, object)).T
    n_strips = max(1, round((len(areas) / _GROUP) ** 0.5))
    strip = np.argsort(np.argsort(left + right)) * n_strips // len(areas)
    return [areas[index] for index in np.lexsort((top + bottom, strip))]


def _say_tangled(what: str) -> str:
    return (
        f"{what} cross each other more than {MOST_CROSSINGS:,} times, which would take "
        "too long to be joined; draw them anew, or leave them out"
    )


class _Edges:
    """The edges of polygons, each a ring's two corners; many are sampled."""

    def __init__(self, geometries: Sequence[BaseGeometry], most: int = _SAMPLE) -> None:
        rings = shapely.get_rings(shapely.get_parts(np.asarray(geometries, object)))
        points, ring = shapely.get_coordinates(rings, return_index=True)
        starts = np.flatnonzero(ring[1:] == ring[:-1])
        # In random order, so that every step sees its share of what is tangled.
        rng = np.random.default_rng(0)
        chosen = rng.permutation(len(starts))[:most]
        self._share = len(chosen) / len(starts) if len(starts) else 1.0
        self._place, self._ring = starts[chosen], ring[starts[chosen]]
        first = np.searchsorted(ring, self._ring)
        self._n_edges = np.bincount(ring, minlength=1)[self._ring] - 1
        self._place = self._place - first
        ends = np.stack([points[starts[chosen]], points[starts[chosen] + 1]], axis=1)
        self._lines = np.asarray(shapely.linestrings(ends), object)
        self._tree = STRtree(self._lines)

    def count_pairs(self, predicate: Literal["intersects"] | None, most: int) -> int:
        """Estimate the pairs of edges, not neighbours in a ring; `most` stops it.

        Without a predicate their boxes alone need to overlap.
        """
        step = max(1, _STEP_PAIRS // max(1, len(self._lines)))
        n_pairs = start = 0
        while start < len(self._lines):
            found = self._tree.query(self._lines[start : start + step], predicate)
            n_found = self._count_strangers(found[0] + start, found[1])
            n_pairs += n_found
            start += step
            if n_pairs / 2 / self._share**2 > most:
                return most + 1
            # Steps grow where little is found, so that they are few.
            step = min(4 * step, max(1, _STEP_PAIRS * step // (16 * max(1, n_found))))
        return round(n_pairs / 2 / self._share**2)

    def _count_strangers(self, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> int:
        apart = (self._place[one] - self._place[other]) % self._n_edges[one]
        is_neighbour = (apart <= 1) | (apart == self._n_edges[one] - 1)
        is_own = (self._ring[one] == self._ring[other]) & is_neighbour
        return int(len(one) - is_own.sum())
