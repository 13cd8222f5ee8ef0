"""Slides: one face for every file that can be read like one."""

from eosin.slides.byte_sources import is_remote
from eosin.slides.dicom_header import find_series
from eosin.slides.level_shapes import find_odd_levels
from eosin.slides.opening import (
    fingerprint_slide,
    is_at_hand,
    open_slide,
    require_unchanged,
)
from eosin.slides.pack_reader import (
    PACK_SUFFIX,
    list_packed,
    name_packed,
    read_descriptions,
    read_origin,
    split_packed,
)
from eosin.slides.pack_writing import PackWriter, describe_slide, find_cells
from eosin.slides.phantom import Artefact, Phantom, make_phantom
from eosin.slides.pyramid_writing import write_pyramid
from eosin.slides.resolution import Resolution, is_plausible_mpp, resolve_mpp
from eosin.slides.slide import DamagedTileError, Level, Slide
from eosin.slides.tiled_reader import TiledSlide

__all__ = [
    "PACK_SUFFIX",
    "Artefact",
    "DamagedTileError",
    "Level",
    "PackWriter",
    "Phantom",
    "Resolution",
    "Slide",
    "TiledSlide",
    "describe_slide",
    "find_cells",
    "find_odd_levels",
    "find_series",
    "fingerprint_slide",
    "is_at_hand",
    "is_plausible_mpp",
    "is_remote",
    "list_packed",
    "make_phantom",
    "name_packed",
    "open_slide",
    "read_descriptions",
    "read_origin",
    "require_unchanged",
    "resolve_mpp",
    "split_packed",
    "write_pyramid",
]
