"""Reading an annotation file, whatever its format."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError, fromstring

import shapely

from eosin.annotations.asap import read_asap
from eosin.annotations.imagescope import read_imagescope
from eosin.annotations.ndpa import read_ndpa
from eosin.annotations.qupath import read_qupath
from eosin.annotations.regions import Annotations, RegionBuilder
from eosin.core import AnnotationError
from eosin.slides import Slide


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
        AnnotationError: The file is missing, empty, of no known format, or of
            another slide.
        SlideError: The file is NDPA and the slide has no mpp.
    """
    path = Path(path)
    annotations = _read(path, _read_text(path), slide)
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
    start = text.lstrip()[:1]
    if start in ("{", "["):
        content = _parse_json(path, text)
        if isinstance(content, dict) and "positive" in content:
            return _read_ncrf(path, content)
        return read_qupath(path, content, bounds=slide.bounds if slide else None)
    if start == "<":
        return _read_xml(path, text, slide)
    raise AnnotationError(
        f"{path}: {'the file is empty' if not start else 'of no known format'}; QuPath "
        "GeoJSON, ASAP XML, ImageScope XML, HALO .annotations and Hamamatsu .ndpa can "
        "be read"
    )


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode(
            "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        )
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: no such annotation file") from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise AnnotationError(f"{path}: cannot be read as text ({error})") from error


def _parse_json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not valid JSON ({error})") from error


def _read_xml(path: Path, text: str, slide: Slide | None) -> Annotations:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        # Entities can grow without bound, and no annotation tool writes any.
        raise AnnotationError(f"{path}: XML with a DOCTYPE is not read, for safety")
    try:
        root = fromstring(text.encode())
    except ParseError as error:
        raise AnnotationError(f"{path}: not valid XML ({error})") from error
    if root.tag == "ASAP_Annotations":
        return read_asap(path, root)
    if root.tag == "annotations":
        return read_ndpa(path, root, slide=slide)
    if root.tag == "Annotations":
        return read_imagescope(path, root)
    raise AnnotationError(
        f"{path}: XML with the root <{root.tag}> is no annotation format that is known"
    )


def _read_ncrf(path: Path, content: dict[str, Any]) -> Annotations:
    """Read NCRF's JSON of CAMELYON16: outlines under `positive` and `negative`."""
    builder = RegionBuilder(path, "ncrf")
    try:
        for key, class_name in (("positive", "tumor"), ("negative", "exclude")):
            for item in content.get(key, []):
                builder.add_outline(class_name, [(x, y) for x, y in item["vertices"]])
    except (KeyError, TypeError, ValueError) as error:
        raise AnnotationError(
            f"{path}: each outline needs 'vertices', pairs of x and y ({error})"
        ) from error
    return builder.build()
