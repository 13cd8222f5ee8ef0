"""Where a GeoJSON feature keeps its class: each tool has a place of its own."""

import ast
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

# Places of a class's name among a feature's properties, whatever their case and
# hyphens, one or several: QuPath's, and of other exporters.
_PLACES = (
    *("classification", "pathclass", "class", "classname", "classlabel"),
    *("annotationclass", "label", "labelname", "category", "categoryname", "cls"),
)
# What ends in these is a class too, if it is text (`tissue_type`, `predicted_class`),
# but for what says of which kind an object is.
_ENDINGS = ("class", "label", "category", "type", "diagnosis", "tissue")
_OF_OBJECTS = ("object", "geometry", "shape", "roi", "region", "file", "data", "source")
# Last come TIAToolbox's `type`, and the object's own name.
_LAST_PLACES = ("type", "group", "name")
# Where some writers keep all that they say.
_CONTAINERS = ("attributes", "metadata", "userdata")
# Within a class that is an object.
_INNER_PLACES = ("name", "names", "label", "value", "class")

_SINGULARS = {"labels": "label", "classes": "class", "categories": "category"}

# What says of which kind an object is, and so is no class.
_KINDS = frozenset(
    {
        *("annotation", "feature", "detection", "pathannotationobject", "roi"),
        *("pathdetectionobject", "point", "multipoint", "linestring", "polyline"),
        *("multilinestring", "polygon", "multipolygon", "rectangle", "ellipse"),
        *("geometrycollection", "freehand", "region", "shape"),
    }
)
_NOTHING = frozenset({"", "none", "null", "nan", "<na>"})
# A class is short; a long text is none, and parsing it would take long.
_LONGEST_OBJECT = 10_000


def find_class_name(feature: Mapping[str, Any]) -> str | None:
    """Find the name of a feature's class, or else the object's own name.

    A derived class of several names is joined by `: `, as QuPath shows it. An object
    that was written as text (of JSON, or of Python as geopandas does) is read.
    """
    properties = _parse_text(feature.get("properties") or {})
    if not isinstance(properties, dict):
        raise TypeError(f"they must be an object, got {type(properties).__name__}")
    for place, value in _iter_places(properties):
        name = _name(_parse_text(value))
        if name and not (place == "type" and name.casefold() in _KINDS):
            return name
    # Some writers put members beside the properties. There `type` is GeoJSON's own.
    for place, value in _iter_places(feature):
        if place not in _LAST_PLACES and (name := _name(_parse_text(value))):
            return name
    return None


def _iter_places(members: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what stands in a place of a class's name, the surest first."""
    folded: dict[str, Any] = {}
    inner: list[Mapping[str, Any]] = []
    for key, value in members.items():
        plain = key.casefold().replace("_", "").replace("-", "").replace(" ", "")
        folded.setdefault(_SINGULARS.get(plain, plain), value)
        if plain in _CONTAINERS and isinstance(value, dict):
            inner.append(value)
    yield from ((place, folded[place]) for place in _PLACES if place in folded)
    for place, value in folded.items():
        is_other = place.startswith(_OF_OBJECTS) or place in (*_PLACES, *_LAST_PLACES)
        if place.endswith(_ENDINGS) and isinstance(value, str) and not is_other:
            yield "type", value
    for members_within in inner:
        yield from _iter_places(members_within)
    yield from ((place, folded[place]) for place in _LAST_PLACES if place in folded)


def _parse_text(value: Any) -> Any:
    """Return the object or list that a text spells; anything else as it is."""
    is_object = isinstance(value, str) and value.lstrip()[:1] in ("{", "[")
    if not is_object or len(value) > _LONGEST_OBJECT:
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return value


def _name(value: Any) -> str:
    """Return the name that a class's value holds; empty where it holds none."""
    if isinstance(value, dict):
        inner = (_name(value[place]) for place in _INNER_PLACES if place in value)
        return next((name for name in inner if name), "")
    if isinstance(value, list | tuple):
        return ": ".join(filter(None, map(_name, value)))
    if isinstance(value, float):
        # pandas writes whole numbers beside a missing one with a decimal.
        return f"{value:.15g}" if math.isfinite(value) else ""
    text = "" if value is None else str(value).strip()
    return "" if text.casefold() in _NOTHING else text
