"""Aperio ImageScope's XML and its descendant, Indica HALO's `.annotations`."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from shapely import Polygon

from eosin.annotations.regions import Annotations, Layer, RegionBuilder
from eosin.annotations.shapes import (
    is_closed,
    make_box,
    make_ellipse,
    make_polygon,
    read_corners,
)

_AREA_TYPES = {"0", "1", "2"}

# Columns of ImageScope's lists: what is typed into them may be a class, their names
# are none.
_CLASS_COLUMNS = frozenset(
    {"class", "label", "type", "category", "classification", "diagnosis"}
)
_COLUMNS = _CLASS_COLUMNS | {
    *("", "description", "text", "region", "length", "area", "notes", "comment"),
    *("comments", "name", "attribute"),
}
_NUMBERED = re.compile(r"(?i)(layer|annotations?|regions?|untitled)[ _#-]*\d*")


def read_imagescope(path: Path, root: Element) -> Annotations:
    """Read ImageScope's or HALO's layers; negative regions become holes."""
    # Vertices are called `V` by HALO, `Vertex` by ImageScope.
    is_halo = root.find(".//Vertices/V") is not None or root.find(".//Vertex") is None
    builder = RegionBuilder(path, "halo" if is_halo else "imagescope")
    read_layer = _read_halo_layer if is_halo else _read_imagescope_layer
    layers = [
        layer
        for annotation in root.iter("Annotation")
        for layer in read_layer(builder, annotation, path)
    ]
    builder.add_layers(layers)
    return builder.build()


def _read_halo_layer(
    builder: RegionBuilder, annotation: Element, path: Path
) -> Iterable[Layer]:
    name = annotation.get("Name") or ""
    layer = Layer(name)
    for index, region in enumerate(annotation.iter("Region"), start=1):
        where = f"{path}: layer '{name}', region {index}"
        shape = _make_halo_shape(region, where)
        _add_shape(builder, layer, region, shape)
    return [layer]


def _read_imagescope_layer(
    builder: RegionBuilder, annotation: Element, path: Path
) -> Iterable[Layer]:
    """Read a layer as one for each class in it.

    A hole belongs to the class of the region whose id it gives, or else of the region
    before it.
    """
    of_layer, usual = _find_layer_class(annotation)
    headers = {
        header.get("Id"): header.get("Name")
        for header in annotation.iter("AttributeHeader")
    }
    layers: dict[str, Layer] = {}
    class_by_id: dict[str, str] = {}
    name = of_layer or usual
    for index, region in enumerate(annotation.iter("Region"), start=1):
        where = f"{path}: layer '{of_layer or usual}', region {index}"
        if region.get("NegativeROA") == "1":
            name = class_by_id.get(region.get("InputRegionId") or "0", name)
        else:
            name = of_layer or _find_region_class(region, headers) or usual
            class_by_id[region.get("Id") or "0"] = name
        class_by_id.pop("0", None)
        layer = layers.setdefault(name, Layer(name))
        _add_shape(builder, layer, region, _make_imagescope_shape(region, where))
    return layers.values()


def _add_shape(
    builder: RegionBuilder, layer: Layer, region: Element, shape: Polygon | str
) -> None:
    if isinstance(shape, str):
        builder.ignore(shape)
    else:
        is_hole = region.get("NegativeROA") == "1"
        (layer.holes if is_hole else layer.areas).append(shape)


def _make_imagescope_shape(region: Element, where: str) -> Polygon | str:
    """Return the region's area, or what it is instead of one."""
    kind = region.get("Type") or "0"
    if kind not in _AREA_TYPES:
        return "arrow" if kind == "3" else f"shape of type {kind}"
    points = read_corners(region.iter("Vertex"), where)
    # Two to four vertices of an ellipse all give the box around it. With more
    # it was traced already, and so was a "rectangle" drawn with the free hand.
    if kind == "2" and len(points) <= 4:
        return make_ellipse(points)
    if kind == "1" and len(points) == 2:
        return make_box(points)
    return make_polygon(points)


def _make_halo_shape(region: Element, where: str) -> Polygon | str:
    """Return the region's area, or what it is instead of one.

    HALO calls every pen line a polygon. One with end caps, or whose ends lie
    far apart, is a line.
    """
    kind = (region.get("Type") or "").lower()
    points = read_corners(region.iter("V"), where)
    if kind == "rectangle":
        return make_box(points)
    if kind == "ellipse":
        return make_ellipse(points)
    if kind != "polygon":
        return kind or "shape of no type"
    has_ends = region.get("HasEndcaps") == "1" or not is_closed(points)
    return "line" if has_ends and len(points) >= 3 else make_polygon(points)


def _find_layer_class(annotation: Element) -> tuple[str, str]:
    """Return the layer's class, and the one of regions that say none of their own.

    The first is the layer's name, unless it only numbers layers, or what was typed
    into ImageScope's own column; the second such a name, or that of an attribute.
    """
    name = (annotation.get("Name") or "").strip()
    if name and not _NUMBERED.fullmatch(name):
        return name, name
    attributes = [
        ((each.get("Name") or "").strip(), (each.get("Value") or "").strip())
        for each in annotation.iterfind("./Attributes/Attribute")
    ]
    attributes.sort(key=lambda each: each[0].casefold() not in _CLASS_COLUMNS)
    typed = (v for key, v in attributes if v and key.casefold() in _COLUMNS)
    named = (key for key, _ in attributes if key.casefold() not in _COLUMNS)
    return next(typed, ""), name or next(named, "")


def _find_region_class(region: Element, headers: Mapping[str | None, Any]) -> str:
    """Return a region's attribute that is called like a class, its text, or another.

    `headers` has the names of the attributes, which regions give by their ids.
    """
    values: list[tuple[bool, str]] = [(False, region.get("Text") or "")]
    for attribute in region.findall("./Attributes/Attribute"):
        key = attribute.get("Name")
        name = (headers.get(key) or key or "").strip().casefold()
        values.append((name in _CLASS_COLUMNS, attribute.get("Value") or ""))
    values.sort(key=lambda value: not value[0])
    return next((text for _, value in values if (text := value.strip())), "")
