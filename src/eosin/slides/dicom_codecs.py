"""How the frames of a DICOM image become pixels: what its header says, and they.

Sources: DICOM PS3.5, section 8.2 (native and encapsulated pixels), and ISO/IEC
15444-1, annex A (markers of a JPEG 2000 codestream).
"""

from collections.abc import Mapping
from typing import Literal

from eosin.core import SlideError
from eosin.slides.byte_sources import ByteSource
from eosin.slides.dicom_frames import Frames
from eosin.slides.dicom_header import JPEG_SYNTAX, PLAIN_SYNTAX, DICOMHeader
from eosin.slides.tile_codecs import (
    JPEG2000Tiles,
    JPEGTiles,
    PlainTiles,
    TileCodec,
    is_evenly_sampled,
    transforms_colour,
)

_PLAIN = (("RGB", 3), ("MONOCHROME2", 1))

# Converters that encode anew leave RGB in the header and write JFIF, which is YCbCr;
# those that copy RGB tiles write no such marker.
_JPEG_COLOURS: Mapping[tuple[str, int], Literal["ycbcr", "rgb", "grey", "marked"]] = {
    ("YBR_FULL_422", 3): "ycbcr",
    ("YBR_FULL", 3): "ycbcr",
    ("RGB", 3): "marked",
    ("MONOCHROME2", 1): "grey",
}

# What components are that a codestream does not turn into RGB itself. YBR_ICT says
# that it would; files made from Aperio's compression 33003 say so wrongly.
_JPEG_2000_COLOURS: Mapping[str, Literal["ycbcr", "rgb"]] = {
    "RGB": "rgb",
    "YBR_FULL": "ycbcr",
    "YBR_FULL_422": "ycbcr",
    "YBR_ICT": "ycbcr",
}


def find_codec(header: DICOMHeader, source: ByteSource, frames: Frames) -> TileCodec:
    """Find the codec of an image, by its first file and where the frames lie in it."""
    kind = (header.photometric, header.n_samples)
    if header.syntax == PLAIN_SYNTAX:
        if kind in _PLAIN:
            return PlainTiles("none", header.n_samples)
    elif header.syntax == JPEG_SYNTAX:
        if kind in _JPEG_COLOURS:
            return JPEGTiles(None, _JPEG_COLOURS[kind])
    elif header.n_samples == 3 and (start := _find_codestream(source, frames)):
        if not is_evenly_sampled(start):
            raise SlideError(
                f"{header.path.name}: JPEG 2000 must have three 8-bit components of "
                "one size, this one has others; convert the slide"
            )
        # What the codestream turns into RGB comes out as RGB, whatever it is called.
        if transforms_colour(start):
            return JPEG2000Tiles("rgb")
        if header.photometric in _JPEG_2000_COLOURS:
            return JPEG2000Tiles(_JPEG_2000_COLOURS[header.photometric])
    raise SlideError(
        f"{header.path.name}: pixels of {header.n_samples} components that are called "
        f"{header.photometric} are not read in this packing; convert the slide"
    )


def _find_codestream(source: ByteSource, frames: Frames) -> bytes:
    """Find the start of a JPEG 2000 codestream; empty where there is none."""
    for offset in frames.offsets[:16].tolist():
        start = source.read(offset + 8, 512) if offset < source.size else b""
        if start.startswith(b"\xff\x4f\xff\x51"):
            return start
    return b""
