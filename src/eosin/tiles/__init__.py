"""Tiles: where they lie, what they show, and how their pixels are read."""

from eosin.tiles.appearance import APPEARANCE, hash_tiles, measure_appearance
from eosin.tiles.grid import TileSpec, find_boxes, place_tiles
from eosin.tiles.labels import label_tiles
from eosin.tiles.manifest import (
    ManifestInfo,
    manifest_schema,
    read_manifest,
    write_manifest,
)
from eosin.tiles.patches import Patch, PatchReader, fit_patch
from eosin.tiles.quality import find_artefacts, find_pen, measure_sharpness
from eosin.tiles.reading import DAMAGED, TileReader, measure_tiles
from eosin.tiles.stain import StainJitter, measure_density, unmix_density
from eosin.tiles.tissue import (
    OpticalDensityTissue,
    OtsuTissue,
    TissueMap,
    TissueMethod,
    find_tissue,
)
from eosin.tiles.views import N_VIEWS, apply_view, undo_view

__all__ = [
    "APPEARANCE",
    "DAMAGED",
    "N_VIEWS",
    "ManifestInfo",
    "OpticalDensityTissue",
    "OtsuTissue",
    "Patch",
    "PatchReader",
    "StainJitter",
    "TileReader",
    "TileSpec",
    "TissueMap",
    "TissueMethod",
    "apply_view",
    "find_artefacts",
    "find_boxes",
    "find_pen",
    "find_tissue",
    "fit_patch",
    "hash_tiles",
    "label_tiles",
    "manifest_schema",
    "measure_appearance",
    "measure_density",
    "measure_sharpness",
    "measure_tiles",
    "place_tiles",
    "read_manifest",
    "undo_view",
    "unmix_density",
    "write_manifest",
]
