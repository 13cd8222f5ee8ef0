"""What the headers of TIFF slides say beside their pixels."""

import contextlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

# Powers of ten of the prefixes of a metre. Capitals count: Mm is no mm.
_PREFIXES = (
    {"": 0, "da": 1, "h": 2, "d": -1, "c": -2, "u": -6}
    | {prefix: 3 * n for n, prefix in enumerate("kMGTPEZY", start=1)}
    | {prefix: -3 * n for n, prefix in enumerate("mµnpfazy", start=1)}
)
# Micrometres of OME's `UnitsLength` (openmicroscopy.org/Schemas/OME/2016-06); what is
# relative (pixel, reference frame) has none, and no slide is measured by the stars.
_UNITS_UM = {
    **{f"{prefix}m": 10.0 ** (power + 6) for prefix, power in _PREFIXES.items()},
    "Å": 1e-4,
    "thou": 25.4,
    "li": 25_400 / 12,
    "in": 25_400.0,
    "ft": 304_800.0,
    "yd": 914_400.0,
    "mi": 1_609_344_000.0,
    "pt": 25_400 / 72,
}
# As people write them, in small letters.
_UNIT_WORDS_UM = {
    "micron": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "inch": 25_400.0,
    "inche": 25_400.0,
    "meter": 1e6,
    "metre": 1e6,
}
# TIFF 6.0, ResolutionUnit: 2 is an inch, and what counts where the tag is missing; 4
# and 5 are what tifffile writes for mm and um.
_RESOLUTION_UNITS_UM = {2: 25_400.0, 3: 10_000.0, 4: 1000.0, 5: 1.0}
_INCH = 2

_NUMBER = re.compile(r"\+?(\d+(?:[.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)
# Of two marks in one part the first counts; a colon without a blank is part of a time.
_PAIR = re.compile(
    r"\s*([A-Za-z][\w .:/()\[\]µμ-]*?)\s*(?:=|:(?=\s))\s*(.*)", re.DOTALL
)
_UNIT_IN_KEY = re.compile(r"(.+?)\s*[(\[](.+)[)\]]\s*")
_PER_PIXEL = re.compile(r"\s*(/|\bper\b)\s*(px|pixels?)$", re.IGNORECASE)
_IMAGEJ_PAIR = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)

# How headers call the nominal magnification and a pixel's size, in plain letters.
_POWER_KEYS = (
    *("appmag", "objectivepower", "objectivemagnification", "magnification"),
    "objective",
)
_SIZE_KEYS = (
    *("mpp", "pixelsize", "physicalsize", "micronsperpixel", "micrometersperpixel"),
    "umperpixel",
)
_SIDE_KEYS = {"x": "pixelwidth", "y": "pixelheight"}

_PLAIN = (str, int, float)
Sides = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class OMEImage:
    """What an OME header says of one image.

    Attributes:
        name: As people called it; may be empty.
        size: (width, height) in pixels.
        n_samples: Values of a pixel in all, over channels, planes and times.
        mpp: Micrometres per pixel in x and y.
        objective_power: Nominal magnification.
        significant_bits: How many bits of a value count.
        channels: Their names, empty ones too.
    """

    name: str
    size: tuple[int, int]
    n_samples: int
    mpp: Sides
    objective_power: float | None
    significant_bits: int | None
    channels: tuple[str, ...]


def read_ome_images(xml: str | None) -> tuple[OMEImage, ...]:
    """Read the images of an OME header; none where it is no XML."""
    try:
        root = fromstring(xml or "")
    except (ParseError, ValueError):
        return ()
    powers = {
        objective.get("ID"): parse_positive(objective.get("NominalMagnification"))
        for objective in root.iterfind(".//{*}Objective")
    }
    images = []
    for image in root.iterfind("{*}Image"):
        pixels = image.find("{*}Pixels")
        if pixels is not None:
            settings = image.find("{*}ObjectiveSettings")
            power = powers.get(settings.get("ID")) if settings is not None else None
            images.append(_read_ome_image(image, pixels, power))
    return tuple(images)


def _read_ome_image(image: Element, pixels: Element, power: float | None) -> OMEImage:
    counts = [parse_count(pixels.get(f"Size{axis}")) or 1 for axis in "CZT"]
    return OMEImage(
        name=(image.get("Name") or "").strip(),
        size=(parse_count(pixels.get("SizeX")), parse_count(pixels.get("SizeY"))),
        n_samples=math.prod(counts),
        mpp=(_read_ome_side(pixels, "X"), _read_ome_side(pixels, "Y")),
        objective_power=power,
        significant_bits=parse_count(pixels.get("SignificantBits")) or None,
        channels=tuple(
            (channel.get("Name") or "").strip()
            for channel in pixels.iterfind("{*}Channel")
        ),
    )


def _read_ome_side(pixels: Element, axis: str) -> float | None:
    unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
    return parse_length_um(pixels.get(f"PhysicalSize{axis}"), unit)


def read_tag_mpp(page: Any) -> Sides:
    """Read the resolution tags of a tifffile page as micrometres per pixel."""
    tag = page.tags.get("ResolutionUnit")
    scale = _RESOLUTION_UNITS_UM.get(int(tag.value) if tag else _INCH)
    x, y = (_read_ratio(page, f"{axis}Resolution") for axis in "XY")
    return (scale / x if scale and x else None, scale / y if scale and y else None)


def _read_ratio(page: Any, name: str) -> float | None:
    """Read a tag's pixels per unit; None where they are no number above 0."""
    tag = page.tags.get(name)
    value = tag.value if tag else 0
    if isinstance(value, tuple):
        value = value[0] / value[1] if len(value) == 2 and value[1] else 0
    value = float(value)
    return value if math.isfinite(value) and value > 0 else None


def read_imagej_mpp(page: Any, description: str) -> Sides:
    """Read ImageJ's header, which says the unit that the resolution tags are in."""
    pairs = dict(_IMAGEJ_PAIR.findall(description))
    unit = pairs.get("unit", "").strip().replace("\\u00B5", "µ")
    scale = find_unit_um(unit) if "ImageJ" in pairs else None
    x, y = (_read_ratio(page, f"{axis}Resolution") for axis in "XY")
    return (scale / x if scale and x else None, scale / y if scale and y else None)


def read_pairs(description: str) -> Mapping[str, str]:
    """Read the `|key = value` pairs of a description in Aperio's form.

    Where nothing is divided by `|`, lines and semicolons divide them. A colon may
    stand for `=`, and an object of JSON for all of them.
    """
    if description.lstrip()[:1] == "{":
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(description)
            return {key: str(v) for key, v in found.items() if isinstance(v, _PLAIN)}
    parts = re.split(r"\|" if "|" in description else r"[;\r\n]", description)
    matches = (_PAIR.fullmatch(part) for part in parts)
    return {match[1]: match[2].strip() for match in matches if match}


def read_pair_resolution(pairs: Mapping[str, str]) -> tuple[Sides, float | None]:
    """Read micrometres per pixel in x and y, and nominal magnification, of pairs."""
    plain: dict[str, tuple[str, str]] = {}
    for key, value in pairs.items():
        match = _UNIT_IN_KEY.fullmatch(key)
        name, unit = (match[1], match[2]) if match else (key, "µm")
        plain[re.sub(r"[^a-z]", "", name.lower())] = value, unit

    def find_side(axis: str) -> float | None:
        own = [f"{key}{axis}" for key in _SIZE_KEYS]
        names = (*own, _SIDE_KEYS[axis], *_SIZE_KEYS)
        found = (parse_length_um(*plain[name]) for name in names if name in plain)
        return next((length for length in found if length), None)

    powers = (
        parse_positive(plain.get(key, ("", ""))[0].lower().rstrip("x "))
        for key in _POWER_KEYS
    )
    sides = find_side("x"), find_side("y")
    return sides, next((power for power in powers if power), None)


def find_unit_um(unit: str) -> float | None:
    """Return a unit of length in micrometres; None where it has none or is unknown."""
    # Two signs look alike: micro (U+00B5) and the Greek letter mu (U+03BC).
    # Read in a wrong encoding, the first has another letter before it.
    unit = (
        _PER_PIXEL.sub("", unit)
        .strip()
        .replace("Â", "")
        .replace("\u03bc", "µ")
        .replace("\u212b", "Å")
    )
    word = unit.lower().removesuffix("s")
    return _UNITS_UM.get(unit) or _UNIT_WORDS_UM.get(word)


def parse_length_um(text: str | None, unit: str = "µm") -> float | None:
    """Parse a length above 0; a unit behind the number counts before `unit`."""
    match = _NUMBER.match((text or "").strip())
    if match is None:
        return None
    number = parse_positive(match[0])
    scale = find_unit_um((text or "").strip()[match.end() :].strip() or unit)
    return number * scale if number and scale else None


def parse_positive(text: str | None) -> float | None:
    """Parse a number above 0, also with a decimal comma; None where there is none."""
    text = (text or "").strip()
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text.replace(",", "."))
    return value if 0 < value < math.inf else None


def parse_count(text: str | None) -> int:
    """Parse a whole number; 0 where there is none."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
