"""The eight views of a square tile: quarter turns and their mirror images."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

# Tissue has no up or down and no left or right, so all eight are equally real.
N_VIEWS = 8

# OpenCV turns a tile some ten times as fast as a strided copy does.
_TURNS = (
    None,
    cv2.ROTATE_90_COUNTERCLOCKWISE,
    cv2.ROTATE_180,
    cv2.ROTATE_90_CLOCKWISE,
)
_LEFT_RIGHT = 1


def apply_view(tiles: npt.NDArray[np.uint8], view: int) -> npt.NDArray[np.uint8]:
    """Turn and mirror tiles, `(tiles, height, width, channels)`.

    Args:
        tiles: The tiles; they stay as they are.
        view: 0 leaves them as they are; 1 to 3 are that many quarter turns
            counter-clockwise; 4 to 7 are the same after a left-right mirroring.

    Returns:
        In contiguous memory; height and width change places where the view is odd.
    """
    if view == 0:
        return np.ascontiguousarray(tiles)
    n, height, width, channels = tiles.shape
    side = (width, height) if view % 2 else (height, width)
    out = np.empty((n, *side, channels), tiles.dtype)
    for tile, target in zip(tiles, out, strict=True):
        turned: Any = cv2.flip(tile, _LEFT_RIGHT) if view >= 4 else tile
        if (turn := _TURNS[view % 4]) is not None:
            turned = cv2.rotate(turned, turn)
        # OpenCV leaves a single channel out.
        target[:] = turned.reshape(target.shape)
    return out
