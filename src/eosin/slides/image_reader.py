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

from eosin.core import Box, SlideError
from eosin.slides.resolution import resolve_mpp
from eosin.slides.slide import Level, Slide
from eosin.slides.tiff_metadata import read_ome_mpp, read_tag_mpp
from eosin.slides.tile_codecs import Pixels, flatten_onto_white

# Such images are held decoded in memory: 600 Mpx are 1.8 GB.
_MAX_PIXELS = 600_000_000

# What a file is, its first bytes say; suffixes are often wrong.
_TIFF_STARTS = {b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"}
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
        read = _read_tiff if is_tiff(self.path) else _read_plain
        try:
            images, self.vendor, mpp_said = read(self.path)
        except SlideError:
            raise
        except Exception as error:
            raise _unreadable(self.path, error) from error
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
    try:
        with path.open("rb") as stream:
            return stream.read(4) in _TIFF_STARTS
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_plain(path: Path) -> tuple[list[Pixels], str, dict[str, float | None]]:
    """Read its one level, what kind of file it is, and what it says of its mpp."""
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
    return [array], kind, {}


def _open_of_any_size(path: Path) -> Image.Image:
    """Open without Pillow's own limit, which is below this module's."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _read_tiff(path: Path) -> tuple[list[Pixels], str, dict[str, float | None]]:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        page: Any = series.pages[0]
        _check_size(path, page.imagewidth, page.imagelength)
        _check_colour(path, series, page)
        images = [_as_rgb(path, level.asarray(), page) for level in series.levels]
        vendor = "ome-tiff" if file.is_ome else "tiff"
        ome_mpp = read_ome_mpp(file.ome_metadata) if file.is_ome else None
        return images, vendor, {"vendor": ome_mpp, "tiff": read_tag_mpp(page)}


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
    if page.photometric.name == "PALETTE":
        array = np.moveaxis(page.colormap, 0, -1)[array]
    elif array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    elif array.shape[2] not in (3, 4):
        array = np.moveaxis(array, 0, -1)
    if page.photometric.name == "MINISWHITE":
        array = np.invert(array)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise SlideError(
            f"{path.name}: pixels must be 8 or 16 bit, these are {array.dtype}"
        )
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
