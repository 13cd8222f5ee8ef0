"""Writing an array as a tiled pyramidal TIFF."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy.typing as npt
import tifffile

from eosin.core import atomic_path

_SMALLEST_LEVEL_PX = 256
_TILE_PX = 256
# Of JPEG, 1 to 100.
_QUALITY = 90


def write_pyramid(
    path: Path,
    image: npt.NDArray[Any],
    *,
    mpp: float,
    downsample: int | None = 2,
    compression: Literal["jpeg", "deflate", "zlib"] = "jpeg",
    description: str = "",
) -> None:
    """Write an image as a tiled TIFF with its pyramid, whole or not at all.

    Reduced levels are stored the way generic TIFF readers expect (one page each,
    marked as reduced), so OpenSlide, QuPath and libvips all open the result.

    Args:
        path: Where to write; its folder is made when missing.
        image: `(height, width, 3)` uint8, or `(height, width)` of any type.
        mpp: Micrometres per pixel, written as TIFF resolution.
        downsample: Factor from one level to the next; None writes one level only.
        compression: JPEG for colour; deflate for values that must stay exact.
        description: Text for the ImageDescription tag (ASCII).

    Raises:
        RunError: The file cannot be written.
        ValueError: `mpp` is not above 0, or `downsample` is below 2.
    """
    if not mpp > 0 or (downsample is not None and downsample < 2):
        raise ValueError(
            "a pyramid needs an mpp above 0 and a downsample of 2 or more, "
            f"got {mpp:g} and {downsample}"
        )
    colour = image.ndim == 3
    options: dict[str, Any] = {
        "tile": (_TILE_PX, _TILE_PX),
        "photometric": "rgb" if colour else "minisblack",
        "compression": compression,
        "metadata": None,
    }
    if compression == "jpeg":
        options["compressionargs"] = {"level": _QUALITY}
    with (
        atomic_path(path) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=image.nbytes > 1 << 31) as file,
    ):
        for index, level in enumerate(_iter_levels(image, downsample)):
            pixels_per_cm = 10_000 / (mpp * (downsample or 1) ** index)
            file.write(
                level,
                subfiletype=1 if index else 0,
                resolution=(pixels_per_cm, pixels_per_cm),
                resolutionunit="CENTIMETER",
                description=description if index == 0 else None,
                **options,
            )


def _iter_levels(
    image: npt.NDArray[Any], downsample: int | None
) -> Iterator[npt.NDArray[Any]]:
    yield image
    while downsample and max(image.shape[:2]) > _SMALLEST_LEVEL_PX:
        height = max(1, image.shape[0] // downsample)
        width = max(1, image.shape[1] // downsample)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        yield image
