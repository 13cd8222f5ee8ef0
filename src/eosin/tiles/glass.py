"""What a slide's own glass looks like: yellowed, tinted, dim, or plain."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Image = npt.NDArray[np.uint8]
Colour = npt.NDArray[np.float64]

# A pixel's neighbourhood in which glass and ink are even, and tissue never is: there
# the grey deviates by 4 at least on real slides, on glass by 2 at most.
_WINDOW_PX = 5
_EVEN = 3.0

# Spread of the channels, 0 to 255: below the first glass is as good as plain; above the
# others it is no glass. Stains are pink to violet, so that pink glass is less certain;
# much yellow is what old mounting media take on.
_LEAST_TINT = 10
_MOST_TINT = 70
_MOST_YELLOW_TINT = 120
_MOST_PINK_TINT = 30
# Least middle one of its three channels.
_LEAST_BRIGHT = 130
# Even pixels of one colour that make it the colour of glass.
_LEAST_SHARE = 0.02
_MOST_COLOURS = 5
_FILLING = 253
# So many pixels tell a colour's share well enough.
_SAMPLE = 500_000
_MOST_PIXELS = 2_000_000
_STRIPE_PX = 32
_BIN = 8


def find_even(image: Image) -> Mask:
    """Find where an RGB picture has no texture, as glass and ink have none."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = (_WINDOW_PX, _WINDOW_PX)
    mean = cv2.blur(grey, size)
    return np.asarray(cv2.blur(grey * grey, size) - mean * mean < _EVEN**2)


def find_glass(image: Image) -> tuple[Colour, ...]:
    """Find the colours of glass on a slide's RGB picture, the commonest first.

    Glass is even, bright and of one colour over much of the slide. Tissue without
    glass gives none, as it has texture and is pink to violet.
    """
    colours = _find_colours(image)
    if not colours:
        return ()
    lightest = max(colours, key=lambda colour: float(colour[1]))
    return tuple(colour for colour in colours if _is_glass(colour, lightest))


def whiten_glass(image: Image) -> Image:
    """Take the tint of a slide's commonest glass out of its picture, if it has one."""
    glass = find_glass(image)
    return _whiten(image, glass[0]) if glass and is_tinted(glass[0]) else image


def _find_colours(image: Image) -> list[Colour]:
    """Find the colours of even parts, the commonest first."""
    # Of a large picture some stripes tell as much.
    n_stripes = 1 + image.size // 3 // _MOST_PIXELS
    image = image[np.arange(len(image)) // _STRIPE_PX % n_stripes == 0]
    even = find_even(image)
    # Parts that were never scanned are filled with white.
    pixels = image[even & (image.min(axis=2) < _FILLING)]
    step = 1 + len(pixels) // _SAMPLE
    pixels, least = pixels[::step], _LEAST_SHARE * even.size / step
    colours: list[Colour] = []
    while len(colours) < _MOST_COLOURS and len(pixels) > least:
        bins = (pixels // _BIN).astype(np.int64) @ np.array([1024, 32, 1])
        commonest = int(np.bincount(bins).argmax())
        middle = np.array([commonest >> 10, (commonest >> 5) & 31, commonest & 31])
        is_near = (np.abs(pixels - (middle * _BIN + _BIN / 2)) <= _BIN).all(axis=1)
        if is_near.sum() < least:
            break
        colours.append(np.median(pixels[is_near], axis=0))
        spread = np.minimum(
            _measure_spread(pixels[None]),
            _measure_spread(_whiten(pixels[None], colours[-1])),
        )
        is_other = spread[0] >= _LEAST_TINT
        pixels = pixels[is_other & ~is_near]
    return colours


def measure_colour(image: Image, glass: Sequence[Colour] = ()) -> Image:
    """Measure how coloured pixels are, 0 to 255, seen against their slide's glass.

    That is the spread of the channels: in the dark HSV's saturation is noise. Where
    all glass is tinted, only what is lighter than that may be plain: a stain can make
    grey of its tint.
    """
    spread = _measure_spread(image)
    tints = [colour for colour in glass if is_tinted(colour)]
    if not tints:
        return spread
    if len(tints) == len(glass):
        spread[image.min(axis=2) < min(tint.min() for tint in tints)] = 255
    for tint in tints:
        spread = np.minimum(spread, _measure_spread(_whiten(image, tint)))
    return spread


def _measure_spread(image: Image) -> Image:
    return np.asarray(cv2.subtract(image.max(axis=2), image.min(axis=2)))


def _whiten(image: Image, tint: Colour) -> Image:
    """Take a tint out of a picture: its glass becomes grey, as bright as before."""
    factors = tint.mean() / np.maximum(tint, 1)
    tables = np.clip(np.arange(256)[:, None] * factors, 0, 255).round()
    return np.asarray(cv2.LUT(image, tables.astype(np.uint8)[:, None]))


def is_tinted(colour: Colour) -> bool:
    """Tell whether a colour of glass is anything but plain."""
    return bool(np.ptp(colour) >= _LEAST_TINT)


def _is_glass(colour: Colour, lightest: Colour) -> bool:
    """Whether even pixels of a colour may be glass, by the lightest such colour.

    Seen against that, any other that is pink may be faint tissue.
    """
    red, green, blue = colour
    most = _MOST_YELLOW_TINT if blue < green <= red else _MOST_TINT
    if colour is lightest:
        is_pink = is_tinted(colour) and green < min(red, blue)
        most = _MOST_PINK_TINT if is_pink else most
    else:
        own = colour * lightest.mean() / np.maximum(lightest, 1)
        if is_tinted(own) and own[1] < min(own[0], own[2]):
            return False
    return bool(np.ptp(colour) <= most and np.median(colour) >= _LEAST_BRIGHT)
