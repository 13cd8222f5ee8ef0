"""What people drew on slides: read from every tool, written for QuPath."""

from eosin.annotations.classes import ClassMap, MappedAnnotations
from eosin.annotations.qupath import Feature, write_geojson
from eosin.annotations.reading import read_annotations
from eosin.annotations.regions import Annotations, Region

__all__ = [
    "Annotations",
    "ClassMap",
    "Feature",
    "MappedAnnotations",
    "Region",
    "read_annotations",
    "write_geojson",
]
