"""QuPath's GeoJSON, read in all its dialects and written in the current one.

QuPath counts pixels from the corner of the scanned bounds (`openslide.bounds-x`
and `-y`) where a file has them; eosin counts from the corner of the full scan.
"""

import gzip
import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Polygon
from shapely.geometry import mapping
from shapely.geometry.polygon import orient

from eosin.annotations.properties import find_class_name
from eosin.annotations.regions import Annotations, RegionBuilder
from eosin.annotations.shapes import Area, keep_area
from eosin.core import AnnotationError, Box, atomic_path, raising

_AREA_TYPES = ("Polygon", "MultiPolygon")
_OTHER_TYPES = ("Point", "MultiPoint", "LineString", "MultiLineString")
_NO_RING = np.empty((0, 2))
_NO_GEOJSON = (
    "{}: a GeoJSON FeatureCollection, a list of features or one feature is needed; "
    "export from QuPath with File > Export objects as GeoJSON"
)


@dataclass(frozen=True)
class Feature:
    """One object for QuPath.

    Attributes:
        geometry: Its area in the level-0 frame.
        class_name: Its classification; None leaves it without.
        colour: Red, green and blue of the class, 0 to 255.
        object_type: `annotation`, `detection` or `tile`.
        name: What QuPath shows as its name.
        measurements: Values by name.
        is_locked: Whether QuPath protects it from being moved.
    """

    geometry: Area
    class_name: str | None = None
    colour: tuple[int, int, int] = (200, 0, 0)
    object_type: str = "annotation"
    name: str | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)
    is_locked: bool = False


def read_qupath(
    path: Path, documents: Sequence[Any], *, bounds: Box | None
) -> Annotations:
    """Read parsed GeoJSON: collections, bare lists, features or geometries.

    QuPath's frame starts at the corner of the slide's scanned `bounds`.
    """
    builder = RegionBuilder(path, "qupath")
    offset = (bounds.x_px0, bounds.y_px0) if bounds else (0, 0)
    for index, feature in enumerate(_iter_features(path, documents), start=1):
        where = f"{path}: feature {index}"
        geometry = feature.get("geometry")
        if not geometry:
            builder.ignore("feature without geometry")
            continue
        with raising(AnnotationError, f"{where} has properties that cannot be read"):
            class_name = find_class_name(feature)
        with raising(AnnotationError, f"{where} has a geometry that cannot be read"):
            for kind, coordinates in _iter_parts(geometry):
                if kind in _AREA_TYPES:
                    area = _make_area(kind, coordinates, offset)
                    builder.add_geometry(class_name, area, where)
                else:
                    builder.ignore(kind)
    return builder.build()


def write_geojson(
    path: Path, features: Sequence[Feature], *, slide_bounds: Box | None = None
) -> None:
    """Write objects as a FeatureCollection that QuPath opens.

    Objects without an area are left out, and so are measurements that are not finite:
    neither has a place in GeoJSON.

    Args:
        path: Where to write; a name ending in `.gz` is compressed.
        features: The objects, in the level-0 frame.
        slide_bounds: The slide's scanned bounds, whose corner is QuPath's origin.

    Raises:
        AnnotationError: A corner of an object is not finite.
        RunError: The file cannot be written.
    """
    path = Path(path)
    offset = (slide_bounds.x_px0, slide_bounds.y_px0) if slide_bounds else (0, 0)
    objects = []
    for index, feature in enumerate(features):
        if not np.isfinite(shapely.get_coordinates(feature.geometry)).all():
            raise AnnotationError(
                f"{path}: object {index + 1} ({feature.class_name}) has a corner that "
                "is not finite; it has no place on a slide"
            )
        objects.append(_to_json(feature, offset, index))
    collection = {"type": "FeatureCollection", "features": list(filter(None, objects))}
    text = json.dumps(collection, separators=(",", ":"), allow_nan=False)
    with atomic_path(path) as temporary:
        if path.suffix == ".gz":
            temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
        else:
            temporary.write_text(text, encoding="utf-8")


def _iter_features(path: Path, documents: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield features in their order, out of collections and lists of any depth."""
    waiting = list(reversed(documents))
    while waiting:
        content = waiting.pop()
        found = content.get("features") if isinstance(content, dict) else content
        if isinstance(found, list):
            waiting.extend(reversed(found))
        elif not isinstance(content, dict):
            raise AnnotationError(_NO_GEOJSON.format(path))
        elif "geometry" in content or content.get("type") == "Feature":
            yield content
        elif {"coordinates", "geometries"} & content.keys():
            yield {"geometry": content}
        else:
            raise AnnotationError(_NO_GEOJSON.format(path))


def _iter_parts(geometry: Any) -> Iterator[tuple[str, Any]]:
    """Yield kind and coordinates of a geometry's parts, in collections of any depth."""
    waiting = [geometry]
    while waiting:
        part = waiting.pop()
        kind = part["type"]
        if kind == "GeometryCollection":
            waiting.extend(reversed(part["geometries"]))
        elif kind in _AREA_TYPES or kind in _OTHER_TYPES:
            yield kind, part["coordinates"]
        else:
            raise ValueError(f"its type is '{kind}'")


def _make_area(kind: str, coordinates: Any, offset: tuple[int, int]) -> Area:
    """Return the polygons, without rings that have no area for want of corners."""
    polygons = [coordinates] if kind == "Polygon" else coordinates
    areas = []
    for rings in polygons:
        shell, *holes = [_read_ring(ring) + offset for ring in rings] or [_NO_RING]
        if _has_corners(shell):
            areas.append(Polygon(shell, [hole for hole in holes if _has_corners(hole)]))
    return areas[0] if len(areas) == 1 else MultiPolygon(areas)


def _read_ring(ring: Any) -> npt.NDArray[np.float64]:
    """Read a ring's corners, `(corners, 2)`; a third number is a height."""
    if not ring:
        return _NO_RING
    if any(isinstance(number, str) for corner in ring for number in corner):
        raise TypeError("a corner is text; numbers are needed")
    corners = np.array([corner[:2] for corner in ring], float)
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        raise ValueError("each corner must be two finite numbers")
    return corners


def _has_corners(ring: npt.NDArray[np.float64]) -> bool:
    """Whether a ring has three different corners."""
    others = ring[(ring != ring[:1]).any(axis=1)]
    return bool((others != others[:1]).any())


def _to_json(
    feature: Feature, offset: tuple[int, int], index: int
) -> dict[str, Any] | None:
    """Describe an object as GeoJSON; None where it has no area."""
    geometry: Area = feature.geometry
    if offset != (0, 0):
        geometry = shapely.transform(geometry, lambda points: points - offset)
    if not geometry.is_valid:
        geometry = keep_area(shapely.make_valid(geometry))
    if not geometry.area > 0:
        return None
    properties: dict[str, Any] = {
        "objectType": feature.object_type,
        "isLocked": feature.is_locked,
    }
    if feature.name is not None:
        properties["name"] = feature.name
    if feature.class_name is not None:
        properties["classification"] = {
            "name": feature.class_name,
            "color": list(feature.colour),
        }
    measured = {
        name: value if isinstance(value, int) else float(value)
        for name, value in feature.measurements.items()
        if math.isfinite(value)
    }
    if measured:
        properties["measurements"] = measured
    return {
        "type": "Feature",
        "id": _make_id(feature, geometry, index),
        "geometry": mapping(_orient(geometry)),
        "properties": properties,
    }


def _make_id(feature: Feature, geometry: Area, index: int) -> str:
    """Make a UUID from what the object is, so that the same work gives one file."""
    content = f"{index} {feature.object_type} {feature.class_name} {geometry.wkt}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, content))


def _orient(geometry: Area) -> Area:
    """Turn outlines anticlockwise and holes clockwise (RFC 7946, 3.1.6)."""
    if isinstance(geometry, Polygon):
        return orient(geometry)
    return MultiPolygon([orient(part) for part in geometry.geoms])
