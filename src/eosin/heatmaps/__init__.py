"""Heatmaps: tile values as rasters, outlines and pictures."""

from eosin.heatmaps.canvas import SlidePicture, picture_slide
from eosin.heatmaps.colours import CLASS_COLOURS, colourise, find_strength
from eosin.heatmaps.galleries import (
    Gallery,
    GalleryMaker,
    GalleryTile,
    choose_mark,
    draw_sheet,
    embed_thumbnail,
)
from eosin.heatmaps.overlays import OverlayWords, draw_overlay, draw_overview
from eosin.heatmaps.rasters import Heatmap, rasterise_tiles
from eosin.heatmaps.regions import PredictedRegion, find_regions
from eosin.heatmaps.writing import write_heatmap, write_heatmap_picture, write_image

__all__ = [
    "CLASS_COLOURS",
    "Gallery",
    "GalleryMaker",
    "GalleryTile",
    "Heatmap",
    "OverlayWords",
    "PredictedRegion",
    "SlidePicture",
    "choose_mark",
    "colourise",
    "draw_overlay",
    "draw_overview",
    "draw_sheet",
    "embed_thumbnail",
    "find_regions",
    "find_strength",
    "picture_slide",
    "rasterise_tiles",
    "write_heatmap",
    "write_heatmap_picture",
    "write_image",
]
