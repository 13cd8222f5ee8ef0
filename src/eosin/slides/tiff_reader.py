"""Tiled TIFF slides read natively: Aperio SVS, generic tiled TIFF, OME-TIFF.

Sources: TIFF 6.0 (sections 15 and 22), and libtiff's and tifffile's numbers of codecs.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile

from eosin.core import SlideError, raising
from eosin.slides.bounds import MOST_PICTURE_PIXELS
from eosin.slides.byte_sources import ByteSource, LocalFile, RemoteFile, is_remote
from eosin.slides.image_reader import as_rgb
from eosin.slides.level_shapes import Size
from eosin.slides.resolution import resolve_mpp
from eosin.slides.tiff_pages import TIFFContent, is_mistagged, read_content
from eosin.slides.tile_codecs import (
    CODESTREAM_START,
    ImageTiles,
    JPEG2000Tiles,
    JPEGTiles,
    Pixels,
    PlainTiles,
    TileCodec,
    is_evenly_sampled,
    transforms_colour,
)
from eosin.slides.tiled_reader import TiledSlide, TileGrid, TileIndex, check_grid

_PLAIN: Mapping[str, Literal["none", "deflate", "lzw", "zstd", "lzma", "packbits"]] = {
    "NONE": "none",
    "ADOBE_DEFLATE": "deflate",
    "DEFLATE": "deflate",
    "LZW": "lzw",
    "ZSTD": "zstd",
    "ZSTD_DEPRECATED": "zstd",
    "LZMA": "lzma",
    "PACKBITS": "packbits",
}
# JPEG XR is not among them: its decoder takes half a tile for a whole one.
_IMAGES: Mapping[str, Literal["png", "webp", "jpegxl", "jpeg2k"]] = {
    "PNG": "png",
    "WEBP": "webp",
    "WEBP_DEPRECATED": "webp",
    "JPEGXL": "jpegxl",
    "JPEGXL_DNG": "jpegxl",
    "JPEG2000": "jpeg2k",
}
_JPEG_COLOURS: Mapping[tuple[str, int], Literal["ycbcr", "marked", "grey"]] = {
    ("YCBCR", 3): "ycbcr",
    # Converters leave JFIF tiles, which are YCbCr, under the photometric RGB. What
    # libjpeg writes of RGB components, as libtiff and Aperio do, has no such mark.
    ("RGB", 3): "marked",
    ("MINISBLACK", 1): "grey",
}
_CODESTREAMS = {"APERIO_JP2000_YCBC", "APERIO_JP2000_RGB", "JPEG2000"}


class NotTiledError(SlideError):
    """A TIFF that must be read in another way than tile by tile."""


class PlanesError(NotTiledError):
    """A TIFF of planes or deep pixels, of which OpenSlide would show one as grey."""


class TIFFSlide(TiledSlide):
    """A slide of the tiled TIFF family, local or behind a URL that fsspec knows.

    Where another reader must serve it, it raises `NotTiledError`.
    """

    reader = "native"

    def __init__(self, path: str | Path, *, mpp: float | None = None) -> None:
        self._location = path
        source, opened = open_source(path)
        super().__init__(Path(path), read_tiff_index(source, opened, mpp))

    def _read_associated(self, name: str) -> Pixels:
        _, opened = open_source(self._location)
        with tifffile.TiffFile(opened) as file:
            page = file.pages[self._associated[name]]
            if page.imagewidth * page.imagelength > MOST_PICTURE_PIXELS:
                raise ValueError(
                    f"it would have {page.imagewidth} x {page.imagelength} px"
                )
            return as_rgb(self.path.name, page.asarray(), page)


def read_tiff_index(source: ByteSource, path: Any, mpp: float | None) -> TileIndex:
    """Read the directories of a tiled TIFF slide, and no pixels.

    `tifffile` opens `path`, which may be a file object. The associated images are
    numbers of directories.
    """
    # An mpp that is given wrong is no damage of the file.
    resolve_mpp(given=mpp)
    content = read_content(source, path)
    with raising(
        SlideError,
        f"{source.name}: its tiles cannot be found",
        remedy="the file is damaged or cut short",
    ):
        return _make_index(source, content, mpp)


def _make_index(
    source: ByteSource, content: TIFFContent, mpp: float | None
) -> TileIndex:
    if not content.pages[0].is_tiled:
        raise NotTiledError(f"{source.name}: a TIFF of strips, not of tiles")
    if content.maker:
        raise NotTiledError(
            f"{source.name}: {content.maker}'s own TIFF, a maker's own form, which "
            "OpenSlide reads; copy the file to this machine where it is behind a URL"
        )
    if content.n_planes > 1:
        raise PlanesError(f"{source.name}: a TIFF of {content.n_planes} planes")
    grids, cautions = [], list(content.cautions)
    for number, (page, size) in enumerate(
        zip(content.pages, content.sizes, strict=True)
    ):
        try:
            grids.append(_read_grid(source, page, size, content.vendor))
        except NotTiledError as error:
            if number == 0:
                raise
            cautions.append(f"level {number} is left out ({error})")
    return TileIndex(
        grids=grids,
        sources=(source,),
        vendor=content.vendor,
        resolution=resolve_mpp(given=mpp, **content.mpp),
        properties=content.properties,
        associated=content.associated,
        cautions=tuple(cautions),
    )


def _read_grid(source: ByteSource, page: Any, size: Size, vendor: str) -> TileGrid:
    """Read where a level's tiles lie; it takes `size` of the directory's image."""
    rows = math.ceil(page.imagelength / max(1, page.tilelength))
    columns = math.ceil(page.imagewidth / max(1, page.tilewidth))
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    # A tile at offset 0 would be the file's header: sparse files mean none by it.
    first = next((o for o, n in zip(offsets, counts, strict=False) if o and n), None)
    start = b"" if first is None else source.read(int(first), 512)
    codec = _find_codec(source, page, vendor, start)
    if len(offsets) != rows * columns or len(counts) != rows * columns:
        raise SlideError(
            f"{source.name}: {rows} x {columns} native tiles are needed, the file "
            f"lists {len(offsets)}; it is damaged"
        )
    counts[offsets == 0] = 0
    grid = TileGrid(
        width_px=size[0],
        height_px=size[1],
        tile_width_px=int(page.tilewidth),
        tile_height_px=int(page.tilelength),
        offsets=offsets.reshape(rows, columns),
        byte_counts=counts.reshape(rows, columns),
        codec=codec,
    )
    check_grid(source.name, grid)
    return grid


def _find_codec(source: ByteSource, page: Any, vendor: str, start: bytes) -> TileCodec:
    """Find the codec of a directory, of which `start` opens the first tile."""
    samples = page.samplesperpixel
    name, colour = _name(page.compression), _name(page.photometric)
    contiguous = samples == 1 or _name(page.planarconfig) == "CONTIG"
    if page.bitspersample != 8 or page.sampleformat != 1 or not contiguous:
        raise PlanesError(
            f"{source.name}: tiles of planes or of {page.bitspersample} bit"
        )
    # Three samples that are tagged as grey are RGB: no other reading has three.
    kind = ("RGB", 3) if is_mistagged(page) else (colour, samples)
    if kind[0] in ("MINISBLACK", "MINISWHITE") and samples > 1:
        raise PlanesError(f"{source.name}: {samples} samples that are tagged as grey")
    if name == "JPEG" and kind in _JPEG_COLOURS:
        return JPEGTiles(page.jpegtables, _JPEG_COLOURS[kind])
    if name in _CODESTREAMS and samples == 3 and start[:2] in (b"", CODESTREAM_START):
        return _find_codestream(source, name, colour, vendor, start)
    plain, image = _PLAIN.get(name), _IMAGES.get(name)
    if kind in (("RGB", 3), ("RGB", 4), ("MINISBLACK", 1)):
        # As libtiff: only what is marked as unassociated is.
        alpha = [_name(kind) for kind in page.extrasamples]
        is_premultiplied = alpha[:1] != ["UNASSALPHA"]
        if plain and page.predictor in (1, 2):
            return PlainTiles(plain, samples, page.predictor == 2, is_premultiplied)
        if image:
            return ImageTiles(image, samples, is_premultiplied)
    raise NotTiledError(
        f"{source.name}: tiles of {samples} x {page.bitspersample} bit, {colour}, "
        f"under compression {name} are not decoded one by one"
    )


def _find_codestream(
    source: ByteSource, name: str, colour: str, vendor: str, start: bytes
) -> TileCodec:
    """Find out what the components of JPEG 2000 codestreams are."""
    if start and not is_evenly_sampled(start):
        # OpenSlide reads it.
        raise NotTiledError(f"{source.name}: JPEG 2000 with smaller colour planes")
    is_ycbcr = name.endswith("YCBC")
    if vendor != "aperio":
        # Others write Aperio's number for any JPEG 2000; the rest of the tags,
        # and the codestream itself, say what they mean by it.
        is_ycbcr = colour == "YCBCR" and not transforms_colour(start)
    return JPEG2000Tiles("ycbcr" if is_ycbcr else "rgb")


def _name(value: Any) -> str:
    """Name a tag's value; what `tifffile` does not know stays a number."""
    return str(getattr(value, "name", value))


def open_source(path: str | Path) -> tuple[ByteSource, Any]:
    """Open a path or URL: its bytes, and what `tifffile` opens."""
    if is_remote(path):
        remote = RemoteFile(str(path))
        return remote, remote.open()
    return LocalFile(Path(path)), path
