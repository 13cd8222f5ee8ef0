"""Aperio ImageScope's XML and its descendant, Indica HALO's `.annotations`."""

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
_OTHER_TYPES = {"3": "arrow"}

# The name of the column that ImageScope itself puts into every layer.
_DEFAULT_ATTRIBUTE = "Description"


def read_imagescope(path: Path, root: Element) -> Annotations:
    """Read ImageScope's layers; negative regions become holes.

    Raises:
        AnnotationError: A coordinate is no number.
    """
    builder = RegionBuilder(path, "imagescope")
    layers = []
    for annotation in root.iter("Annotation"):
        layer = Layer(_find_class(annotation))
        layers.append(layer)
        for index, region in enumerate(annotation.iter("Region"), start=1):
            kind = region.get("Type") or "0"
            if kind not in _AREA_TYPES:
                builder.ignore(_OTHER_TYPES.get(kind, f"shape of type {kind}"))
                continue
            where = f"{path}: layer '{layer.class_name}', region {index}"
            shape = _make_imagescope_shape(kind, region, where)
            is_hole = region.get("NegativeROA") == "1"
            (layer.holes if is_hole else layer.areas).append(shape)
    builder.add_layers(layers)
    return builder.build()


def read_halo(path: Path, root: Element) -> Annotations:
    """Read HALO's layers; negative regions become holes.

    HALO calls every pen line a polygon. One with end caps, or whose ends lie
    far apart, is a line.

    Raises:
        AnnotationError: A coordinate is no number.
    """
    builder = RegionBuilder(path, "halo")
    layers = []
    for annotation in root.iter("Annotation"):
        layer = Layer(annotation.get("Name") or "")
        layers.append(layer)
        for index, region in enumerate(annotation.iter("Region"), start=1):
            where = f"{path}: layer '{layer.class_name}', region {index}"
            shape = _make_halo_shape(region, where)
            if isinstance(shape, str):
                builder.ignore(shape)
                continue
            is_hole = region.get("NegativeROA") == "1"
            (layer.holes if is_hole else layer.areas).append(shape)
    builder.add_layers(layers)
    return builder.build()


def _make_imagescope_shape(kind: str, region: Element, where: str) -> Polygon:
    points = read_corners(region.iter("Vertex"), where)
    # Two to four vertices of an ellipse all give the box around it. With more
    # it was traced already, and so was a "rectangle" drawn with the free hand.
    if kind == "2" and len(points) <= 4:
        return make_ellipse(points)
    if kind == "1" and len(points) == 2:
        return make_box(points)
    return make_polygon(points)


def _make_halo_shape(region: Element, where: str) -> Polygon | str:
    """Return the region's area, or what it is instead of one."""
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


def _find_class(annotation: Element) -> str:
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
