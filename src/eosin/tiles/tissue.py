"""Where a slide's tissue is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from eosin.settings import TissueName
from eosin.slides import Slide
from eosin.tiles.glass import (
    Colour,
    find_extremes,
    find_glass,
    find_quantile,
    is_tinted,
    measure_colour,
    whiten_glass,
)
from eosin.tiles.quality import find_artefacts, find_pen, keep_large

Mask = npt.NDArray[np.bool_]

# Tissue is looked for at this resolution: cells vanish, glands and gaps do not.
_LOW_MPP = 8.0
_MAX_PIXELS = 25_000_000

# Below this brightness nothing shines through: a scan's black border, or a
# fluorescence slide.
_BLACK = 25
_LEAST_INK = 40
# What ink is replaced by.
_WHITE = 245


class TissueMethod(Protocol):
    """A way to find tissue in a small picture of a slide."""

    def find(
        self,
        image: npt.NDArray[np.uint8],
        mpp: float,
        glass: Sequence[Colour] | None = None,
    ) -> Mask:
        """Find tissue, True on it, in an RGB picture of `mpp` micrometres per pixel.

        `glass` is the colours of the slide's own, the commonest first; None finds them.
        """
        ...


@dataclass(frozen=True)
class OtsuTissue:
    """Tissue is coloured, glass is grey: Otsu's threshold on saturation.

    Where the slide's own glass is tinted, colour is what differs from it.

    A threshold that Otsu's method finds on a slide without two kinds of pixels
    means nothing, so it is held between `lowest` and `highest`: a blank slide
    stays empty, and a slide full of tissue stays whole.

    Attributes:
        sigma_um: Blur before the threshold, in micrometres.
        lowest: Least threshold on saturation, 0 to 255.
        highest: Greatest threshold on saturation.
        min_area_um2: Smaller islands and holes are cleaned away.
    """

    sigma_um: float = 12.0
    lowest: int = 12
    highest: int = 40
    min_area_um2: float = 20_000.0

    def find(
        self,
        image: npt.NDArray[np.uint8],
        mpp: float,
        glass: Sequence[Colour] | None = None,
    ) -> Mask:
        """Find tissue in an RGB picture."""
        glass = find_glass(image) if glass is None else glass
        spread = measure_colour(image, glass)
        soft = cv2.GaussianBlur(spread, (0, 0), max(0.5, self.sigma_um / mpp))
        threshold, _ = cv2.threshold(soft, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        threshold = float(np.clip(threshold, self.lowest, self.highest))
        return _clean((soft > threshold) & _is_lit(image), self.min_area_um2, mpp)


@dataclass(frozen=True)
class OpticalDensityTissue:
    """Tissue absorbs light: a threshold on optical density, for pale slides.

    The slide's own glass is the brightest tenth of its pixels, and what else is like
    tinted glass; tissue absorbs
    `least_density` more than that in its most absorbing channel.

    Attributes:
        sigma_um: Blur before the threshold, in micrometres.
        least_density: Optical density (base 10) above the glass.
        min_area_um2: Smaller islands and holes are cleaned away.
    """

    sigma_um: float = 16.0
    least_density: float = 0.03
    min_area_um2: float = 20_000.0

    def find(
        self,
        image: npt.NDArray[np.uint8],
        mpp: float,
        glass: Sequence[Colour] | None = None,
    ) -> Mask:
        """Find tissue in an RGB picture."""
        soft = cv2.GaussianBlur(image, (0, 0), max(0.5, self.sigma_um / mpp))
        light = np.array(
            [max(find_quantile(c, 0.9), 1) for c in np.moveaxis(soft, 2, 0)]
        )
        # Plain glass is bright; where the brightest tenth is not, and nothing else is
        # like glass, the slide shows none.
        is_bright = light.min() >= 200
        glass = find_glass(image) if glass is None else glass
        glass = [c for c in glass if not is_bright or is_tinted(c)]
        if is_bright or not glass:
            glass = [light if is_bright else np.full(3, 245.0), *glass]
        found = _is_lit(image)
        for colour in glass:
            # Of every value in every channel whether it absorbs enough.
            ratios = np.maximum(np.arange(256)[:, None], 1) / colour
            is_dense = (-np.log10(ratios) > self.least_density).astype(np.uint8)
            found &= find_extremes(np.asarray(cv2.LUT(soft, is_dense[:, None])))[1] > 0
        return _clean(found, self.min_area_um2, mpp)


def find_tissue_method(name: TissueName) -> TissueMethod:
    """Return the method of a name in settings and cards."""
    return OtsuTissue() if name == "saturation" else OpticalDensityTissue()


@dataclass(frozen=True)
class TissueMap:
    """A slide's tissue and what spoils it, on a low level.

    Attributes:
        mask: True on tissue, `(height, width)`.
        downsample: Level-0 pixels per pixel of the mask.
        artefacts: True where each fault is: `pen`, `fold`, `out_of_focus`.
        image: What it was found on, RGB, `(height, width, 3)`; None where it is gone.
    """

    mask: Mask
    downsample: float
    artefacts: Mapping[str, Mask] = field(default_factory=dict)
    image: npt.NDArray[np.uint8] | None = field(default=None, repr=False)


def find_tissue(slide: Slide, method: TissueMethod) -> TissueMap:
    """Find a slide's tissue and its faults.

    The slide is read at about 8 micrometres per pixel, in bands, so that memory
    stays bounded even where the file holds only its finest level. Pen marks are
    never tissue.

    Raises:
        SlideError: The slide has no mpp, or cannot be read.
    """
    own_mpp = slide.require_mpp()
    width, height = slide.dimensions
    downsample = max(1.0, _LOW_MPP / own_mpp, math.sqrt(width * height / _MAX_PIXELS))
    image = slide.read_image(downsample=downsample)
    mpp = own_mpp * downsample
    pen = find_pen(image, mpp)
    glass = find_glass(image)
    if any(map(is_tinted, glass)):
        # Ink is what differs from the glass, whether light passes both or ink alone.
        pen &= measure_colour(image, glass) > _LEAST_INK
        pen |= find_pen(whiten_glass(image), mpp)
    if pen.any():
        # Ink is purer than any stain, and would raise the threshold above a faint one.
        bare = np.where(pen[..., None], np.uint8(_WHITE), image)
        mask = method.find(bare, mpp) & ~pen
    else:
        mask = method.find(image, mpp, glass)
    return TissueMap(mask, downsample, find_artefacts(image, mpp, mask, pen), image)


def _is_lit(image: npt.NDArray[np.uint8]) -> Mask:
    return np.asarray(find_extremes(image)[1] > _BLACK)


def _clean(mask: Mask, min_area_um2: float, mpp: float) -> Mask:
    """Drop islands and fill holes below an area."""
    least_px = max(4, round(min_area_um2 / mpp**2))
    return ~keep_large(~keep_large(mask, least_px), least_px)
