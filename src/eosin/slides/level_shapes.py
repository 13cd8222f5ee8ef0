"""Which images of a file are levels of one slide: they have its shape, and show it."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from eosin.slides.slide import DamagedTileError, Level, Slide

Size = tuple[int, int]

# A level's sides are whole numbers, rounded by some writers from level to level.
_WHOLE_PX = 1.5
# Where a side does not follow from the other by more than this, the shape is another.
_ROUNDING_PX = 2.0

# Levels are compared on so many squares a side, of so many pixels of the coarser one or
# of the finer one at most, by the means of so many parts a side of each.
_SPOTS, _SPOT_PX, _MOST_SPOT_PX, _PARTS = 2, 32, 128, 4
# Half of the squares, as others may be glass, differ by so much of 255 where levels do
# not show the same. Lossy codecs and sharpening change means by 2 or 3.
_LEAST_DIFFERENCE = 12


def fit_level(full: Size, level: Size, tile: Size | None = None) -> Size | None:
    """Find the part of an image that is the slide shrunk by a whole number.

    Some writers pad each level to whole tiles (CAMELYON16's slides are such); the
    padding is taken off, where halving the slide again and again explains it. A label
    has the slide's shape by chance, but hardly a whole factor too.

    Args:
        full: (width, height) of level 0.
        level: That of the image.
        tile: That of its native tiles; None where it has none.

    Returns:
        The (width, height) that the slide takes of it, all of it but for padding;
        None where it is no level.
    """
    if not is_smaller(full, level):
        return None
    factors = full[0] / level[0], full[1] / level[1]
    whole = round(sum(factors) / 2)
    if whole > 1 and all(
        abs(side / whole - own) <= _WHOLE_PX
        for side, own in zip(full, level, strict=True)
    ):
        return level
    # Of the slide's shape it may be padded or shrunk by an odd factor: who knows.
    if tile is None or has_shape(full, level):
        return None
    power = 2 ** math.ceil(math.log2(max(factors)))
    width, height = math.ceil(full[0] / power), math.ceil(full[1] / power)
    padded = -(-width // tile[0]) * tile[0], -(-height // tile[1]) * tile[1]
    return (width, height) if power > 1 and padded == level else None


def has_shape(full: Size, level: Size, share: float = 0.0) -> bool:
    """Tell whether an image has the slide's shape, but for rounding and a share."""
    return any(
        abs(level[a] * full[b] / full[a] - level[b]) <= _ROUNDING_PX + share * level[b]
        for a, b in ((0, 1), (1, 0))
    )


def is_smaller(full: Size, level: Size) -> bool:
    """Tell whether an image is smaller in both directions, and has pixels."""
    return 1 <= level[0] < full[0] and 1 <= level[1] < full[1]


def choose_levels(
    sizes: Sequence[Size], fit: Callable[[int], Size | None]
) -> tuple[Mapping[int, Size], tuple[str, ...]]:
    """Choose the images that are levels of the first, which is the slide.

    Args:
        sizes: (width, height) of each image.
        fit: Gives what the slide takes of an image, by its number; None for no level.

    Returns:
        By the number of each level, finest first, its size without padding; and a
        sentence for each image that is left out.
    """
    last = sizes[0]
    chosen, cautions = {0: last}, []
    order = sorted(range(1, len(sizes)), key=lambda n: -sizes[n][0] * sizes[n][1])
    for number in order:
        size = fit(number)
        if size is not None and is_smaller(last, size):
            chosen[number] = last = size
            continue
        cautions.append(
            "an image of {} x {} px is left out, as a level must be the slide ({} x {} "
            "px) made smaller, each level smaller than the one before".format(
                *sizes[number], *sizes[0]
            )
        )
    return chosen, tuple(cautions)


def make_levels(sizes: Sequence[Size]) -> tuple[Level, ...]:
    """Make levels of their sizes, finest first."""
    width, height = sizes[0]
    return tuple(Level(w, h, (width / w + height / h) / 2) for w, h in sizes)


def find_odd_levels(slide: Slide) -> Iterator[str]:
    """Yield a sentence for each level that shows something else than the slide.

    A label may have a level's shape by chance. Some squares of each level are compared
    with the same places of the next finer one that shows the slide; damaged ones are
    passed over.
    """
    good = 0
    for index, level in enumerate(slide.levels[1:], start=1):
        if not _shows_other(_iter_differences(slide, good, index)):
            good = index
            continue
        yield (
            f"level {index} ({level.width_px} x {level.height_px} px) shows other "
            f"things than level {good}, so it may be a label or another slide; "
            "overviews and tissue may be wrong, so convert the slide without it"
        )


def _shows_other(differences: Iterator[float]) -> bool:
    """Say whether half of the squares differ, and look at no more than tells it."""
    n_alike = n_other = 0
    for difference in differences:
        n_other += difference > _LEAST_DIFFERENCE
        n_alike += difference <= _LEAST_DIFFERENCE
        if n_alike > _SPOTS**2 - _SPOTS or n_other == _SPOTS:
            break
    return n_other >= _SPOTS


def _iter_differences(slide: Slide, fine: int, coarse: int) -> Iterator[float]:
    """Yield by how much the squares of two levels differ, 0 to 255."""
    level = slide.levels[coarse]
    ratio = level.downsample / slide.levels[fine].downsample
    sides = level.height_px, level.width_px
    side = int(min(_SPOT_PX, _MOST_SPOT_PX / ratio, *sides))
    for place in np.ndindex(_SPOTS, _SPOTS) if side >= _PARTS else ():
        y, x = (
            round((step + 0.5) / _SPOTS * (whole - side) * level.downsample)
            for step, whole in zip(place, sides, strict=True)
        )
        with contextlib.suppress(DamagedTileError):
            one = _average(slide.read(x, y, side, side, level=coarse))
            length = round(side * ratio)
            other = _average(slide.read(x, y, length, length, level=fine))
            yield float(np.abs(one - other).mean())


def _average(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    size = (_PARTS, _PARTS)
    means = cv2.resize(pixels.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32)
