"""The one face of everything that can be read like a slide."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from eosin.core import Box, SlideError, raising
from eosin.slides.bounds import check_boxes, check_decoding
from eosin.slides.resolution import Resolution

# A level or a request within this share of another resolution counts as the same:
# vendors round their mpp, and resampling by 1 % costs sharpness for nothing.
SAME_RESOLUTION = 0.01

# Pixels read at once where a large area is shrunk: 16 Mpx are 48 MB.
_BAND_PIXELS = 16_000_000


@dataclass(frozen=True)
class Level:
    """One image of a slide's pyramid, with its level-0 pixels per own pixel."""

    width_px: int
    height_px: int
    downsample: float


class DamagedTileError(SlideError):
    """A part of a slide cannot be decoded; the rest of it can be read."""


class Slide(ABC):
    """A scanned slide, or a plain image read as one.

    Places are in the level-0 frame (see `eosin.core.geometry`). Pixels outside
    the scan and transparent ones are white. Reading is safe from many threads.

    Attributes:
        path: The file.
        levels: The pyramid, finest first.
        resolution: Micrometres per level-0 pixel and where that came from.
        vendor: The scanner's maker as the file says, or the file's kind.
        reader: Which reader serves the pixels, such as `openslide`.
        bounds: The scanned part of the level-0 frame; all of it where the file
            does not say.
        native_tile_px: (width, height) of the file's own level-0 tiles; None
            where it has none.
        properties: Everything the file says, as text.
        cautions: What must be known before it is used, such as images that are left
            out; one sentence each.
        reads_around_damage: Whether damage costs only the native tiles it is in,
            rather than all that is read with them.
    """

    reads_around_damage = False

    path: Path
    levels: tuple[Level, ...]
    resolution: Resolution
    vendor: str
    reader: str
    bounds: Box
    native_tile_px: tuple[int, int] | None
    properties: Mapping[str, str]
    cautions: tuple[str, ...] = ()

    @property
    def dimensions(self) -> tuple[int, int]:
        """(width, height) of level 0 in pixels."""
        return self.levels[0].width_px, self.levels[0].height_px

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel; None where nothing says it."""
        return self.resolution.mpp

    @property
    def mpp_source(self) -> str:
        """Where the mpp came from, in a word or two."""
        return self.resolution.source

    def require_mpp(self) -> float:
        """Return the mpp, or raise `SlideError` where the slide has none."""
        if self.resolution.mpp is None:
            reason = "; ".join(self.resolution.disagreements)
            raise SlideError(
                f"{self.path.name}: the resolution must be known, and "
                f"{reason or 'the file does not say it'}; give it as a column 'mpp' in "
                "the slide table (predict and validate take --slide-mpp too); 20x is "
                "about 0.5, 40x about 0.25"
            )
        return self.resolution.mpp

    def read(
        self,
        x_px0: int,
        y_px0: int,
        width_px: int,
        height_px: int,
        *,
        level: int | None = None,
        mpp: float | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Read a region.

        Args:
            x_px0: Left edge in the level-0 frame; may lie outside the slide.
            y_px0: Top edge in the level-0 frame; may lie outside the slide.
            width_px: Width of the result, in its own pixels.
            height_px: Height of the result, in its own pixels.
            level: The level to read as it is. Neither `level` nor `mpp` is level 0.
            mpp: The resolution to read at, resampled by area from a finer level.

        Returns:
            `(height_px, width_px, 3)`, RGB, uint8.

        Raises:
            SlideError: The file is damaged there, has no mpp where one is needed,
                or is coarser than `mpp` asks.
            ValueError: Both `level` and `mpp` are given, there is no such level, or
                a size is below 1.
        """
        if level is not None and mpp is not None:
            raise ValueError("read takes a level or an mpp, not both")
        if level is not None and not 0 <= level < len(self.levels):
            raise ValueError(
                f"level must be 0 to {len(self.levels) - 1} on {self.path.name}, "
                f"got {level}"
            )
        if width_px < 1 or height_px < 1:
            raise ValueError(
                f"read needs a size of 1 or more, got {width_px} x {height_px}"
            )
        if mpp is None:
            return self._read_level(level or 0, x_px0, y_px0, width_px, height_px)
        factor = self.downsample_at(mpp)
        out = np.empty((1, height_px, width_px, 3), np.uint8)
        box = [x_px0, y_px0, round(width_px * factor), round(height_px * factor)]
        self.read_tiles(np.array([box], np.int64), out)
        return np.asarray(out[0])

    def read_tiles(
        self,
        boxes: npt.NDArray[np.int64],
        out: npt.NDArray[np.uint8],
        *,
        damaged: npt.NDArray[np.bool_] | None = None,
        threads: int = 1,
    ) -> None:
        """Read many regions of one result size into a given array.

        Each box is read from the coarsest level that is at least as fine as the
        result, and shrunk to it (see `find_resampling`). A box smaller than the
        result is enlarged only by the 10 % that `downsample_at` allows. Boxes may
        come in any order; they are read in the file's own.

        Args:
            boxes: `(tiles, 4)`, x, y, width and height in the level-0 frame.
            out: `(tiles, height, width, 3)`, uint8, filled with RGB.
            damaged: `(tiles,)`, set to whether a part of the box could not be
                read; that part is white. None raises instead.
            threads: How many read at once; codecs work side by side.

        Raises:
            SlideError: The file is damaged in one of the boxes, and `damaged` is
                None.
            ValueError: The shapes or types do not fit together, a box has no area, or
                `threads` is below 1.
        """
        check_boxes(boxes, out, damaged, threads)
        order = self._order(boxes)
        if threads == 1 or len(boxes) < 2:
            self._read_some(order, boxes, out, damaged)
            return
        with ThreadPoolExecutor(threads) as pool:
            parts = np.array_split(order, min(threads, len(boxes)))
            jobs = [
                pool.submit(self._read_some, part, boxes, out, damaged)
                for part in parts
            ]
            for job in jobs:
                job.result()

    def find_resampling(self, factor: float) -> str:
        """Name the filter that brings pixels to `factor` level-0 pixels each.

        It is `none`, `area`, or with native tiles `dct 1/2`, `dct 1/2 + area` and so
        on. Filters differ by more than rounding (two of them agree to some 42 dB), so
        tiles of two readers are the same pixels only where this is the same.
        """
        own = self.levels[self._find_level(factor)].downsample
        return "none" if abs(factor / own - 1) < SAME_RESOLUTION else "area"

    def downsample_at(self, mpp: float) -> float:
        """Return the level-0 pixels per pixel at a resolution.

        A slide up to 10 % coarser than asked is read as it is (factor 1); one that is
        coarser than that, or has no mpp, raises `SlideError`.
        """
        own = self.require_mpp()
        factor = mpp / own
        if abs(factor - 1) < SAME_RESOLUTION or 1 / 1.1 - 1e-9 <= factor < 1:
            return 1.0
        if factor < 1:
            raise SlideError(
                f"{self.path.name}: {mpp:g} mpp needs a finer slide; the finest level "
                f"has {own:g} mpp; ask for mpp >= {own:g}"
            )
        return factor

    def read_image(
        self, mpp: float | None = None, *, downsample: float | None = None
    ) -> npt.NDArray[np.uint8]:
        """Read the whole slide small, in bands, so that memory stays bounded.

        Args:
            mpp: The resolution wanted.
            downsample: Or the factor to level 0, at least 1.

        Returns:
            `(height, width, 3)`, RGB, uint8; sizes are rounded up, and what lies
            beyond the slide's edge is white. So are damaged native tiles, where the
            reader knows their borders (`reads_around_damage`).

        Raises:
            SlideError: The file is damaged, or has no mpp where one is needed.
            ValueError: Not exactly one of both is given, or the factor is below 1.
        """
        if (mpp is None) == (downsample is None):
            raise ValueError("read_image takes an mpp or a downsample, one of them")
        if downsample is not None and not downsample >= 1:
            raise ValueError(f"downsample must be 1 or more, got {downsample:g}")
        factor = self.downsample_at(mpp) if mpp is not None else downsample or 1.0
        width_px0, height_px0 = self.dimensions
        width = math.ceil(width_px0 / factor)
        height = math.ceil(height_px0 / factor)
        image = np.empty((height, width, 3), np.uint8)
        index = self._find_level(factor)
        check_decoding(self.path.name, index, self._count_stored(index))
        shrink = factor / self.levels[index].downsample
        # Multiples of 8, so that bands start on whole pixels of a scaled level too.
        block = max(1, int(math.sqrt(_BAND_PIXELS) / shrink))
        block = block // 8 * 8 or block
        for top in range(0, height, block):
            for left in range(0, width, block):
                rows = min(block, height - top)
                columns = min(block, width - left)
                part = image[top : top + rows, left : left + columns]
                size_px0 = (columns * factor, rows * factor)
                try:
                    self._read_box_into(left * factor, top * factor, *size_px0, part)
                except DamagedTileError:
                    if not self.reads_around_damage:
                        raise
        return image

    def thumbnail(self, max_px: int) -> npt.NDArray[np.uint8]:
        """Read the whole slide so that its longer side has at most `max_px` pixels."""
        if max_px < 1:
            raise ValueError(f"a thumbnail needs 1 pixel or more, got {max_px}")
        return self.read_image(downsample=max(1.0, max(self.dimensions) / max_px))

    @property
    def associated_images(self) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Images beside the pyramid (label, macro, thumbnail), RGB, by name.

        Labels hold names and numbers of patients: no command reads these images.
        """
        images = {}
        for name in self.associated_names:
            try:
                images[name] = self._read_associated(name)
            except Exception as error:
                raise SlideError(
                    f"{self.path.name}: its image '{name}' cannot be read ({error}); "
                    "the file is damaged there"
                ) from error
        return images

    @property
    def associated_names(self) -> tuple[str, ...]:
        """Names of the images beside the pyramid; none of them is read."""
        failure = f"{self.path.name}: its images beside the pyramid cannot be listed"
        with raising(SlideError, failure):
            return tuple(self._list_associated())

    @abstractmethod
    def close(self) -> None:
        """Release the file; reading afterwards raises `SlideError`."""

    @abstractmethod
    def _read_level(
        self, level: int, x_px0: int, y_px0: int, width_px: int, height_px: int
    ) -> npt.NDArray[np.uint8]:
        """Read from one level as it is, white outside the scan."""

    def _list_associated(self) -> Iterable[str]:
        """List the images beside the pyramid."""
        return ()

    def _read_associated(self, name: str) -> npt.NDArray[np.uint8]:
        """Read one of them; whatever is raised, it is damaged."""
        raise NotImplementedError

    def _count_stored(self, level: int) -> int:
        """Count the pixels of a level that the file holds."""
        return self.levels[level].width_px * self.levels[level].height_px

    def _find_level(self, factor: float) -> int:
        """Find the coarsest level that is at least as fine as `factor`."""
        best = 0
        for index, level in enumerate(self.levels):
            if level.downsample <= factor * (1 + SAME_RESOLUTION):
                best = index
        return best

    def _order(self, boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the order in which boxes are best read."""
        return np.arange(len(boxes))

    def _read_some(
        self,
        rows: npt.NDArray[np.int64],
        boxes: npt.NDArray[np.int64],
        out: npt.NDArray[np.uint8],
        damaged: npt.NDArray[np.bool_] | None,
    ) -> None:
        """Read the boxes of some rows."""
        for row in rows.tolist():
            x_px0, y_px0, width_px0, height_px0 = boxes[row].tolist()
            try:
                self._read_box_into(x_px0, y_px0, width_px0, height_px0, out[row])
            except DamagedTileError:
                if damaged is None:
                    raise
                damaged[row] = True
            else:
                if damaged is not None:
                    damaged[row] = False

    def _read_box_into(
        self,
        x_px0: float,
        y_px0: float,
        width_px0: float,
        height_px0: float,
        out: npt.NDArray[np.uint8],
    ) -> None:
        """Read one level-0 box, shrunk to `out`; white where it is damaged."""
        height_px, width_px = out.shape[:2]
        factor = min(width_px0 / width_px, height_px0 / height_px)
        index = self._find_level(factor)
        own = self.levels[index].downsample
        width = max(1, round(width_px0 / own))
        height = max(1, round(height_px0 / own))
        # A rounded downsample (4.0004) must not cost a resampling of one pixel.
        if is_same_length(width, width_px) and is_same_length(height, height_px):
            width, height = width_px, height_px
        try:
            pixels = self._read_level(index, round(x_px0), round(y_px0), width, height)
        except DamagedTileError:
            out[:] = 255
            raise
        fit_pixels(pixels, out)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_same_length(source_px: int, wanted_px: int) -> bool:
    """Tell whether two lengths differ by rounding only."""
    return abs(source_px - wanted_px) <= min(1, SAME_RESOLUTION * wanted_px)


def fit_pixels(pixels: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> None:
    """Bring pixels to the size of `out`: shrunk by area, enlarged linearly."""
    if pixels.shape == out.shape:
        out[:] = pixels
        return
    shrinks = pixels.shape[0] >= out.shape[0] and pixels.shape[1] >= out.shape[1]
    out[:] = cv2.resize(
        pixels,
        (out.shape[1], out.shape[0]),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
