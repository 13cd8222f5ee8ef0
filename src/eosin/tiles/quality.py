"""What spoils tissue: pen, folds, lack of focus; and how sharp a tile is.

These are flags, not verdicts: a flagged tile stays in the table, and whoever
trains or reads decides.
"""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eosin.tiles.glass import BAND_PX, find_even

Mask = npt.NDArray[np.bool_]

# The columns of a tile table that hold measures of its pixels.
MEASURES = ("sharpness", "mean_red", "mean_green", "mean_blue")

Range = tuple[tuple[int, int, int], tuple[int, int, int]]

# Lowest and highest hue (0 to 179), saturation and value of what is pen; stains lie
# from hue 125 to 178, where ink is known by having no texture.
_PEN: tuple[Range, ...] = (
    ((38, 51, 0), (90, 255, 234)),  # green
    # Haematoxylin in crowded nuclei is blue as well, but never this pure.
    ((91, 111, 0), (122, 255, 255)),
    ((0, 171, 101), (6, 255, 255)),  # red
    ((176, 171, 101), (179, 255, 255)),
    ((10, 121, 171), (37, 255, 255)),  # no stain is orange or yellow
    ((0, 0, 9), (179, 89, 69)),  # black
)
# Of ink that is even as well, which tissue never is; it is purer, too.
_EVEN_INK: tuple[Range, ...] = (
    ((7, 101, 41), (37, 255, 255)),  # brown
    ((0, 101, 151), (6, 255, 255)),  # red
    ((176, 101, 151), (179, 255, 255)),
    ((123, 156, 0), (152, 255, 255)),  # violet
    ((123, 91, 146), (152, 255, 255)),
    ((153, 181, 0), (175, 255, 255)),  # magenta
    ((153, 141, 226), (175, 255, 255)),
    ((153, 91, 241), (175, 255, 255)),
)
# Near a pen: where it is faint, or dark for the tissue below.
_FAINT_PEN: tuple[Range, ...] = (
    ((38, 31, 0), (122, 255, 255)),
    ((0, 0, 0), (179, 255, 114)),
)

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
    hsv = np.asarray(cv2.cvtColor(soft, cv2.COLOR_RGB2HSV, dst=soft), np.uint8)
    least_px = _MIN_PEN_UM2 / 5 / mpp**2
    marks = keep_large(_is_within(hsv, _PEN), least_px)
    even_ink = keep_large(_is_within(hsv, _EVEN_INK), least_px)
    if even_ink.any():
        even_ink = keep_large(even_ink & find_even(image), least_px)
    if not marks.any() and not even_ink.any():
        return marks
    near = _widen(marks | even_ink, _PEN_REACH_UM / mpp)
    # The rim of even ink is a mixture that may have a stain's colour.
    marks |= _widen(even_ink, _PEN_RIM_UM / mpp)
    near &= _is_within(hsv, _FAINT_PEN)
    grown = _keep_touching(marks | near, marks)
    return keep_large(grown, _MIN_PEN_UM2 / mpp**2)


def _widen(mask: Mask, radius_px: float) -> Mask:
    side = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.dilate(mask.view(np.uint8), np.ones((side, side))) > 0)


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


def _is_within(hsv: npt.NDArray[np.uint8], ranges: Sequence[Range]) -> Mask:
    """Tell where hue, saturation and value lie within one of some ranges."""
    within = np.zeros(hsv.shape[:2], np.uint8)
    for lowest, highest in ranges:
        within |= np.asarray(cv2.inRange(hsv, lowest, highest), np.uint8)
    return within > 0


def _find_folds(image: npt.NDArray[np.uint8], mpp: float, tissue: Mask) -> Mask:
    """Find folds: bands that are both darker and more coloured than the tissue.

    Two layers absorb about twice as much, which is a difference to the tissue
    around, so each place is compared with its surroundings.
    """
    if tissue.sum() < 100:
        return np.zeros(tissue.shape, bool)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    density = np.asarray(cv2.LUT(grey, _DENSITY), np.float32)
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
    laplacian = cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_16S)
    energy = np.abs(laplacian, out=np.asarray(laplacian))
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
    values: npt.NDArray[Any], mask: Mask, sigma_px: float, least: float
) -> npt.NDArray[np.float32]:
    """Average what lies on a mask under a Gaussian; its weight counts as `least`.

    A wide Gaussian is laid on a shrunken picture. Of real slides 99 of 100 values are
    then within 0.15 % of the whole one's, at 50 px for a fiftieth of the time.
    """
    height, width = mask.shape
    shrink = max(1, int(sigma_px / _SHRUNK_SIGMA_PX))
    sigma, n_rows = sigma_px / shrink, -(-height // shrink)
    # OpenCV's kernel ends at four sigma.
    reach = math.ceil(4 * sigma) + 1
    # Of a shrunken picture the first pixel reaches to the edge, and is mirrored there.
    border = cv2.BORDER_REFLECT if shrink > 1 else cv2.BORDER_DEFAULT
    mean = np.empty((n_rows, -(-width // shrink)), np.float32)
    for first in range(0, n_rows, BAND_PX):
        start = max(0, first - reach)
        rows = slice(start * shrink, (first + BAND_PX + reach) * shrink)
        own = mask[rows].astype(np.float32)
        weight, total = (
            cv2.GaussianBlur(_shrink(plane, shrink), (0, 0), sigma, borderType=border)
            for plane in (own, own * values[rows])
        )
        band = total / np.maximum(weight, least)
        mean[first : first + BAND_PX] = band[first - start :][:BAND_PX]
    if shrink == 1:
        return mean
    grown = cv2.resize(mean, (mean.shape[1] * shrink, n_rows * shrink))
    return np.asarray(grown[:height, :width], np.float32)


def _shrink(plane: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Average over whole blocks; where they reach beyond the plane, it is 0."""
    height, width = (-(-side // factor) for side in plane.shape)
    padded = np.pad(plane, [(0, -side % factor) for side in plane.shape])
    small = cv2.resize(padded, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _keep_touching(mask: Mask, seeds: Mask) -> Mask:
    """Keep the connected parts of a mask that hold a seed."""
    n_parts, labels = cv2.connectedComponents(mask.view(np.uint8))
    is_kept = np.zeros(n_parts, bool)
    is_kept[labels[seeds & mask]] = True
    return _pick(is_kept, np.asarray(labels))


def keep_large(mask: Mask, least_px: float) -> Mask:
    """Keep the connected parts of a mask of so many pixels, three at least."""
    if not mask.any():
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    is_large = stats[:, cv2.CC_STAT_AREA] >= max(3.0, least_px)
    if is_large[1:].all():
        return mask
    is_large[0] = False
    return _pick(is_large, np.asarray(labels))


def _pick(is_kept: npt.NDArray[np.bool_], labels: npt.NDArray[np.int32]) -> Mask:
    """Look up labels, in bands, as NumPy makes 64 bits of each."""
    mask = np.empty(labels.shape, bool)
    for top in range(0, len(labels), BAND_PX):
        mask[top : top + BAND_PX] = is_kept.take(labels[top : top + BAND_PX])
    return mask
