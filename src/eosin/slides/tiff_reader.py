"""Tiled TIFF slides read natively: Aperio SVS, generic tiled TIFF, OME-TIFF.

Sources: TIFF 6.0 (sections 15 and 22), the Aperio SVS conventions as OpenSlide
documents them (openslide.org/formats/aperio), and the OME-TIFF specification
(SubIFD pyramids).
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
from eosin.slides.resolution import resolve_mpp
from eosin.slides.tiff_directories import open_tiff
from eosin.slides.tiff_metadata import (
    parse_positive,
    read_aperio_properties,
    read_ome_mpp,
    read_tag_mpp,
)
from eosin.slides.tile_codecs import (
    JPEG2000Tiles,
    JPEGTiles,
    Pixels,
    PlainTiles,
    TileCodec,
    flatten_onto_white,
    is_evenly_sampled,
    transforms_colour,
)
from eosin.slides.tiled_reader import TiledSlide, TileGrid, TileIndex, check_grid

# Whose files are tiled TIFF but mean something of their own by it (overlapping
# tiles, several scans in one file, padded levels): OpenSlide knows how.
_OTHER_MAKERS = (
    b"http://www.leica-microsystems.com/scn",
    b"DPUfsImport",
    b"iScan",
    b"MedScan",
    b"Hamamatsu",
)
_PLAIN: Mapping[str, Literal["none", "deflate", "lzw"]] = {
    "NONE": "none",
    "ADOBE_DEFLATE": "deflate",
    "DEFLATE": "deflate",
    "LZW": "lzw",
}


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
            image: Pixels = page.asarray()
        return flatten_onto_white(image) if image.shape[-1] == 4 else image


def read_tiff_index(source: ByteSource, path: Any, mpp: float | None) -> TileIndex:
    """Read the directories of a tiled TIFF slide, and no pixels.

    `tifffile` opens `path`, which may be a file object. The associated images are
    numbers of directories.
    """
    # An mpp that is given wrong is no damage of the file.
    resolve_mpp(given=mpp)
    failure = f"{source.name}: its TIFF headers cannot be read"
    with (
        raising(SlideError, failure, remedy="the file is damaged or cut short"),
        open_tiff(path) as file,
    ):
        return _read_file(source, file, mpp)


def _read_file(source: ByteSource, file: Any, mpp: float | None) -> TileIndex:
    first = file.pages[0]
    if not first.is_tiled:
        raise NotTiledError(f"{source.name}: a TIFF of strips, not of tiles")
    description = first.description or ""
    _refuse_other_makers(source, first, description)
    properties: Mapping[str, str] = {}
    associated: Mapping[str, int] = {}
    own_mpp = None
    if description.startswith("Aperio"):
        vendor, properties = "aperio", read_aperio_properties(description)
        pages = [page for page in file.pages if page.is_tiled]
        associated = _name_associated(file.pages)
        own_mpp = parse_positive(properties.get("aperio.MPP"))
    elif file.is_ome:
        vendor = "ome-tiff"
        pages = [level.pages[0] for level in file.series[0].levels]
        if len(file.series[0].pages) != 1:
            raise PlanesError(f"{source.name}: an OME-TIFF of several planes")
        own_mpp = read_ome_mpp(file.ome_metadata)
    else:
        vendor = "generic-tiff"
        pages = [
            page
            for index, page in enumerate(file.pages)
            if page.is_tiled and (index == 0 or page.is_reduced)
        ]
        pages.sort(key=lambda page: -page.imagewidth)
    return TileIndex(
        grids=[_read_grid(source, page, vendor) for page in pages],
        sources=(source,),
        vendor=vendor,
        resolution=resolve_mpp(
            given=mpp,
            vendor=own_mpp,
            tiff=read_tag_mpp(first),
            objective_power=parse_positive(properties.get("aperio.AppMag")),
        ),
        properties={
            "openslide.vendor": vendor,
            "tiff.ImageDescription": description,
            **properties,
        },
        associated=associated,
    )


def _refuse_other_makers(source: ByteSource, page: Any, description: str) -> None:
    tags = (page.tags.get(code) for code in ("Software", "Make", "XMP"))
    texts = [description, *(str(tag.value) for tag in tags if tag)]
    said = " ".join(texts).encode(errors="replace")
    if any(maker in said for maker in _OTHER_MAKERS):
        raise NotTiledError(
            f"{source.name}: a maker's own TIFF, which OpenSlide reads; copy the file "
            "to this machine where it is behind a URL"
        )


def _name_associated(pages: Any) -> dict[str, int]:
    """Name Aperio's images beside the pyramid as OpenSlide does."""
    names: dict[str, int] = {}
    for index, page in enumerate(pages):
        if page.is_tiled:
            continue
        lines = (page.description or "").splitlines()
        words = lines[1].split() if len(lines) > 1 else []
        name = "thumbnail" if index == 1 else (words[0] if words else "")
        if name:
            names.setdefault(name, index)
    return names


def _read_grid(source: ByteSource, page: Any, vendor: str) -> TileGrid:
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
        width_px=int(page.imagewidth),
        height_px=int(page.imagelength),
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
    if name == "JPEG" and (colour, samples) == ("YCBCR", 3):
        return JPEGTiles(page.jpegtables, "ycbcr")
    if name == "JPEG" and (colour, samples) == ("RGB", 3):
        # OME writers leave JFIF tiles under the photometric RGB; others mean what
        # the tag says, which is what OpenSlide and libtiff go by.
        return JPEGTiles(page.jpegtables, "marked" if vendor == "ome-tiff" else "rgb")
    if name == "JPEG" and (colour, samples) == ("MINISBLACK", 1):
        return JPEGTiles(page.jpegtables, "grey")
    if name in ("APERIO_JP2000_YCBC", "APERIO_JP2000_RGB") and samples == 3:
        if start and not is_evenly_sampled(start):
            # OpenSlide reads it.
            raise NotTiledError(f"{source.name}: JPEG 2000 with smaller colour planes")
        is_ycbcr = name.endswith("YCBC")
        if vendor != "aperio":
            # Others write Aperio's number for any JPEG 2000; the rest of the tags,
            # and the codestream itself, say what they mean by it.
            is_ycbcr = colour == "YCBCR" and not transforms_colour(start)
        return JPEG2000Tiles("ycbcr" if is_ycbcr else "rgb")
    plain = _PLAIN.get(name)
    kinds = (("RGB", 3), ("RGB", 4), ("MINISBLACK", 1))
    if plain and page.predictor in (1, 2) and (colour, samples) in kinds:
        # As libtiff: only what is marked as unassociated is.
        alpha = [_name(kind) for kind in page.extrasamples]
        return PlainTiles(
            plain, samples, page.predictor == 2, alpha[:1] != ["UNASSALPHA"]
        )
    raise NotTiledError(
        f"{source.name}: tiles of {name}, {colour}, {samples} x {page.bitspersample} "
        "bit are not decoded one by one"
    )


def _name(value: Any) -> str:
    """Name a tag's value; what `tifffile` does not know stays a number."""
    return str(getattr(value, "name", value))


def open_source(path: str | Path) -> tuple[ByteSource, Any]:
    """Open a path or URL: its bytes, and what `tifffile` opens."""
    if is_remote(path):
        remote = RemoteFile(str(path))
        return remote, remote.open()
    return LocalFile(Path(path)), path
