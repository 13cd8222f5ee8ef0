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
from eosin.slides.tiff_metadata import OMEImage
from eosin.slides.tiff_pages import TIFFContent, parse_content
from eosin.slides.tile_codecs import Pixels, flatten_onto_white

# Such images are held decoded in memory: 600 Mpx are 1.8 GB.
_MAX_PIXELS = 600_000_000

# What a file is, its first bytes say; suffixes are often wrong.
_TIFF_STARTS = {b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"}
_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "WEBP")
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
        read = _read_tiff if is_tiff(self.path) else _read_plain
        with raising(
            SlideError,
            f"{self.path.name}: neither a whole-slide file nor an image that can be "
            "read",
        ):
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
    try:
        with path.open("rb") as stream:
            return stream.read(4) in _TIFF_STARTS
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_plain(path: Path) -> _Found:
    """Read its one level, and what kind of file it is."""
    with _open_of_any_size(path) as image:
        _check_size(path, image.width, image.height)
        kind = (image.format or "image").lower()
        if image.mode.startswith("I"):
            # Pillow would cut 16-bit grey off at 255 rather than scale it.
            grey = (np.asarray(image) >> 8).astype(np.uint8)
            array = np.repeat(grey[..., None], 3, axis=2)
        elif image.has_transparency_data:
            array = flatten_onto_white(np.asarray(image.convert("RGBA")))
        else:
            array = np.asarray(image.convert("RGB"))
    return _Found(images=[array], vendor=kind)


def _open_of_any_size(path: Path) -> Image.Image:
    """Open without Pillow's own limit, which is below this module's."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _read_tiff(path: Path) -> _Found:
    """Decode the levels of a TIFF, and read what it says."""
    with tifffile.TiffFile(path) as file:
        content = parse_content(file)
        page = content.pages[0]
        _check_size(path, page.imagewidth, page.imagelength)
        # Planes that lie in several directories are put together by tifffile's series.
        series = next((s for s in file.series if s.pages[0] is page), None)
        order, unsure = _check_colour(path.name, series or page, content)
        # What tifffile knows of levels counts where one directory is not all.
        levels = series.levels if series and content.n_planes > 1 else content.pages
        arrays = [level.asarray() for level in levels]
        bits, cautions = _find_bits(page, arrays[0], content.ome)
        images = [as_rgb(path.name, array, page, bits, order) for array in arrays]
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
    bits = bits or int(np.max(page.bitspersample))
    colour = page.photometric.name
    if colour == "PALETTE":
        array, bits = np.moveaxis(page.colormap, 0, -1)[array], _DEEP_BITS
    elif array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    elif array.shape[2] not in (3, 4):
        array = np.moveaxis(array, 0, -1)
    if len(order):
        array = array[..., order]
    if array.dtype not in (np.uint8, np.uint16):
        raise SlideError(f"{name}: pixels must be 8 or 16 bit, these are {array.dtype}")
    if bits == _DEEP_BITS:
        array = (array >> _BYTE_BITS).astype(np.uint8)
    elif bits != _BYTE_BITS:
        largest = (1 << bits) - 1
        values = np.arange(1 << (8 * array.dtype.itemsize)) * 255 / largest
        array = np.minimum(np.rint(values), 255).astype(np.uint8)[array]
    if colour == "MINISWHITE":
        array = np.invert(array)
    if array.shape[2] == 4:
        return flatten_onto_white(np.ascontiguousarray(array))
    return np.ascontiguousarray(array)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > _MAX_PIXELS:
        raise SlideError(
            f"{path.name}: {width} x {height} px is too large for a plain image (at "
            f"most {_MAX_PIXELS // 1_000_000} Mpx); convert it to a pyramidal TIFF"
        )


def _unreadable(path: Path, error: Exception) -> SlideError:
    return SlideError(
        f"{path.name}: neither a whole-slide file nor an image that can be read "
        f"({type(error).__name__}: {error})"
    )
