"""Tiled TIFF files of every kind that the native reader serves."""

import numpy as np
import tifffile
from tests.slides.pixels import (
    cut_tiles,
    encode_j2k,
    encode_jpeg,
    encode_rgb_jpeg,
    encode_ycbcr_j2k,
    paint,
    shrink,
)

_JPEG = {"photometric": "ycbcr", "compression": 7, "subsampling": (2, 2)}
# Without it tifffile would tag the tiles as YCbCr.
_JPEG_RGB = {
    "photometric": "rgb",
    "compression": 7,
    "compressionargs": {"outcolorspace": "rgb"},
}
# What TIFF says of the tiles, and what encodes them.
TIFF_KINDS = {
    "svs-jpeg": (_JPEG, encode_jpeg),
    "jpeg": (_JPEG, encode_jpeg),
    "bigtiff": (_JPEG, encode_jpeg),
    "svs-rgb": (_JPEG_RGB, encode_rgb_jpeg),
    "svs-33003": ({"photometric": "ycbcr", "compression": 33003}, encode_ycbcr_j2k),
    "svs-33005": ({"photometric": "rgb", "compression": 33005}, encode_j2k),
    "none": ({"photometric": "rgb"}, None),
    "deflate": ({"photometric": "rgb", "compression": "deflate"}, None),
    "lzw": ({"photometric": "rgb", "compression": "lzw", "predictor": True}, None),
}
_APERIO = "Aperio Image Library v1\n900x700|AppMag = 20|MPP = 0.5|Left = 1"


def write_tiled(path, kind, *, size=(700, 900), side=256, sparse=()):
    """Write a slide of two levels (factor 4) of one kind."""
    options, encode = TIFF_KINDS[kind]
    is_aperio = kind.startswith("svs")
    image = paint(*size)
    with tifffile.TiffWriter(path, bigtiff=kind == "bigtiff") as file:
        for level, pixels in enumerate((image, shrink(image))):
            tiles = [] if encode is None else cut_tiles(pixels, side)
            encoded = [
                b"" if (level, number) in sparse else encode(tile)
                for number, tile in enumerate(tiles)
            ]
            file.write(
                iter(encoded) if encoded else pixels,
                shape=pixels.shape,
                dtype=np.uint8,
                tile=(side, side),
                description=_APERIO if is_aperio else None,
                subfiletype=1 if level and not is_aperio else 0,
                resolution=(20_000, 20_000),
                resolutionunit="CENTIMETER",
                metadata=None,
                **options,
            )
            if is_aperio and level == 0:
                file.write(
                    paint(60, 80),
                    photometric="rgb",
                    description="Aperio\n80x60 of it",
                    metadata=None,
                )
    return path
