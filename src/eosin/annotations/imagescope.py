"""Aperio ImageScope's XML and its descendant, Indica HALO's `.annotations`."""

from collections.abc import Callable
from pathlib import Path
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

# The name of the column that ImageScope itself puts into every layer.
_DEFAULT_ATTRIBUTE = "Description"


def read_imagescope(path: Path, root: Element) -> Annotations:
    """Read ImageScope's or HALO's layers; negative regions become holes."""
    # Vertices are called `V` by HALO, `Vertex` by ImageScope.
    is_halo = root.find(".//Vertices/V") is not None or root.find(".//Vertex") is None
    builder = RegionBuilder(path, "halo" if is_halo else "imagescope")
    find_class = _find_halo_class if is_halo else _find_imagescope_class
    make_shape = _make_halo_shape if is_halo else _make_imagescope_shape
    layers = [
        _read_layer(builder, annotation, find_class(annotation), make_shape, path)
        for annotation in root.iter("Annotation")
    ]
    builder.add_layers(layers)
    return builder.build()


def _read_layer(
    builder: RegionBuilder,
    annotation: Element,
    class_name: str,
    make_shape: Callable[[Element, str], Polygon | str],
    path: Path,
) -> Layer:
    layer = Layer(class_name)
    for index, region in enumerate(annotation.iter("Region"), start=1):
        shape = make_shape(region, f"{path}: layer '{class_name}', region {index}")
        if isinstance(shape, str):
            builder.ignore(shape)
            continue
        is_hole = region.get("NegativeROA") == "1"
        (layer.holes if is_hole else layer.areas).append(shape)
    return layer


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


def _find_halo_class(annotation: Element) -> str:
    return annotation.get("Name") or ""


def _find_imagescope_class(annotation: Element) -> str:
    """Return the layer's name; else its attribute's name.

    Where that is only ImageScope's own `Description`, what was typed there goes
    before it.
    """
    name = (annotation.get("Name") or "").strip()
    attribute = annotation.find("./Attributes/Attribute")
    if name or attribute is None:
        return name
    attribute_name = (attribute.get("Name") or "").strip()
    value = (attribute.get("Value") or "").strip()
    is_default = attribute_name in {"", _DEFAULT_ATTRIBUTE}
    return value if is_default and value else attribute_name
