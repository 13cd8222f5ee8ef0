"""What a slide may ask for: sizes beyond which a header is damaged, or work endless."""

import numpy as np
import numpy.typing as npt

from eosin.core import SlideError

# A glass slide of 26 x 76 mm at 0.05 um is smaller.
_MOST_SIDE_PX, _MOST_PIXELS = 2_000_000, 10**12
# A slide without levels has up to 50 Gpx.
_MOST_DECODED_PIXELS = 10**11
# A label or an overview has some millions.
MOST_PICTURE_PIXELS = 100_000_000
# No scanner writes larger native tiles.
MAX_TILE_PX = 8192


def check_dimensions(name: str, width_px: int, height_px: int) -> None:
    """Check that a slide is no larger than glass."""
    is_large = max(width_px, height_px) > _MOST_SIDE_PX
    if is_large or width_px * height_px > _MOST_PIXELS:
        raise SlideError(
            f"{name}: a slide has at most {_MOST_SIDE_PX:,} px a side and "
            f"{_MOST_PIXELS // 10**9} Gpx, this one says {width_px} x {height_px}; it "
            "is damaged"
        )


def check_decoding(name: str, level: int, n_pixels: int) -> None:
    """Check that no picture of a whole slide takes hours to decode."""
    if n_pixels > _MOST_DECODED_PIXELS:
        raise SlideError(
            f"{name}: a picture of the whole slide may decode "
            f"{_MOST_DECODED_PIXELS // 10**9} Gpx, this one has "
            f"{n_pixels // 10**9} in its level {level}; convert it to a TIFF with "
            "coarser levels"
        )


def check_boxes(
    boxes: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
    damaged: npt.NDArray[np.bool_] | None,
    threads: int,
) -> None:
    """Check what a caller gives `Slide.read_tiles`."""
    fits = boxes.ndim == 2 and boxes.shape[1] == 4 and len(boxes) == len(out)
    fits &= out.ndim == 4 and out.shape[-1] == 3 and out.dtype == np.uint8
    if not fits or (damaged is not None and damaged.shape != (len(boxes),)):
        raise ValueError(
            "read_tiles needs boxes (tiles, 4), out (tiles, height, width, 3) of "
            f"uint8 and damaged (tiles,), got {boxes.shape}, {out.shape} of "
            f"{out.dtype} and {None if damaged is None else damaged.shape}"
        )
    if len(boxes) and (least := boxes[:, 2:].min()) < 1:
        raise ValueError(
            f"boxes must be 1 level-0 pixel or more a side, one has {least}"
        )
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, got {threads}")
