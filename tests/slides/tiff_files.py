"""Tiled TIFF files of every kind that the native reader serves."""

import struct
import zlib

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


def write_sparse(path, size, side, colours):
    """Write a slide of (width, height) px whose tiles are hardly ever stored.

    `colours` are those of the stored tiles, by their numbers, row by row.
    """
    n = -(-size[0] // side) * -(-size[1] // side)
    tiles = {i: zlib.compress(bytes(c) * side**2) for i, c in colours.items()}
    tags = [
        *((256, 4, 1, size[0]), (257, 4, 1, size[1]), (258, 3, 3, "bits")),
        *((259, 3, 1, 8), (262, 3, 1, 2), (277, 3, 1, 3), (282, 5, 1, "mpp")),
        *((284, 3, 1, 1), (296, 3, 1, 3), (322, 4, 1, side), (323, 4, 1, side)),
        *((324, 4, n, "offsets"), (325, 4, n, "counts")),
    ]
    at = 8 + 2 + 12 * len(tags) + 4
    places = {"bits": at, "mpp": at + 6, "offsets": at + 14, "counts": at + 14 + 4 * n}
    at += 14 + 8 * n
    offsets, counts = np.zeros((2, n), "<u4")
    for number, data in tiles.items():
        offsets[number], counts[number] = at, len(data)
        at += len(data)
    entries = b"".join(
        struct.pack("<HHII", *tag, places.get(value, value)) for *tag, value in tags
    )
    # 20,000 pixels a centimetre are 0.5 um each.
    values = struct.pack("<3H2I", 8, 8, 8, 20_000, 1)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values
    path.write_bytes(b"".join((head, offsets, counts, *tiles.values())))
    return path
