"""Plain images, and TIFF files that OpenSlide does not open, read like slides."""

import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from eosin.core import Box, SlideError, raising
from eosin.slides.level_shapes import choose_levels, fit_level, make_levels
from eosin.slides.resolution import resolve_mpp
from eosin.slides.slide import Slide
from eosin.slides.tiff_directories import open_tiff
from eosin.slides.tiff_metadata import OMEImage
from eosin.slides.tiff_pages import TIFFContent, parse_content
from eosin.slides.tile_codecs import Pixels, find_coded_size, flatten_onto_white

# Such images are held decoded in memory, 600 Mpx in 1.8 GB. What decoding takes at its
# peak may not be more.
_MOST_BYTES = 1_800_000_000
# Pixels turned into RGB at once; floats of them are 64 MB.
_BAND_PIXELS = 4_000_000
# Bytes that Pillow's modes take for a pixel; all others take 4.
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
# Bytes that decoding a pixel takes beside them: WebP's two canvases and their copy; the
# indices of a packed BMP, twice; the coefficients of a JPEG of several scans.
_WEBP_BYTES, _PACKED_BMP_BYTES, _COEFFICIENT_BYTES = 12, 2, 2

# What a file is, its first bytes say; suffixes are often wrong.
_TIFF_STARTS = {b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"}
# Pillow loads no others; MPO, several JPEGs in one file, is not in each version.
_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "WEBP")
# Pictures within a TIFF say their size; they may be filled up to whole blocks.
_SIZED = {"JPEG", "PNG", "JPEG2000", "APERIO_JP2000_YCBC", "APERIO_JP2000_RGB"}
_PADDING = 16
_COLOURS = {"RGB", "YCBCR", "MINISBLACK", "MINISWHITE", "PALETTE"}
# Three samples or channels that are tagged as grey are RGB.
_GREY_IS_RGB = {(3, axes, "MINISBLACK") for axes in ("YXS", "SYX", "CYX")}
_RGB = re.compile(r"(red|green|blue|r|g|b)(\W.*)?$", re.IGNORECASE)
_BYTE_BITS, _DEEP_BITS = 8, 16

_pillow_limit = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What was read of a file: decoded levels, and what it says."""

    images: list[Pixels]
    vendor: str
    mpp: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()


class ImageSlide(Slide):
    """An image without a vendor's format: PNG, JPEG, plain TIFF, OME-TIFF.

    Its levels are held decoded in memory, so it is for cores, regions and
    thumbnails rather than for whole slides.
    """

    reader = "image"
    native_tile_px = None

    def __init__(self, path: Path, *, mpp: float | None = None) -> None:
        self.path = Path(path)
        failure = "neither a whole-slide file nor an image that can be read"
        with raising(SlideError, f"{self.path.name}: {failure}"):
            read = _read_tiff if is_tiff(self.path) else _read_plain
            found = read(self.path)
        self._images: list[Pixels] | None = found.images
        if any(image.size == 0 for image in found.images):
            raise SlideError(f"{self.path.name}: an image without pixels")
        self.vendor, self.cautions = found.vendor, found.cautions
        self.resolution = resolve_mpp(given=mpp, **found.mpp)
        self.levels = make_levels([image.shape[1::-1] for image in found.images])
        self.bounds = Box(0, 0, *self.dimensions)
        self.properties = found.properties

    def close(self) -> None:  # noqa: D102 - as Slide says
        self._images = None

    def _read_level(
        self, level: int, x_px0: int, y_px0: int, width_px: int, height_px: int
    ) -> Pixels:
        if self._images is None:
            raise SlideError(f"{self.path.name}: the slide was closed")
        image = self._images[level]
        downsample = self.levels[level].downsample
        left, top = math.floor(x_px0 / downsample), math.floor(y_px0 / downsample)
        out = np.full((height_px, width_px, 3), 255, np.uint8)
        height, width = image.shape[:2]
        x0, x1 = max(left, 0), min(left + width_px, width)
        y0, y1 = max(top, 0), min(top + height_px, height)
        if x0 < x1 and y0 < y1:
            out[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
        return out


def is_tiff(path: Path) -> bool:
    """Tell whether a file starts like a TIFF; folders do not."""
    if path.is_dir():
        return False
    with path.open("rb") as stream:
        return stream.read(4) in _TIFF_STARTS


def _read_plain(path: Path) -> _Found:
    """Read its one level, and what kind of file it is."""
    with _open_of_any_size(path) as image:
        width, height = image.size
        _check_bytes(path, image.size, width * height * _count_pixel_bytes(image))
        kind = (image.format or "image").lower()
        is_clear = image.has_transparency_data
        array = np.empty((height, width, 3), np.uint8)
        step = max(1, _BAND_PIXELS // width)
        for top in range(0, height, step):
            bottom = min(top + step, height)
            band = image.crop((0, top, width, bottom))
            array[top:bottom] = _convert(band, is_clear=is_clear)
    return _Found(images=[array], vendor=kind)


def _convert(image: Image.Image, *, is_clear: bool) -> Pixels:
    """Turn pixels of any of Pillow's modes into RGB on white."""
    if image.mode.startswith("I"):
        # Pillow would cut 16-bit grey off at 255 rather than scale it.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if is_clear:
        return flatten_onto_white(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _count_pixel_bytes(image: Image.Image) -> int:
    """Count the bytes that decoding takes at its peak for each pixel, as RGB too."""
    n_bytes = 3 + _MODE_BYTES.get(image.mode, 4)
    if image.format == "WEBP":
        n_bytes += _WEBP_BYTES
    elif image.format == "BMP" and image.info.get("compression"):
        n_bytes += _PACKED_BMP_BYTES
    elif image.format in ("JPEG", "MPO") and not _has_one_scan(image):
        n_bytes += _COEFFICIENT_BYTES * len(image.getbands())
    return n_bytes


def _has_one_scan(image: Any) -> bool:
    """Tell whether a JPEG's first scan, behind which its header ends, has all of it."""
    if "progression" in image.info:
        return False
    n_bands, at = len(image.getbands()), image.fp.tell()
    # A scan's own header ends with two bytes for each component and three more.
    image.fp.seek(at - 2 * n_bands - 4)
    n_in_scan = image.fp.read(1)
    image.fp.seek(at)
    return bool(n_in_scan == bytes([n_bands]))


def _open_of_any_size(path: Path) -> Image.Image:
    """Open without Pillow's own limit, which is below this module's."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            Image.init()
            return Image.open(path, formats=[f for f in _FORMATS if f in Image.OPEN])
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _read_tiff(path: Path) -> _Found:
    """Decode the levels of a TIFF, and read what it says."""
    with open_tiff(path) as file:
        content = parse_content(file)
        page = content.pages[0]
        # Planes that lie in several directories are put together by tifffile's series.
        series = next((s for s in file.series if s.pages[0] is page), None)
        order, unsure = _check_colour(path.name, series or page, content)
        # What tifffile knows of levels counts where one directory is not all.
        levels = series.levels if series and content.n_planes > 1 else content.pages
        size = (page.imagewidth, page.imagelength)
        _check_bytes(path, size, _count_bytes(page, levels))
        for level in levels:
            is_series = isinstance(level, tifffile.TiffPageSeries)
            for part in level.pages if is_series else [level]:
                _check_segments(path.name, part)
        array = levels[0].asarray()
        bits, cautions = _find_bits(page, array, content.ome)
        images = [as_rgb(path.name, array, page, bits, order)]
        del array
        images += [
            as_rgb(path.name, level.asarray(), page, bits, order)
            for level in levels[1:]
        ]
    sizes = [image.shape[1::-1] for image in images]
    chosen, left_out = choose_levels(sizes, lambda n: fit_level(sizes[0], sizes[n]))
    known = dict(enumerate(content.sizes)) if content.n_planes == 1 else chosen
    kept = [images[n][:height, :width] for n, (width, height) in known.items()]
    if content.n_planes > 1:
        cautions += left_out
    vendor = content.vendor
    return _Found(
        images=kept,
        vendor="tiff" if vendor == "generic-tiff" else vendor,
        mpp=content.mpp,
        properties=content.properties,
        cautions=(*content.cautions, *unsure, *cautions),
    )


def _count_bytes(page: Any, levels: Sequence[Any]) -> int:
    """Count the bytes that decoding all levels takes at its peak."""
    sizes = [
        (level.keyframe.imagewidth, level.keyframe.imagelength) for level in levels
    ]
    kept = sum(3 * width * height for width, height in sizes)
    decoded = max(level.nbytes for level in levels)
    # What is packed is decoded piece by piece, at worst in one, and then put together.
    n_decoded = 1 if page.compression == tifffile.COMPRESSION.NONE else 2
    is_kept = page.dtype == np.uint8 and page.shape[2:] == (3,)
    return int(n_decoded * decoded + (0 if is_kept else kept))


def _check_segments(name: str, page: Any) -> None:
    """Refuse strips and tiles that hold a larger picture than their directory says.

    Decoders would make it before anybody could ask.
    """
    frame = page.keyframe if page else None
    if frame is None or getattr(frame.compression, "name", "") not in _SIZED:
        return
    most = frame.imagewidth, min(frame.rowsperstrip, frame.imagelength)
    if frame.is_tiled:
        most = frame.tilewidth, frame.tilelength
    handle = page.parent.filehandle
    for data, *_ in handle.read_segments(page.dataoffsets, page.databytecounts):
        found = find_coded_size(data) if data else None
        if found and any(f > m + _PADDING for f, m in zip(found, most, strict=True)):
            raise SlideError(
                f"{name}: a part of {most[0]} x {most[1]} px holds a picture of "
                f"{found[0]} x {found[1]} px; it is damaged"
            )


def _check_colour(
    name: str, image: Any, content: TIFFContent
) -> tuple[Sequence[int], tuple[str, ...]]:
    """Refuse what is no colour image, before its pixels are decoded.

    Returns the planes that are red, green and blue (none where they are in order), and
    what is unsure of them.
    """
    axes, shape, page = image.axes, image.shape, content.pages[0]
    channels = {"YX": 1, "YXS": shape[-1], "SYX": shape[0], "CYX": shape[0]}.get(axes)
    if channels not in (1, 3, 4) or (channels == 4 and axes == "CYX"):
        raise SlideError(
            f"{name}: a colour image is needed, this one has axes {axes} of shape "
            f"{shape}; fluorescence and stacks cannot be read"
        )
    colour = page.photometric.name
    is_raw = colour == "YCBCR" and "JPEG" not in page.compression.name
    is_grey = colour in ("MINISBLACK", "MINISWHITE")
    if is_grey and channels != 1 and (channels, axes, colour) not in _GREY_IS_RGB:
        colour = f"{channels} samples of {colour}"
    if colour not in _COLOURS or is_raw:
        raise SlideError(
            f"{name}: its colours are stored as {colour}, which cannot be read; "
            "convert it to RGB"
        )
    if (channels, axes) != (3, "CYX"):
        return (), ()
    named = content.ome.channels if content.ome else ()
    if not any(named):
        return (), ("three channels without names are taken for red, green and blue",)
    return _order_channels(name, named), ()


def _order_channels(name: str, channels: Sequence[str]) -> Sequence[int]:
    """Find the channels that are called red, green and blue."""
    found = [channel.lower()[:1] for channel in channels if _RGB.match(channel)]
    if sorted(found) != ["b", "g", "r"] or len(channels) != 3:
        raise SlideError(
            f"{name}: channels must be red, green and blue, these are "
            f"{', '.join(channels)}; fluorescence cannot be read"
        )
    return [found.index(colour) for colour in "rgb"]


def _find_bits(
    page: Any, array: npt.NDArray[Any], ome: OMEImage | None
) -> tuple[int, tuple[str, ...]]:
    """Find how many bits of a value count, and say where that is uncertain.

    Of values in 16 bits the header may say that fewer count: OME's SignificantBits, or
    TIFF's BitsPerSample and MaxSampleValue.
    """
    stored = int(np.max(page.bitspersample))
    if stored != _DEEP_BITS or array.dtype != np.uint16:
        return stored, ()
    tag = page.tags.get("MaxSampleValue")
    largest = int(np.max(tag.value)) if tag else 0
    said = (ome.significant_bits if ome else None) or largest.bit_length()
    top = int(array.max(initial=0)).bit_length()
    if _BYTE_BITS <= said < _DEEP_BITS:
        if top <= said:
            return said, ()
        return _DEEP_BITS, (f"its header says {said} bits, its values take {top}",)
    if 0 < top <= _DEEP_BITS - 2 and page.photometric.name != "PALETTE":
        return _DEEP_BITS, (
            f"its 16-bit values all lie below {1 << top}, so it may be a {top}-bit "
            "image that does not say so, and is shown too dark; convert it to 8 bit",
        )
    return _DEEP_BITS, ()


def as_rgb(
    name: str,
    array: npt.NDArray[Any],
    page: Any,
    bits: int | None = None,
    order: Sequence[int] = (),
) -> Pixels:
    """Bring a TIFF level's axes, colours and type to `(height, width, 3)` uint8.

    Of each value `bits` count (None: as many as its directory says); `order` has the
    planes that are red, green and blue.
    """
    if array.dtype not in (np.uint8, np.uint16):
        raise SlideError(f"{name}: pixels must be 8 or 16 bit, these are {array.dtype}")
    if array.ndim == 3 and array.shape[2] not in (3, 4):
        array = np.moveaxis(array, 0, -1)
    bits, colour = bits or int(np.max(page.bitspersample)), page.photometric.name
    is_rgb = colour in ("RGB", "MINISBLACK") and array.shape[2:] == (3,)
    if is_rgb and array.dtype == np.uint8 and bits == _BYTE_BITS and not len(order):
        return np.ascontiguousarray(array)
    if colour == "PALETTE":
        table = (np.moveaxis(page.colormap, 0, -1) >> _BYTE_BITS).astype(np.uint8)
    else:
        table = _make_table(bits, array.dtype)
    height, width = array.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    step = max(1, _BAND_PIXELS // width)
    for top in range(0, height, step):
        band = table[array[top : top + step]]
        if colour == "MINISWHITE":
            band = np.invert(band)
        if len(order):
            band = band[..., order]
        if band.ndim == 3 and band.shape[2] == 4:
            band = flatten_onto_white(np.ascontiguousarray(band))
        out[top : top + step] = band if band.ndim == 3 else band[..., None]
    return out


def _make_table(bits: int, dtype: np.dtype[Any]) -> Pixels:
    """Make the 8-bit value of each value of which so many bits count."""
    values = np.arange(1 << (8 * dtype.itemsize))
    if bits == _DEEP_BITS:
        return (values >> _BYTE_BITS).astype(np.uint8)
    scaled = np.rint(values * 255 / ((1 << bits) - 1))
    return np.minimum(scaled, 255).astype(np.uint8)


def _check_bytes(path: Path, size: tuple[int, int], n_bytes: int) -> None:
    if n_bytes > _MOST_BYTES:
        raise SlideError(
            f"{path.name}: {size[0]} x {size[1]} px are too large for a plain image: "
            f"decoding them takes {n_bytes / 1e9:.1f} GB, and may take "
            f"{_MOST_BYTES / 1e9:.1f}; convert it to a pyramidal TIFF"
        )
