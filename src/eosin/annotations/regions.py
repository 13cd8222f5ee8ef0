"""Named regions of a slide, and how their names become a study's classes."""

import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import shapely
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from eosin.annotations.shapes import (
    Area,
    keep_area,
    make_polygon,
    parse_number,
    repair_area,
)
from eosin.core import ConfigError, find_nearest
from eosin.settings import put_negative_first

# What a region is called that the file gives no class. `--classes` may name it.
UNCLASSIFIED = "Unclassified"

# The reserved class of areas that nothing is learnt from, and its usual names:
# CAMELYON's third group, and QuPath's ignored classes, which end in a star.
EXCLUDE = "exclude"
_EXCLUDE_NAMES = ("_2", "exclusion", "exclude", "ignore", "ignore*")

_EXAMPLE = "normal=Normal tumor=Tumor,metastasis"


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
        self._n_repaired = 0
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

    def add_geometry(self, class_name: str | None, geometry: BaseGeometry) -> None:
        """Take one region, repaired if it must be; count it if it is empty."""
        area = self._repair(geometry)
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
            for area in map(self._repair, layer.areas)
            if not area.is_empty
        ]
        owners, areas = [o for o, _ in owned], [area for _, area in owned]
        cuts: dict[int, list[Area]] = {}
        tree = STRtree(areas)
        for layer in layers:
            for hole in map(self._repair, layer.holes):
                if hole.is_empty:
                    continue
                touched = _find_cut_areas(tree, areas, hole)
                own = [index for index in touched if owners[index] is layer]
                for index in own or touched:
                    cuts.setdefault(index, []).append(hole)
                if not touched:
                    self.ignore("hole outside every region")
        for index, (layer, area) in enumerate(owned):
            rest = keep_area(area.difference(shapely.union_all(cuts.get(index, []))))
            if rest.is_empty:
                self.ignore("region cut away by its holes")
            else:
                self._append(layer.class_name, rest)

    def _repair(self, geometry: BaseGeometry) -> Area:
        area, was_repaired = repair_area(geometry)
        if area.is_empty:
            self.ignore("empty")
        else:
            self._n_repaired += was_repaired
        return area

    def _append(self, class_name: str | None, area: Area) -> None:
        # JSON may give a number as a name.
        name = " ".join(str(class_name or "").split())
        self._regions.append(Region(name or UNCLASSIFIED, area))


def _find_cut_areas(tree: STRtree, areas: Sequence[Area], hole: Area) -> list[int]:
    """Return the indices of the areas that a hole takes something from."""
    return sorted(
        int(index)
        for index in tree.query(hole, predicate="intersects")
        if not hole.covers(areas[index]) and hole.intersection(areas[index]).area > 0
    )


@dataclass(frozen=True)
class MappedAnnotations:
    """A slide's regions by the study's classes.

    Attributes:
        areas: The area of every class, empty where it has none, without `exclude`.
            Overlaps between classes are left as they are.
        exclude: What nothing is to be learnt from.
        unknown: Names that no class takes, as spelled, with the number of regions.
    """

    areas: dict[str, Area]
    exclude: Area
    unknown: Counter[str]


@dataclass(frozen=True)
class ClassMap:
    """Which names in annotation files belong to which class.

    Attributes:
        class_names: The classes, the negative one first, so that a class's place
            is its label.
        names: The class, or `exclude`, of each name in files, by its folded name.
    """

    class_names: tuple[str, ...]
    names: Mapping[str, str]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Read `--classes`, such as `normal=Normal` and `tumor=Tumor,metastasis`.

        A class is also found under its own name. Case and extra spaces do not
        matter. The negative class is the first, or the one called normal, benign or
        the like.

        Raises:
            ConfigError: An entry is empty or has another form, a class or a name
                stands twice, or there are fewer than two classes.
        """
        classes: dict[str, list[str]] = {}
        for text in texts:
            class_name, names = _split_entry(text)
            if not class_name or _fold(class_name) in map(_fold, classes):
                raise ConfigError(
                    f"classes: each entry needs a class name of its own, such as "
                    f"--classes {_EXAMPLE}; got '{text}'"
                )
            classes[class_name] = names
        excluded = next((name for name in classes if _fold(name) == EXCLUDE), None)
        exclude_names = classes.pop(excluded) if excluded else list(_EXCLUDE_NAMES)
        if len(classes) < 2:
            raise ConfigError(
                f"classes: needs two classes or more, the negative one too, with a "
                f"space between them, such as --classes {_EXAMPLE}; got "
                f"{', '.join(repr(text) for text in texts) or 'none'}"
            )
        taken: dict[str, str] = {}
        for class_name, file_names in classes.items():
            for name in file_names:
                if taken.setdefault(_fold(name), class_name) != class_name:
                    raise ConfigError(
                        f"classes: '{name.strip()}' stands under both "
                        f"{taken[_fold(name)]} and {class_name}; one must give it up"
                    )
        # Own names and defaults come last: what somebody wrote goes before them.
        for class_name in classes:
            taken.setdefault(_fold(class_name), class_name)
        for name in (*exclude_names, EXCLUDE):
            taken.setdefault(_fold(name), EXCLUDE)
        return cls(put_negative_first(classes), taken)

    @property
    def negative(self) -> str:
        """The negative class."""
        return self.class_names[0]

    def find(self, name: str) -> str | None:
        """Return the class, or `exclude`, that takes a name; None if none does."""
        return self.names.get(_fold(name))

    def apply(self, annotations: Annotations) -> MappedAnnotations:
        """Sort regions into classes and join each class's into one area."""
        parts: dict[str, list[Area]] = {name: [] for name in self.class_names}
        parts[EXCLUDE] = []
        holes: dict[str, list[Area]] = {name: [] for name in parts}
        unknown: Counter[str] = Counter()
        for region in annotations.regions:
            class_name = self.find(region.class_name)
            if class_name is None:
                unknown[region.class_name] += 1
            else:
                (holes if region.is_hole else parts)[class_name].append(region.geometry)
        joined = {
            name: keep_area(shapely.union_all(areas) - shapely.union_all(holes[name]))
            for name, areas in parts.items()
        }
        exclude = joined.pop(EXCLUDE)
        areas = {name: keep_area(area - exclude) for name, area in joined.items()}
        return MappedAnnotations(areas, exclude, unknown)

    def describe_names(self, found: Mapping[str, int]) -> tuple[str, ...]:
        """Say which classes no annotation has, and which names no class takes.

        The negative class may be what nobody outlined; of it this is said only where
        an annotation has a name like it. `found` counts regions by their name, of all
        slides together. Each sentence has what may have been meant, and the option.
        """
        free = {n: count for n, count in found.items() if self.find(n) is None}
        taken = {self.find(name) for name in found}
        sentences = []
        for class_name in self.class_names:
            own = [name for name, owner in self.names.items() if owner == class_name]
            close = (find_nearest(name, free) for name in own)
            nearest = next((name for name in close if name), None)
            is_expected = class_name != self.negative or nearest is not None
            if found and class_name not in taken and is_expected:
                sentences.append(_say_unfound(class_name, own, nearest, found))
                free.pop(nearest or "", None)
        return (*sentences, *self._describe_unknown(free))

    def _describe_unknown(self, unknown: Mapping[str, int]) -> Iterator[str]:
        for name, count in sorted(unknown.items()):
            nearest = find_nearest(name, self.names)
            own = self.names[nearest] if nearest else self.class_names[1]
            hint = f"; is {own} meant ('{nearest}')?" if nearest else "."
            yield (
                f"Annotation class '{name}' ({_count_regions(count)}) belongs to no "
                f"class{hint} Add it, such as --classes "
                f"{shlex.quote(f'{own}={name}')}, or leave it out on purpose by "
                f"--classes {shlex.quote(f'{EXCLUDE}={name}')}."
            )


def _say_unfound(
    class_name: str, own: Sequence[str], nearest: str | None, found: Mapping[str, int]
) -> str:
    names = ", ".join(f"{name} ({_count_regions(n)})" for name, n in found.items())
    meant = shlex.quote(f"{class_name}={nearest or 'NAME'}")
    return (
        f"No annotation is of class '{class_name}' (by the name {' or '.join(own)}); "
        f"the annotations hold {names}; "
        + (
            f"is --classes {meant} meant?"
            if nearest
            else f"name it by --classes {meant}"
        )
    )


def _split_entry(text: str) -> tuple[str, list[str]]:
    """Read `class=name,name`."""
    class_name, equals, names = text.partition("=")
    if not equals and any(mark in text for mark in ":;,"):
        raise ConfigError(
            "classes: each entry has the form class=name,another name, with the names "
            f"as in the annotations, such as --classes {_EXAMPLE}; got '{text}'"
        )
    return " ".join(class_name.split()), [n for n in names.split(",") if n.strip()]


def _count_regions(n_regions: int) -> str:
    return f"{n_regions:,} region" if n_regions == 1 else f"{n_regions:,} regions"


def _fold(name: str) -> str:
    """Bring a name to the form in which spellings of it are the same."""
    return " ".join(unicodedata.normalize("NFC", name).split()).casefold()
