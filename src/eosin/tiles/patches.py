"""Reading patches: image files and rows of HDF5 files, as tiles of one size."""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import numpy.typing as npt

from eosin.core import SlideError, raising
from eosin.core.hdf5 import HDF5File, can_map

Pixels = npt.NDArray[np.uint8]

_IMAGES_KEY = "x"
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


@dataclass(frozen=True, eq=False)
class Patch:
    """One patch as it is stored.

    Attributes:
        pixels: `(height, width, 3)`, RGB.
        kind: `rgb`, or what it was brought from: `grey`, `rgba`, `16 bit`.
    """

    pixels: Pixels
    kind: str


class PatchReader:
    """Reads patches by their row in a tile table.

    Patches of another size are brought to that of the tiles: the central square, by
    area where it is larger and linearly where it is smaller. What a file is, its
    bytes say, whatever its name. Reading is safe from many threads.

    Args:
        roots: Folder of each row, `(patches,)`.
        sources: File of each row below its folder, or in full, `(patches,)`.
        indices: Row in an HDF5 file's data set `x`; -1 where the file is one patch.
        tile_px: Side of a tile as read.
        resample: Whether patches of another size are brought to it.
    """

    def __init__(
        self,
        roots: Sequence[str] | npt.NDArray[Any],
        sources: Sequence[str] | npt.NDArray[Any],
        indices: Sequence[int] | npt.NDArray[np.int64],
        tile_px: int,
        *,
        resample: bool = True,
    ) -> None:
        self._roots = np.asarray(roots, object)
        self._sources = np.asarray(sources, object)
        self._indices = np.asarray(indices, np.int64)
        self._tile_px, self._resample = tile_px, resample
        self._files: dict[str, _Stack] = {}
        self._lock = threading.Lock()

    def read(self, rows: npt.NDArray[np.int64]) -> Pixels:
        """Read patches as tiles, `(rows, tile_px, tile_px, 3)`, in the order of `rows`.

        Raises:
            SlideError: A patch cannot be read, or has another size and may not be
                brought to that of the tiles.
        """
        px = self._tile_px
        out = np.empty((len(rows), px, px, 3), np.uint8)
        for target, row in zip(out, rows.tolist(), strict=True):
            pixels = self.read_patch(row).pixels
            if not self._resample and pixels.shape[:2] != (px, px):
                height, width = pixels.shape[:2]
                raise SlideError(
                    f"has {width} x {height} px, the model takes {px} x {px}; --set "
                    "resample=true brings such patches to its size"
                )
            target[:] = fit_patch(pixels, px)
        return out

    def read_patch(self, row: int) -> Patch:
        """Read one patch in its own size, or raise `SlideError`."""
        source, index = self._sources[row], self._indices[row]
        path = os.path.join(self._roots[row], source)  # noqa: PTH118 - for speed
        try:
            if index >= 0:
                return _to_rgb(self._find_stack(path).read(index))
            return read_image(path)
        except SlideError as error:
            place = f" row {index}" if index >= 0 else ""
            raise SlideError(f"patch {source}{place}: {error}") from error

    def read_each(self, rows: npt.NDArray[np.int64]) -> list[Patch | SlideError]:
        """Read patches in their own size, or find for each why it cannot be read."""
        found: list[Patch | SlideError] = []
        for row in rows.tolist():
            try:
                found.append(self.read_patch(row))
            except SlideError as error:
                found.append(error)
        return found

    def close(self) -> None:
        """Close the HDF5 files that are open."""
        with self._lock:
            for stack in self._files.values():
                stack.close()
            self._files.clear()

    def _find_stack(self, path: str) -> "_Stack":
        with self._lock:
            if path not in self._files:
                self._files[path] = _Stack(Path(path))
            return self._files[path]


def fit_patch(pixels: Pixels, tile_px: int) -> Pixels:
    """Bring a patch to a tile's size: the central square, resampled."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side == tile_px:
        return square
    way = cv2.INTER_AREA if side > tile_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (tile_px, tile_px), interpolation=way))


def read_image(path: str | Path) -> Patch:
    """Decode an image file by its content.

    Raises:
        SlideError: It is missing, damaged, or no image of 8 or 16 bit.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SlideError(f"cannot be read ({error.strerror or error})") from error
    if len(data) == 0:
        raise SlideError("the file is empty (0 bytes)")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        # Such as a header that claims more pixels than OpenCV allows.
        raise SlideError(f"no image that can be read ({error})") from error
    # Some decoders fill up a JPEG that is cut short with grey.
    is_cut = data[:3].tobytes() == _JPEG_START and _JPEG_END not in data.tobytes()
    if image is None or is_cut:
        raise SlideError("no image that can be read; it is damaged or cut short")
    if image.ndim == 3:
        code = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
        image = np.asarray(cv2.cvtColor(image, code))
    return _to_rgb(image)


def _to_rgb(image: npt.NDArray[Any]) -> Patch:
    """Bring grey, transparent and 16-bit pixels to 8-bit RGB."""
    kind = "rgb"
    if image.dtype == np.uint16:
        image, kind = (image >> 8).astype(np.uint8), "16 bit"
    if image.dtype != np.uint8:
        raise SlideError(f"pixels must be 8 or 16 bit, these are {image.dtype}")
    if image.ndim == 3 and image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.uint16)
        flat = (image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
        return Patch(flat.astype(np.uint8), "rgba")
    if image.ndim == 2 or image.shape[2] == 1:
        grey = image.reshape(image.shape[:2])
        return Patch(np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)), "grey")
    return Patch(image, kind)


class _Stack:
    """The patches of one HDF5 file.

    A data set that lies in one piece is mapped, so that threads need not take turns.
    """

    def __init__(self, path: Path) -> None:
        failure = f"{path.name}: cannot be read as HDF5 patches"
        with raising(SlideError, failure, remedy="it is cut short or damaged"):
            self._file = h5py.File(path, "r")
            found = HDF5File(self._file, path, SlideError).find(_IMAGES_KEY)
            if not isinstance(found, h5py.Dataset):
                raise SlideError(f"{path.name}: holds no images '{_IMAGES_KEY}'")
            self._images: Any = found
            if can_map(found):
                place = found.id.get_offset()
                self._images = np.memmap(path, found.dtype, "r", place, found.shape)

    def read(self, index: int) -> npt.NDArray[Any]:
        """Read one row, or raise `SlideError`."""
        with raising(SlideError, "cannot be read"):
            return np.array(self._images[int(index)])

    def close(self) -> None:
        self._file.close()
