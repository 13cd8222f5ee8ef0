"""Plain images, and TIFF files that OpenSlide does not open, read like slides."""

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from eosin.core import Box, SlideError, raising
from eosin.slides.resolution import resolve_mpp
from eosin.slides.slide import Level, Slide
from eosin.slides.tiff_directories import open_tiff
from eosin.slides.tiff_metadata import read_ome_mpp, read_tag_mpp
from eosin.slides.tile_codecs import Pixels, flatten_onto_white

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
_COLOURS = {"RGB", "YCBCR", "MINISBLACK", "MINISWHITE", "PALETTE"}

_pillow_limit = threading.Lock()


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
            images, self.vendor, mpp_said = read(self.path)
        self._images: list[Pixels] | None = images
        if any(image.size == 0 for image in images):
            raise SlideError(f"{self.path.name}: an image without pixels")
        self.resolution = resolve_mpp(given=mpp, **mpp_said)
        height, width = images[0].shape[:2]
        self.levels = tuple(
            Level(image.shape[1], image.shape[0], width / image.shape[1])
            for image in images
        )
        self.bounds = Box(0, 0, width, height)
        self.properties: Mapping[str, str] = {}

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


def _read_plain(path: Path) -> tuple[list[Pixels], str, dict[str, float | None]]:
    """Read its one level, what kind of file it is, and what it says of its mpp."""
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
    return [array], kind, {}


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


def _read_tiff(path: Path) -> tuple[list[Pixels], str, dict[str, float | None]]:
    with open_tiff(path) as file:
        series = file.series[0]
        page: Any = series.pages[0]
        _check_colour(path, series, page)
        _check_bytes(path, (page.imagewidth, page.imagelength), _count_bytes(series))
        images = [_as_rgb(path, level.asarray(), page) for level in series.levels]
        vendor = "ome-tiff" if file.is_ome else "tiff"
        ome_mpp = read_ome_mpp(file.ome_metadata) if file.is_ome else None
        return images, vendor, {"vendor": ome_mpp, "tiff": read_tag_mpp(page)}


def _count_bytes(series: Any) -> int:
    """Count the bytes that decoding all levels takes at its peak."""
    page, levels = series.pages[0], [level.keyframe for level in series.levels]
    kept = sum(3 * level.imagewidth * level.imagelength for level in levels)
    decoded = max(level.nbytes for level in levels)
    # What is packed is decoded piece by piece, at worst in one, and then put together.
    n_decoded = 1 if page.compression == tifffile.COMPRESSION.NONE else 2
    is_kept = page.dtype == np.uint8 and page.shape[2:] == (3,)
    return int(n_decoded * decoded + (0 if is_kept else kept))


def _check_colour(path: Path, series: Any, page: Any) -> None:
    """Refuse what is no colour image, before its pixels are decoded."""
    axes, shape = series.axes, series.shape
    channels = {"YX": 1, "YXS": shape[-1], "SYX": shape[0], "CYX": shape[0]}.get(axes)
    if channels not in (1, 3, 4):
        raise SlideError(
            f"{path.name}: a colour image is needed, this one has axes {axes} of shape "
            f"{shape}; fluorescence and stacks cannot be read"
        )
    photometric = page.photometric.name
    is_raw = photometric == "YCBCR" and "JPEG" not in page.compression.name
    if photometric not in _COLOURS or is_raw:
        raise SlideError(
            f"{path.name}: its colours are stored as {photometric}, which cannot be "
            "read; convert it to RGB"
        )


def _as_rgb(path: Path, array: npt.NDArray[Any], page: Any) -> Pixels:
    """Bring a TIFF level's axes, colours and type to `(height, width, 3)` uint8."""
    if array.dtype not in (np.uint8, np.uint16):
        raise SlideError(
            f"{path.name}: pixels must be 8 or 16 bit, these are {array.dtype}"
        )
    if array.ndim == 3 and array.shape[2] not in (3, 4):
        array = np.moveaxis(array, 0, -1)
    name = page.photometric.name
    if name == "RGB" and array.dtype == np.uint8 and array.shape[2] == 3:
        return np.ascontiguousarray(array)
    colours = None
    if name == "PALETTE":
        colours = np.moveaxis(page.colormap, 0, -1)
    height, width = array.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    step = max(1, _BAND_PIXELS // width)
    for top in range(0, height, step):
        band = array[top : top + step]
        band = band if colours is None else colours[band]
        if name == "MINISWHITE":
            band = np.invert(band)
        if band.dtype == np.uint16:
            band = (band >> 8).astype(np.uint8)
        if band.ndim == 3 and band.shape[2] == 4:
            band = flatten_onto_white(np.ascontiguousarray(band))
        out[top : top + step] = band if band.ndim == 3 else band[..., None]
    return out


def _check_bytes(path: Path, size: tuple[int, int], n_bytes: int) -> None:
    if n_bytes > _MOST_BYTES:
        raise SlideError(
            f"{path.name}: {size[0]} x {size[1]} px are too large for a plain image: "
            f"decoding them takes {n_bytes / 1e9:.1f} GB, and may take "
            f"{_MOST_BYTES / 1e9:.1f}; convert it to a pyramidal TIFF"
        )
