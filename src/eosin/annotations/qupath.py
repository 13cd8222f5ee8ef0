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
import shapely
from shapely import MultiPolygon, Polygon
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from eosin.annotations.regions import Annotations, RegionBuilder
from eosin.annotations.shapes import Area, keep_area
from eosin.core import AnnotationError, Box, atomic_path

_AREA_TYPES = ("Polygon", "MultiPolygon")


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


def read_qupath(path: Path, content: Any, *, bounds: Box | None) -> Annotations:
    """Read parsed GeoJSON: a collection, a bare list, or one feature.

    QuPath's frame starts at the corner of the slide's scanned `bounds`.
    """
    builder = RegionBuilder(path, "qupath")
    offset = (bounds.x_px0, bounds.y_px0) if bounds else (0, 0)
    for index, feature in enumerate(_find_features(path, content)):
        geometry = feature.get("geometry")
        if not geometry:
            builder.ignore("empty")
            continue
        try:
            parsed = shape(_drop_short_rings(geometry))
        except Exception as error:
            raise AnnotationError(
                f"{path}: feature {index + 1} has a geometry that cannot be read "
                f"({error})"
            ) from error
        if offset != (0, 0):
            parsed = shapely.transform(parsed, lambda points: points + offset)
        class_name = _find_class_name(feature.get("properties") or {})
        for part in _flatten(parsed):
            if part.geom_type in _AREA_TYPES:
                builder.add_geometry(class_name, part)
            else:
                builder.ignore(part.geom_type)
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


def _find_features(path: Path, content: Any) -> list[Mapping[str, Any]]:
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    elif isinstance(content, dict) and content.get("type") == "Feature":
        content = [content]
    elif isinstance(content, dict) and {"coordinates", "geometries"} & content.keys():
        content = [{"geometry": content}]
    if not isinstance(content, list) or not all(
        isinstance(feature, dict) and "geometry" in feature for feature in content
    ):
        raise AnnotationError(
            f"{path}: a GeoJSON FeatureCollection, a list of features or one feature "
            "is needed; export from QuPath with File > Export objects as GeoJSON"
        )
    return content


def _drop_short_rings(geometry: Any) -> Any:
    """Leave out rings without three corners: they have no area, and stop shapely."""
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        parts = [_drop_short_rings(part) for part in geometry["geometries"]]
        return {**geometry, "geometries": parts}
    if kind not in _AREA_TYPES:
        return geometry
    polygons = geometry["coordinates"]
    polygons = [polygons] if kind == "Polygon" else polygons
    kept = [
        [ring for ring in rings if len(set(map(tuple, ring))) >= 3]
        for rings in polygons
        if rings and len(set(map(tuple, rings[0]))) >= 3
    ]
    return {"type": "MultiPolygon", "coordinates": kept}


def _find_class_name(properties: Mapping[str, Any]) -> str | None:
    """Find the classification's name, or else the object's own name."""
    classification = properties.get("classification")
    if isinstance(classification, dict):
        name = classification.get("name") or classification.get("names")
        if isinstance(name, list):
            name = ": ".join(map(str, name))
    else:
        name = classification
    return str(name) if name else properties.get("name")


def _flatten(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    if geometry.geom_type == "GeometryCollection":
        for part in shapely.get_parts(np.array([geometry])):
            yield from _flatten(part)
    else:
        yield geometry


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
