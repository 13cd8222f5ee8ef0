"""What tiles look like, in numbers: light, colour, stain and sharpness."""

import hashlib
from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from eosin.tiles.glass import find_extremes
from eosin.tiles.quality import measure_sharpness
from eosin.tiles.stain import measure_density, unmix_density

# The measures, in the order of their columns.
APPEARANCE = (
    "intensity",
    "saturation",
    "haematoxylin",
    "eosin",
    "sharpness",
    "detail",
    "contrast",
    "white_share",
    "black_share",
    "clipped_share",
    "density_red",
    "density_green",
    "density_blue",
)

# Grey levels: what is this light and no more coloured than that is no tissue.
_WHITE, _WHITE_CHROMA = 200, 25
_BLACK = 25
# Below this difference between channels a pixel has no colour to be clipped.
_COLOURED = 60
# Variance that noise alone has, so that nothing is divided by nearly 0.
_NOISE_VARIANCE = 4.0


def measure_appearance(tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Measure what tiles look like.

    Args:
        tiles: `(tiles, height, width, 3)`, RGB.

    Returns:
        `(tiles, measures)`, in the order of `APPEARANCE`: mean grey (`intensity`, 0
        to 255); mean saturation (0 to 1); mean amounts of haematoxylin and eosin
        where it is not white (see `unmix_density`); variance of the grey Laplacian
        (`sharpness`); the same over the variance of grey (`detail`), which compares
        tiles of unlike content; standard deviation of grey (`contrast`, grey
        levels); share of pixels that are white, black, or coloured and at the end of
        the scale in a channel (0 to 1); mean optical density of red, green and blue
        where it is not white.
    """
    if len(tiles) == 0:
        return np.empty((0, len(APPEARANCE)), np.float32)
    sharpness = measure_sharpness(tiles)
    plain = np.array([_measure_pixels(tile) for tile in tiles], np.float32)
    intensity, saturation, contrast, white, black, clipped = plain.T[:6]
    density = plain[:, 6:]
    detail = sharpness / (contrast**2 + _NOISE_VARIANCE)
    columns = [intensity, saturation, *unmix_density(density).T, sharpness, detail]
    columns += [contrast, white, black, clipped, *density.T]
    return np.stack(columns, axis=1).astype(np.float32)


def hash_tiles(tiles: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint64]:
    """Hash RGB tiles of any size, `(tiles,)`; identical ones have equal hashes."""
    return np.array([_hash_pixels(tile) for tile in tiles], np.uint64)


def _hash_pixels(pixels: npt.NDArray[np.uint8]) -> int:
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=8)
    digest.update(pixels.tobytes())
    return int.from_bytes(digest.digest(), "big")


def _measure_pixels(tile: npt.NDArray[np.uint8]) -> tuple[float, ...]:
    """Measure grey mean, saturation, contrast, and the shares of odd pixels."""
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    mean, spread = cv2.meanStdDev(grey)
    low, high = find_extremes(tile)
    chroma = high - low
    saturation = cv2.mean(cv2.cvtColor(tile, cv2.COLOR_RGB2HSV))[1] / 255
    is_white = (low >= _WHITE) & (chroma <= _WHITE_CHROMA)
    is_clipped = (chroma >= _COLOURED) & ((low == 0) | (high == 255))
    return (
        float(mean[0, 0]),
        saturation,
        float(spread[0, 0]),
        float(is_white.mean()),
        float((high <= _BLACK).mean()),
        float(is_clipped.mean()),
        *measure_density(tile, ~is_white).tolist(),
    )
