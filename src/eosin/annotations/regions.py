"""Named regions of a slide, gathered while a file is read."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from eosin.annotations.crossings import (
    MOST_CROSSINGS,
    repair_area,
    subtract,
    unite,
)
from eosin.annotations.shapes import Area, make_polygon, parse_number
from eosin.core import AnnotationError

# What a region is called that the file gives no class. `--classes` may name it.
UNCLASSIFIED = "Unclassified"


@dataclass(frozen=True)
class Region:
    """One outlined area.

    Attributes:
        class_name: Its class as the file spells it, `UNCLASSIFIED` without one.
        geometry: A valid area in level-0 pixels of the full frame.
        is_hole: Whether it is cut out of its class instead of added.
    """

    class_name: str
    geometry: Area
    is_hole: bool = False


@dataclass(frozen=True)
class Annotations:
    """Everything that an annotation file says about areas.

    Attributes:
        regions: The areas, in the file's order.
        n_repaired: Outlines that were invalid, and were repaired.
        ignored: What the file holds beside areas, with how many of each.
        format: The file's format.
        source: The file.
    """

    regions: tuple[Region, ...]
    n_repaired: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)
    format: str = ""
    source: Path = Path()


@dataclass
class Layer:
    """Shapes of one class in a format that draws holes as shapes of their own."""

    class_name: str
    areas: list[BaseGeometry] = field(default_factory=list)
    holes: list[BaseGeometry] = field(default_factory=list)


class RegionBuilder:
    """Gathers regions while a file is read: repairs, cuts holes, counts the rest."""

    def __init__(self, path: Path, format_name: str) -> None:
        self._path = path
        self._format = format_name
        self._regions: list[Region] = []
        self._n_repaired = self._n_crossings = 0
        self._ignored: Counter[str] = Counter()

    def build(self) -> Annotations:
        """Return what was gathered."""
        return Annotations(
            tuple(self._regions),
            self._n_repaired,
            dict(self._ignored),
            self._format,
            self._path,
        )

    def ignore(self, what: str) -> None:
        """Count something that is no area."""
        self._ignored[what] += 1

    def add_outline(
        self, class_name: str | None, corners: Iterable[tuple[Any, Any]]
    ) -> None:
        """Take a region by its corners in level-0 pixels."""
        where = f"{self._path}: corner of '{class_name}'"
        ring = [(parse_number(x, where), parse_number(y, where)) for x, y in corners]
        self.add_geometry(class_name, make_polygon(ring))

    def add_geometry(
        self, class_name: str | None, geometry: BaseGeometry, where: str = ""
    ) -> None:
        """Take one region, repaired if it must be; count it if it is empty.

        `where` names it in messages.
        """
        area = self._repair(geometry, where)
        if not area.is_empty:
            self._append(class_name, area)

    def add_layers(self, layers: Sequence[Layer]) -> None:
        """Take layers whose holes are still shapes of their own, and cut them out.

        A hole is cut out of every region of its layer that it overlaps, but for
        those that lie wholly within it: they are islands, drawn back in. Where
        it meets nothing in its own layer it is cut out of the other layers, as
        some people keep all their holes in one.
        """
        owned = [
            (layer, area)
            for layer in layers
            for area in self._repair_all(layer.class_name, layer.areas)
        ]
        owners, areas = [o for o, _ in owned], [area for _, area in owned]
        cuts: dict[int, list[Area]] = {}
        tree = STRtree(areas)
        shapely.prepare(areas)
        for layer in layers:
            for hole in self._repair_all(layer.class_name, layer.holes):
                touched = _find_cut_areas(tree, areas, hole)
                own = [index for index in touched if owners[index] is layer]
                for index in own or touched:
                    cuts.setdefault(index, []).append(hole)
                if not touched:
                    self.ignore("hole outside every region")
        for index, (layer, area) in enumerate(owned):
            what = f"{self._path}: outlines and holes of layer '{layer.class_name}'"
            holes = unite(cuts.get(index, []), what)
            rest = subtract(area, holes, what)
            if rest.is_empty:
                self.ignore("region cut away by its holes")
            else:
                self._append(layer.class_name, rest)

    def _repair_all(self, name: str, shapes: Sequence[BaseGeometry]) -> Iterator[Area]:
        for index, shape in enumerate(shapes, start=1):
            area = self._repair(shape, f"{self._path}: outline {index} of '{name}'")
            if not area.is_empty:
                yield area

    def _repair(self, geometry: BaseGeometry, where: str = "") -> Area:
        place = where or f"{self._path}: region {len(self._regions) + 1}"
        area, n_crossings = repair_area(geometry, place)
        self._n_crossings += n_crossings
        if self._n_crossings > 2 * MOST_CROSSINGS:
            raise AnnotationError(
                f"{place}: the outlines up to here cross themselves more than "
                f"{2 * MOST_CROSSINGS:,} times, which takes too long to repair"
            )
        if area.is_empty:
            self.ignore("empty")
        else:
            self._n_repaired += n_crossings > 0
        return area

    def _append(self, class_name: str | None, area: Area) -> None:
        # JSON may spell half a character, which no file could be written with.
        text = (class_name or "").encode("utf-8", "replace").decode()
        name = " ".join(text.split())
        self._regions.append(Region(name or UNCLASSIFIED, area))


def _find_cut_areas(tree: STRtree, areas: Sequence[Area], hole: Area) -> list[int]:
    """Return the indices of the prepared areas that a hole takes something from."""
    near = [int(i) for i in np.sort(tree.query(hole, predicate="intersects"))]
    return [
        index
        for index in near
        if not areas[index].touches(hole) and not areas[index].covered_by(hole)
    ]
