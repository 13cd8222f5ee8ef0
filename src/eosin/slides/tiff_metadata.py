"""What the headers of TIFF slides say beside their pixels."""

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import ParseError, fromstring

_UNITS_UM = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
_RESOLUTION_UNITS_UM = {2: 25_400.0, 3: 10_000.0}


def read_ome_mpp(xml: str | None) -> float | None:
    """Read `PhysicalSizeX` of the first image of an OME header, in micrometres."""
    try:
        pixels = fromstring(xml or "").find(".//{*}Pixels")
    except ParseError:
        return None
    if pixels is None:
        return None
    size = parse_positive(pixels.get("PhysicalSizeX"))
    unit = _UNITS_UM.get(pixels.get("PhysicalSizeXUnit", "µm"))
    return size * unit if size and unit else None


def read_tag_mpp(page: Any) -> float | None:
    """Read the resolution tags of a tifffile page as micrometres per pixel."""
    unit = page.tags.get("ResolutionUnit")
    resolution = page.tags.get("XResolution")
    scale = _RESOLUTION_UNITS_UM.get(int(unit.value)) if unit else None
    if scale is None or resolution is None or resolution.value[0] == 0:
        return None
    return float(scale * resolution.value[1] / resolution.value[0])


def read_aperio_properties(description: str) -> Mapping[str, str]:
    """Read `key = value` pairs of an Aperio ImageDescription, as `aperio.<key>`."""
    pairs = (part.split("=", 1) for part in description.split("|")[1:])
    return {
        f"aperio.{pair[0].strip()}": pair[1].strip() for pair in pairs if len(pair) == 2
    }


def parse_positive(text: str | None) -> float | None:
    """Parse a number above 0; None where there is none."""
    try:
        value = float(text) if text else 0.0
    except ValueError:
        return None
    return value if value > 0 else None
