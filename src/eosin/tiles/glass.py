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
# Rows at once, so that memory stays bounded.
BAND_PX = 512
# So many pixels tell a colour's share well enough.
_SAMPLE = 500_000
_MOST_PIXELS = 2_000_000
_STRIPE_PX = 32
_BIN = 8


def find_even(image: Image) -> Mask:
    """Find where an RGB picture has no texture, as glass and ink have none."""
    even, size = np.empty(image.shape[:2], bool), (_WINDOW_PX, _WINDOW_PX)
    for top in range(0, len(image), BAND_PX):
        first = max(0, top - _WINDOW_PX // 2)
        rows = image[first : top + BAND_PX + _WINDOW_PX // 2]
        grey = cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY).astype(np.float32)
        mean = cv2.blur(grey, size)
        own = cv2.blur(grey * grey, size) - mean * mean < _EVEN**2
        even[top : top + BAND_PX] = own[top - first :][:BAND_PX]
    return even


def find_extremes(image: Image) -> tuple[Image, Image]:
    """Find each pixel's darkest and its lightest channel, `(height, width)`.

    NumPy takes 30 times as long to reduce an axis of three.
    """
    red, green, blue = cv2.split(image)
    low = cv2.min(cv2.min(red, green), blue)
    return np.asarray(low), np.asarray(cv2.max(cv2.max(red, green), blue))


def find_quantile(values: Image, share: float) -> float:
    """Find the value below which a share of uint8 values lies, as NumPy does."""
    below = np.bincount(values.ravel(), minlength=256).cumsum()
    place = (values.size - 1) * share
    lower, upper = np.searchsorted(below, [int(place), int(np.ceil(place))], "right")
    return float(lower + (upper - lower) * (place % 1))


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
    places = np.flatnonzero(even & (find_extremes(image)[0] < _FILLING))
    step = 1 + len(places) // _SAMPLE
    pixels = image.reshape(1, -1, 3).take(places[::step], axis=1)
    least = _LEAST_SHARE * even.size / step
    colours: list[Colour] = []
    while len(colours) < _MOST_COLOURS and pixels.shape[1] > least:
        counts = cv2.calcHist(
            [pixels], [0, 1, 2], None, [256 // _BIN] * 3, [0, 256] * 3
        )
        commonest = np.array(np.unravel_index(counts.argmax(), counts.shape)) * _BIN
        darkest = tuple(np.maximum(commonest - _BIN // 2, 0).tolist())
        lightest = tuple(np.minimum(commonest + 3 * _BIN // 2, 255).tolist())
        is_near = cv2.inRange(pixels, darkest, lightest).astype(bool)
        if is_near.sum() < least:
            break
        near = pixels[is_near]
        colours.append(np.array([find_quantile(c, 0.5) for c in near.T]))
        spread = np.minimum(
            _measure_spread(pixels), _measure_spread(_whiten(pixels, colours[-1]))
        )
        pixels = pixels[(spread >= _LEAST_TINT) & ~is_near][None]
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
        darkest = min(tint.min() for tint in tints)
        spread[find_extremes(image)[0] < darkest] = 255
    for tint in tints:
        spread = np.minimum(spread, _measure_spread(_whiten(image, tint)))
    return spread


def _measure_spread(image: Image) -> Image:
    low, high = find_extremes(image)
    return np.asarray(cv2.subtract(high, low))


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
