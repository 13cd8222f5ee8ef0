"""Slides read through OpenSlide: every vendor's format, one region at a time."""

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import openslide

from eosin.core import Box, SlideError, raising
from eosin.slides.bounds import MAX_TILE_PX, check_dimensions
from eosin.slides.level_shapes import choose_levels, has_shape
from eosin.slides.resolution import Resolution, resolve_mpp
from eosin.slides.slide import DamagedTileError, Level, Slide
from eosin.slides.tiff_metadata import parse_positive
from eosin.slides.tiff_pages import TIFFContent
from eosin.slides.tile_codecs import Pixels, flatten_onto_white

# OpenSlide's default of 32 MB thrashes when a row of a wide slide is read in
# tiles; 64 MB hold a row of 256 tiles of 256 px.
_CACHE_BYTES = 64 << 20

# Levels of one slide differ in shape by less, as a share of a side.
_SAME_SHAPE = 0.01

_MICROMETRES_PER_UNIT = {"centimeter": 10_000.0, "inch": 25_400.0}


class OpenSlideSlide(Slide):
    """A whole-slide file that OpenSlide opens."""

    reader = "openslide"

    def __init__(
        self,
        path: Path,
        *,
        mpp: float | None = None,
        content: TIFFContent | None = None,
    ) -> None:
        # What a TIFF says itself counts before what OpenSlide makes of it.
        self.path = Path(path)
        self._lock = threading.Lock()
        handle = self._open(
            "OpenSlide cannot open it",
            "the file is damaged, cut short, or not a slide",
        )
        self._handle: openslide.OpenSlide | None = handle
        self.properties: Mapping[str, str] = dict(handle.properties)
        self.vendor = self.properties.get("openslide.vendor", "unknown")
        sizes = [*handle.level_dimensions]
        # OpenSlide knows what pads the levels of its makers, so the shape will do.
        chosen, self.cautions = choose_levels(
            sizes,
            lambda n: sizes[n] if has_shape(sizes[0], sizes[n], _SAME_SHAPE) else None,
        )
        # Those that are left out keep their number for OpenSlide.
        self._numbers = tuple(chosen)
        self.levels = tuple(
            Level(*sizes[number], handle.level_downsamples[number])
            for number in self._numbers
        )
        check_dimensions(self.path.name, *self.dimensions)
        self.resolution = _find_resolution(self.properties, mpp)
        if content is not None:
            self._take_over(content, mpp)
        self.bounds = self._find_bounds()
        self.native_tile_px = self._find_native_tile()

    def close(self) -> None:  # noqa: D102
        # OpenSlide closes it once no thread reads from it any longer.
        with self._lock:
            self._handle = None

    def _take_over(self, content: TIFFContent, mpp: float | None) -> None:
        """Take what the file's own headers say, which OpenSlide reads in part."""
        if content.sizes[0] != self.dimensions:
            raise SlideError(
                f"{self.path.name}: the slide is its image of {content.sizes[0]} px, "
                f"and OpenSlide takes that of {self.dimensions} px for it"
            )
        self.vendor = content.vendor
        self.properties = {**self.properties, **content.properties}
        self.resolution = resolve_mpp(given=mpp, **content.mpp)
        self.cautions = tuple(dict.fromkeys((*content.cautions, *self.cautions)))
        if len(self.levels) < len(content.sizes):
            self.cautions += ("OpenSlide reads some of its levels only",)

    def _list_associated(self) -> Iterable[str]:
        return self._require_open().associated_images

    def _read_associated(self, name: str) -> Pixels:
        image = self._require_open().associated_images[name]
        return flatten_onto_white(np.asarray(image.convert("RGBA")))

    def _read_level(
        self, level: int, x_px0: int, y_px0: int, width_px: int, height_px: int
    ) -> Pixels:
        handle = self._require_open()
        try:
            number = self._numbers[level]
            image = handle.read_region((x_px0, y_px0), number, (width_px, height_px))
        except Exception as error:
            self._reopen()
            raise DamagedTileError(
                f"{self.path.name}: cannot be read at x={x_px0}, y={y_px0}, level "
                f"{level} ({error}); the file is damaged there"
            ) from error
        return flatten_onto_white(np.asarray(image))

    def _open(self, failure: str, meaning: str) -> openslide.OpenSlide:
        with raising(SlideError, f"{self.path.name}: {failure}", remedy=meaning):
            handle = openslide.OpenSlide(self.path)
        handle.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
        return handle

    def _reopen(self) -> None:
        """Open the file again: after one failure OpenSlide refuses every read."""
        with self._lock:
            if self._handle is not None:
                # Not closed here, as another thread may be reading from it still.
                self._handle = self._open(
                    "cannot be opened again", "the file is no longer what it was"
                )

    def _require_open(self) -> openslide.OpenSlide:
        if self._handle is None:
            raise SlideError(f"{self.path.name}: the slide was closed")
        return self._handle

    def _find_bounds(self) -> Box:
        keys = [f"openslide.bounds-{side}" for side in ("x", "y", "width", "height")]
        if not all(key in self.properties for key in keys):
            return Box(0, 0, *self.dimensions)
        return Box(*(int(self.properties[key]) for key in keys))

    def _find_native_tile(self) -> tuple[int, int] | None:
        width = self.properties.get("openslide.level[0].tile-width")
        height = self.properties.get("openslide.level[0].tile-height")
        if not (width and height):
            return None
        if int(width) * int(height) > MAX_TILE_PX**2:
            raise SlideError(
                f"{self.path.name}: native tiles must be {MAX_TILE_PX} px a side at "
                f"most, got {width} x {height}; the file is damaged"
            )
        return int(width), int(height)


def _find_resolution(properties: Mapping[str, str], given: float | None) -> Resolution:
    """Collect what the file says of its resolution."""
    vendor_is_tiff = properties.get("openslide.vendor") == "generic-tiff"
    unit = _MICROMETRES_PER_UNIT.get(properties.get("tiff.ResolutionUnit", ""))
    x, y = (parse_positive(properties.get(f"tiff.{axis}Resolution")) for axis in "XY")
    own = tuple(parse_positive(properties.get(f"openslide.mpp-{a}")) for a in "xy")
    return resolve_mpp(
        given=given,
        # For generic TIFF OpenSlide's mpp is the resolution tag under another name.
        vendor=None if vendor_is_tiff else (own[0], own[1]),
        tiff=(unit / x if x else None, unit / y if y else None) if unit else None,
        objective_power=parse_positive(properties.get("openslide.objective-power")),
    )
