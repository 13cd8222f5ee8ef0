"""What spoils tissue: pen, folds, lack of focus; and how sharp a tile is.

These are flags, not verdicts: a flagged tile stays in the table, and whoever
trains or reads decides.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eosin.tiles.glass import find_even

Mask = npt.NDArray[np.bool_]

# The columns of a tile table that hold measures of its pixels.
MEASURES = ("sharpness", "mean_red", "mean_green", "mean_blue")

# Ranges of OpenCV's hue (0 to 179) of pens; stains lie from 125 to 178, where ink is
# known by having no texture.
_GREEN_HUES = (38, 90)
_BLUE_HUES = (91, 122)
_RED_HUES = ((0, 6), (176, 179))
_ORANGE_HUES = (7, 37)
_VIOLET_HUES = (123, 152)
_MAGENTA_HUES = (153, 175)

_MIN_PEN_UM2 = 30_000.0
# How far a pen is followed to where it is faint, or dark for the tissue below.
_PEN_REACH_UM = 150.0
_PEN_RIM_UM = 32.0

_FOLD_WIDTH_UM = 30.0
_FOLD_AROUND_UM = 400.0
# Two layers absorb nearly twice as much; the flanks of a fold somewhat more.
_FOLD_CORE = 1.8
_FOLD_FLANK = 1.3
_FOCUS_WINDOW_UM = 250.0


def find_pen(image: npt.NDArray[np.uint8], mpp: float) -> Mask:
    """Find pen of any colour on a slide's RGB picture at a low level."""
    soft = cv2.GaussianBlur(image, (0, 0), max(0.6, 10 / mpp))
    hue, saturation, value = cv2.split(cv2.cvtColor(soft, cv2.COLOR_RGB2HSV))
    green = _is_within(hue, _GREEN_HUES) & (saturation > 50)
    # Haematoxylin in crowded nuclei is blue as well, but never this pure.
    blue = _is_within(hue, _BLUE_HUES) & (saturation > 110)
    red = _is_within(hue, *_RED_HUES) & (saturation > 170) & (value > 100)
    # No stain is orange or yellow.
    orange = _is_within(hue, (10, _ORANGE_HUES[1])) & (saturation > 120) & (value > 170)
    black = (value < 70) & (saturation < 90) & (value > 8)
    least_px = _MIN_PEN_UM2 / 5 / mpp**2
    marks = keep_large((green & (value < 235)) | blue | red | orange | black, least_px)
    even_ink = keep_large(_find_even_ink(image, hue, saturation, value), least_px)
    near = _widen(marks | even_ink, _PEN_REACH_UM / mpp)
    is_pen_hue = _is_within(hue, _GREEN_HUES, _BLUE_HUES)
    faint = (is_pen_hue & (saturation > 30)) | (value < 115)
    # The rim of even ink is a mixture that may have a stain's colour.
    marks |= _widen(even_ink, _PEN_RIM_UM / mpp)
    grown = _keep_touching(marks | (faint & near), marks)
    return keep_large(grown, _MIN_PEN_UM2 / mpp**2)


def _widen(mask: Mask, radius_px: float) -> Mask:
    side = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side))) > 0)


def _find_even_ink(
    image: npt.NDArray[np.uint8], hue: Any, saturation: Any, value: Any
) -> Mask:
    """Find ink of a stain's hues, which is even as tissue never is, and purer."""
    brown = _is_within(hue, _ORANGE_HUES) & (saturation > 100) & (value > 40)
    red = _is_within(hue, *_RED_HUES) & (saturation > 100) & (value > 150)
    violet = _is_within(hue, _VIOLET_HUES) & (
        (saturation > 155) | ((saturation > 90) & (value > 145))
    )
    magenta = _is_within(hue, _MAGENTA_HUES) & (
        (saturation > 180)
        | ((saturation > 140) & (value > 225))
        | ((saturation > 90) & (value > 240))
    )
    ink = brown | red | violet | magenta
    return np.asarray(ink & find_even(image) if ink.any() else ink)


def find_artefacts(
    image: npt.NDArray[np.uint8], mpp: float, tissue: Mask, pen: Mask
) -> dict[str, Mask]:
    """Find `pen`, `fold` and `out_of_focus` on a slide's RGB picture at a low level."""
    return {
        "pen": pen,
        "fold": _find_folds(image, mpp, tissue),
        "out_of_focus": _find_blur(image, mpp, tissue),
    }


def measure_sharpness(tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Measure how sharp tiles are, `(tiles,)`: the variance of the grey Laplacian.

    Only tiles of one mpp can be compared.
    """
    return np.array(
        [
            cv2.Laplacian(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var()
            for tile in tiles
        ],
        np.float32,
    )


def measure_plainly(tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Measure what a tile table says of RGB pixels, `(tiles, MEASURES)`."""
    sharpness = measure_sharpness(tiles)[:, None]
    means = tiles.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
    return np.concatenate([sharpness, means], axis=1)


def _is_within(hue: Any, *ranges: tuple[int, int]) -> Mask:
    parts = [(hue >= first) & (hue <= last) for first, last in ranges]
    return np.asarray(np.logical_or.reduce(parts))


def _find_folds(image: npt.NDArray[np.uint8], mpp: float, tissue: Mask) -> Mask:
    """Find folds: bands that are both darker and more coloured than the tissue.

    Two layers absorb about twice as much, which is a difference to the tissue
    around, so each place is compared with its surroundings.
    """
    if tissue.sum() < 100:
        return np.zeros(tissue.shape, bool)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    density = -np.log(np.maximum(grey, 1).astype(np.float32) / 245)
    near = cv2.GaussianBlur(density, (0, 0), max(0.6, _FOLD_WIDTH_UM * 0.4 / mpp))
    weight = tissue.astype(np.float32)
    sigma = max(1.0, _FOLD_AROUND_UM / mpp)
    total = cv2.GaussianBlur(density * weight, (0, 0), sigma)
    around = total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 0.05)
    # Crowded nuclei are darker than what lies around them as well; a fold is also
    # far off what is usual on the whole slide.
    inside = near[tissue]
    median = float(np.median(inside))
    spread = float(np.percentile(inside, 84)) - median
    usual = np.maximum(around, median)
    core = (near > np.maximum(_FOLD_CORE * usual, median + 4 * spread)) & tissue
    band = _keep_touching((near > _FOLD_FLANK * usual) & tissue, core)
    return keep_large(band, (_FOLD_WIDTH_UM / mpp) ** 2 * 4)


def _find_blur(image: npt.NDArray[np.uint8], mpp: float, tissue: Mask) -> Mask:
    """Find tissue whose fine structure is much weaker than elsewhere on the slide."""
    if tissue.sum() < 100:
        return np.zeros(tissue.shape, bool)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    energy = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    # The rim of the tissue is an edge, however blurred the tissue is.
    radius = max(1, round(20 / mpp))
    inner = cv2.erode(
        tissue.astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    ).astype(np.float32)
    sigma = max(1.0, _FOCUS_WINDOW_UM / 2 / mpp)
    weight = cv2.GaussianBlur(inner, (0, 0), sigma)
    local = cv2.GaussianBlur(energy * inner, (0, 0), sigma) / np.maximum(weight, 1e-3)
    inside = inner > 0
    if inside.sum() < 100:
        return np.zeros(tissue.shape, bool)
    is_weak = local < 0.4 * float(np.median(local[inside]))
    return keep_large(is_weak & inside, (_FOCUS_WINDOW_UM / mpp) ** 2)


def _keep_touching(mask: Mask, seeds: Mask) -> Mask:
    """Keep the connected parts of a mask that hold a seed."""
    n_parts, labels = cv2.connectedComponents(mask.astype(np.uint8))
    is_kept = np.zeros(n_parts, bool)
    is_kept[labels[seeds & mask]] = True
    return np.asarray(is_kept[labels])


def keep_large(mask: Mask, least_px: float) -> Mask:
    """Keep the connected parts of a mask of so many pixels, three at least."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    is_large = stats[:, cv2.CC_STAT_AREA] >= max(3.0, least_px)
    is_large[0] = False
    return np.asarray(is_large[labels])
