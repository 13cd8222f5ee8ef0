"""ASAP's XML, as CAMELYON's lesions are published."""

import re
from pathlib import Path
from xml.etree.ElementTree import Element

from eosin.annotations.regions import Annotations, RegionBuilder
from eosin.annotations.shapes import (
    make_box,
    make_polygon,
    parse_number,
    read_corners,
)

# A spline is taken by its control points, as ASAP's own masks do.
_AREA_TYPES = {"polygon", "spline", "rectangle"}
_DEFAULT_NAME = re.compile(r"Annotation \d+")


def read_asap(path: Path, root: Element) -> Annotations:
    """Read all annotations below `ASAP_Annotations`."""
    builder = RegionBuilder(path, "asap")
    for index, annotation in enumerate(root.iter("Annotation"), start=1):
        kind = (annotation.get("Type") or "").lower()
        if kind not in _AREA_TYPES:
            builder.ignore(kind or "shape of no type")
            continue
        where = f"{path}: annotation {index}"
        corners = sorted(
            annotation.iter("Coordinate"),
            key=lambda each: parse_number(each.get("Order", "0"), f"{where}: Order"),
        )
        points = read_corners(corners, where)
        is_diagonal = kind == "rectangle" and len(points) == 2
        geometry = make_box(points) if is_diagonal else make_polygon(points)
        builder.add_geometry(_find_class(annotation), geometry, where)
    return builder.build()


def _find_class(annotation: Element) -> str | None:
    """Return the group; else the own name, unless it is ASAP's `Annotation 3`."""
    group = annotation.get("PartOfGroup") or ""
    if group and group.casefold() != "none":
        return group
    name = annotation.get("Name") or ""
    return None if _DEFAULT_NAME.fullmatch(name) else name
