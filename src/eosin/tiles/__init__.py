"""Tiles: where they lie, what they show, and how their pixels are read."""

from eosin.tiles.appearance import APPEARANCE, hash_tiles, measure_appearance
from eosin.tiles.folder import (
    CLASS_SPELLING,
    FINGERPRINT,
    TileFolder,
    open_tile_folder,
    read_class_spelling,
    read_slides,
    read_tile_settings,
)
from eosin.tiles.grid import find_boxes, place_tiles
from eosin.tiles.labels import describe_fit, label_tiles
from eosin.tiles.manifest import (
    TILE_SCHEMA,
    ManifestInfo,
    read_manifest,
    write_manifest,
)
from eosin.tiles.packing import pack_tiles
from eosin.tiles.patches import Patch, PatchReader, fit_patch
from eosin.tiles.quality import MEASURES, measure_plainly, measure_sharpness
from eosin.tiles.reading import DAMAGED, TileReader, measure_tiles
from eosin.tiles.stain import StainJitter
from eosin.tiles.tissue import (
    OpticalDensityTissue,
    OtsuTissue,
    TissueMap,
    find_tissue,
    find_tissue_method,
)
from eosin.tiles.views import N_VIEWS, apply_view

__all__ = [
    "APPEARANCE",
    "CLASS_SPELLING",
    "DAMAGED",
    "FINGERPRINT",
    "MEASURES",
    "N_VIEWS",
    "TILE_SCHEMA",
    "ManifestInfo",
    "OpticalDensityTissue",
    "OtsuTissue",
    "Patch",
    "PatchReader",
    "StainJitter",
    "TileFolder",
    "TileReader",
    "TissueMap",
    "apply_view",
    "describe_fit",
    "find_boxes",
    "find_tissue",
    "find_tissue_method",
    "fit_patch",
    "hash_tiles",
    "label_tiles",
    "measure_appearance",
    "measure_plainly",
    "measure_sharpness",
    "measure_tiles",
    "open_tile_folder",
    "pack_tiles",
    "place_tiles",
    "read_class_spelling",
    "read_manifest",
    "read_slides",
    "read_tile_settings",
    "write_manifest",
]
