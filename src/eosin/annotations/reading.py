"""Reading an annotation file, whatever its format."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import shapely

from eosin.annotations.asap import read_asap
from eosin.annotations.imagescope import read_imagescope
from eosin.annotations.ndpa import read_ndpa
from eosin.annotations.qupath import read_qupath
from eosin.annotations.regions import Annotations, RegionBuilder
from eosin.annotations.text import read_text
from eosin.core import AnnotationError, raising
from eosin.slides import Slide

# A parsed corner takes three values of JSON and about 130 bytes, or five of XML and
# about 450; more than these fill the memory of a small machine.
_MOST_JSON_VALUES = 20_000_000
_MOST_XML_VALUES = 14_000_000


def read_annotations(path: Path, *, slide: Slide | None = None) -> Annotations:
    """Read QuPath GeoJSON, ASAP, ImageScope, HALO, NDPA or NCRF's JSON.

    The format is found from the content, not from the name.

    Args:
        path: The file; GeoJSON may be gzipped.
        slide: The slide it belongs to. It gives QuPath's origin and NDPA's scale,
            and a file whose regions all lie outside of it is refused.

    Returns:
        The regions, in the level-0 frame.

    Raises:
        AnnotationError: The file is missing, empty, of no known format, too large,
            or of another slide.
        SlideError: The file is NDPA and the slide has no mpp.
    """
    path = Path(path)
    with raising(AnnotationError, f"{path}: cannot be read as annotations"):
        annotations = _read(path, read_text(path), slide)
    if slide is not None and annotations.regions:
        width, height = slide.dimensions
        outlines = [region.geometry for region in annotations.regions]
        if not shapely.intersects(outlines, shapely.box(0, 0, width, height)).any():
            x, y, *_ = shapely.total_bounds(outlines)
            raise AnnotationError(
                f"{path}: all {len(outlines)} regions lie outside the slide "
                f"{slide.path.name} ({width} x {height} px; the regions start at "
                f"x={x:.0f}, y={y:.0f}); is it the annotation of another slide, or "
                "drawn at another magnification?"
            )
    return annotations


def _read(path: Path, text: str, slide: Slide | None) -> Annotations:
    start = text[:1]
    if start in ("{", "["):
        documents = _parse_json(path, text)
        first = documents[0]
        if isinstance(first, dict) and "positive" in first and len(documents) == 1:
            return _read_ncrf(path, first)
        return read_qupath(path, documents, bounds=slide.bounds if slide else None)
    if start == "<":
        return _read_xml(path, text, slide)
    raise AnnotationError(
        f"{path}: {'the file is empty' if not start else 'of no known format'}; QuPath "
        "GeoJSON, ASAP XML, ImageScope XML, HALO .annotations and Hamamatsu .ndpa can "
        "be read"
    )


def _require_few(path: Path, n_values: int, most: int) -> None:
    if n_values > most:
        raise AnnotationError(
            f"{path}: holds about {n_values:,} values, and {most:,} can be read; "
            "export areas alone, not cells, or simplify the outlines"
        )


def _parse_json(path: Path, text: str) -> list[Any]:
    """Parse one document, or one after the other as in files of a feature a line."""
    n_values = text.count("[") + text.count(",") + 3 * text.count("{")
    _require_few(path, n_values, _MOST_JSON_VALUES)
    decoder, blank = json.JSONDecoder(), re.compile(r"\s*")
    documents, place = [], 0
    with raising(AnnotationError, f"{path}: not valid JSON"):
        while place < len(text):
            document, end = decoder.raw_decode(text, place)
            documents.append(document)
            place = blank.match(text, end).end()  # type: ignore[union-attr]
    return documents


def _read_xml(path: Path, text: str, slide: Slide | None) -> Annotations:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        # Entities can grow without bound, and no annotation tool writes any.
        raise AnnotationError(f"{path}: XML with a DOCTYPE is not read, for safety")
    n_values = 2 * (text.count("<") - text.count("</")) + text.count("=")
    _require_few(path, n_values, _MOST_XML_VALUES)
    with raising(AnnotationError, f"{path}: not valid XML"):
        # Of text the parser ignores the declared encoding, by which it was decoded.
        root = fromstring(text)
    if root.tag == "ASAP_Annotations":
        return read_asap(path, root)
    # CVAT's root has the same name.
    if root.tag == "annotations" and all(part.tag == "ndpviewstate" for part in root):
        return read_ndpa(path, root, slide=slide)
    if root.tag == "Annotations":
        return read_imagescope(path, root)
    raise AnnotationError(
        f"{path}: XML with the root <{root.tag}> is no known annotation format; "
        "export QuPath GeoJSON, ASAP or ImageScope XML"
    )


def _read_ncrf(path: Path, content: dict[str, Any]) -> Annotations:
    """Read NCRF's JSON of CAMELYON16: outlines under `positive` and `negative`."""
    builder = RegionBuilder(path, "ncrf")
    with raising(
        AnnotationError, f"{path}: each outline needs 'vertices', pairs of x and y"
    ):
        for key, class_name in (("positive", "tumor"), ("negative", "exclude")):
            for item in content.get(key, []):
                builder.add_outline(class_name, [(x, y) for x, y in item["vertices"]])
    return builder.build()
