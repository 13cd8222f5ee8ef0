"""What people drew on slides: read from every tool, written for QuPath."""

from eosin.annotations.qupath import Feature, write_geojson
from eosin.annotations.reading import read_annotations
from eosin.annotations.regions import Annotations, ClassMap, MappedAnnotations, Region

__all__ = [
    "Annotations",
    "ClassMap",
    "Feature",
    "MappedAnnotations",
    "Region",
    "read_annotations",
    "write_geojson",
]
