"""What people drew on slides: read from every tool, written for QuPath."""

from eosin.annotations.qupath import Feature, write_geojson
from eosin.annotations.reading import read_annotations
from eosin.annotations.regions import (
    Annotations,
    Area,
    ClassMap,
    MappedAnnotations,
    Region,
    keep_area,
)

__all__ = [
    "Annotations",
    "Area",
    "ClassMap",
    "Feature",
    "MappedAnnotations",
    "Region",
    "keep_area",
    "read_annotations",
    "write_geojson",
]
