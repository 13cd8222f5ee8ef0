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
# Least width of a blur on a shrunken picture.
_SHRUNK_SIGMA_PX = 7.5

# Natural-log optical density of every grey value above glass; 0 counts as 1.
_DENSITY = -np.log(np.maximum(np.arange(256), 1).astype(np.float32) / 245)


def find_pen(image: npt.NDArray[np.uint8], mpp: float) -> Mask:
    """Find pen of any colour on a slide's RGB picture at a low level."""
    soft = cv2.GaussianBlur(image, (0, 0), max(0.6, 10 / mpp))
    hue, saturation, value = cv2.split(cv2.cvtColor(soft, cv2.COLOR_RGB2HSV))
    del soft
    green = _is_within(hue, _GREEN_HUES) & (saturation > 50)
    # Haematoxylin in crowded nuclei is blue as well, but never this pure.
    blue = _is_within(hue, _BLUE_HUES) & (saturation > 110)
    red = _is_within(hue, *_RED_HUES) & (saturation > 170) & (value > 100)
    # No stain is orange or yellow.
    orange = _is_within(hue, (10, _ORANGE_HUES[1])) & (saturation > 120) & (value > 170)
    black = (value < 70) & (saturation < 90) & (value > 8)
    least_px = _MIN_PEN_UM2 / 5 / mpp**2
    marks = keep_large((green & (value < 235)) | blue | red | orange | black, least_px)
    even_ink = _find_even_ink(image, hue, saturation, value, least_px)
    if not marks.any() and not even_ink.any():
        return marks
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
    image: npt.NDArray[np.uint8],
    hue: Any,
    saturation: Any,
    value: Any,
    least_px: float,
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
    large = keep_large(ink, least_px)
    return keep_large(ink & find_even(image), least_px) if large.any() else large


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
    # NumPy takes 100 times as long for the same sums.
    sums = np.array([cv2.sumElems(tile)[:3] for tile in tiles]).reshape(-1, 3)
    means = sums / (tiles.shape[1] * tiles.shape[2])
    return np.concatenate([sharpness, means.astype(np.float32)], axis=1)


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
    density = cv2.LUT(grey, _DENSITY)
    near = cv2.GaussianBlur(density, (0, 0), max(0.6, _FOLD_WIDTH_UM * 0.4 / mpp))
    # Crowded nuclei are darker than what lies around them as well; a fold is also
    # far off what is usual on the whole slide.
    inside = near[tissue]
    median = float(np.median(inside, overwrite_input=True))
    spread = float(np.percentile(inside, 84, overwrite_input=True)) - median
    least = median + 4 * spread
    if not (inside > max(_FOLD_CORE * median, least)).any():
        return np.zeros(tissue.shape, bool)
    around = _blur_within(density, tissue, max(1.0, _FOLD_AROUND_UM / mpp), 0.05)
    usual = np.maximum(around, median, out=around)
    core = (near > np.maximum(_FOLD_CORE * usual, least)) & tissue
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
    inside = cv2.erode(
        tissue.astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    ).astype(bool)
    if inside.sum() < 100:
        return np.zeros(tissue.shape, bool)
    sigma_px = max(1.0, _FOCUS_WINDOW_UM / 2 / mpp)
    local = _blur_within(energy, inside, sigma_px, 1e-3)
    usual = float(np.median(local[inside], overwrite_input=True))
    return keep_large((local < 0.4 * usual) & inside, (_FOCUS_WINDOW_UM / mpp) ** 2)


def _blur_within(
    values: npt.NDArray[np.float32], mask: Mask, sigma_px: float, least: float
) -> npt.NDArray[np.float32]:
    """Average what lies on a mask under a Gaussian; its weight counts as `least`.

    A wide Gaussian is laid on a shrunken picture. Of real slides 99 of 100 values are
    then within 0.15 % of the whole one's, at 50 px for a fiftieth of the time.
    """
    height, width = mask.shape
    shrink = max(1, int(sigma_px / _SHRUNK_SIGMA_PX))
    size = (-(-width // shrink), -(-height // shrink))
    sigmas = (sigma_px * size[0] / width, sigma_px * size[1] / height)
    # Of a shrunken picture the first pixel reaches to the edge, and is mirrored there.
    border = cv2.BORDER_REFLECT if shrink > 1 else cv2.BORDER_DEFAULT

    def blur(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(
            small, (0, 0), sigmas[0], sigmaY=sigmas[1], borderType=border
        )
        return np.asarray(soft, np.float32)

    weight = mask.astype(np.float32)
    whole = np.maximum(blur(weight), least)
    total = blur(np.multiply(values, weight, out=weight))
    return np.asarray(cv2.resize(total / whole, (width, height)), np.float32)


def _keep_touching(mask: Mask, seeds: Mask) -> Mask:
    """Keep the connected parts of a mask that hold a seed."""
    n_parts, labels = cv2.connectedComponents(mask.astype(np.uint8))
    is_kept = np.zeros(n_parts, bool)
    is_kept[labels[seeds & mask]] = True
    return np.asarray(is_kept[labels])


def keep_large(mask: Mask, least_px: float) -> Mask:
    """Keep the connected parts of a mask of so many pixels, three at least."""
    if not mask.any():
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    is_large = stats[:, cv2.CC_STAT_AREA] >= max(3.0, least_px)
    if is_large[1:].all():
        return mask
    is_large[0] = False
    return np.asarray(is_large.take(labels))
