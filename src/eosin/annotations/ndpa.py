"""Hamamatsu NDP.view's `.ndpa`: nanometres from the centre of the glass."""

from pathlib import Path
from xml.etree.ElementTree import Element

from eosin.annotations.regions import Annotations, RegionBuilder
from eosin.annotations.shapes import Point, make_ellipse, make_polygon, parse_number
from eosin.core import AnnotationError
from eosin.slides import Slide

_OFFSETS = ("hamamatsu.XOffsetFromSlideCentre", "hamamatsu.YOffsetFromSlideCentre")


def read_ndpa(path: Path, root: Element, *, slide: Slide | None) -> Annotations:
    """Read all view states; a region's class is its title.

    The slide alone knows where its pixels lie on the glass.
    """
    builder = RegionBuilder(path, "ndpa")
    (scale_x, left), (scale_y, top) = _find_frame(path, slide)
    for index, state in enumerate(root.iter("ndpviewstate"), start=1):
        annotation = state.find("annotation")
        if annotation is None:
            builder.ignore("view without a shape")
            continue
        title = (state.findtext("title") or "").strip()
        kind = (annotation.get("type") or "shape of no type").lower()
        where = f"{path}: view state {index} ({title})"
        corners_nm = _read_corners(annotation, kind, where)
        corners = [(x / scale_x + left, y / scale_y + top) for x, y in corners_nm]
        if not corners:
            builder.ignore(kind)
        elif kind == "circle":
            builder.add_geometry(title, make_ellipse(corners))
        elif (annotation.findtext("closed") or "1").strip() == "0":
            builder.ignore("line")
        else:
            builder.add_geometry(title, make_polygon(corners), where)
    return builder.build()


def _read_corners(annotation: Element, kind: str, where: str) -> list[Point]:
    """Return the outline's corners, or those of a circle's box, in nanometres."""
    if kind != "circle":
        points = annotation.findall("./pointlist/point")
        return [_read_point(point, where) for point in points]
    x, y = _read_point(annotation, where)
    radius = parse_number(annotation.findtext("radius"), f"{where}: radius")
    return [(x - radius, y - radius), (x + radius, y + radius)]


def _read_point(element: Element, where: str) -> Point:
    return (
        parse_number(element.findtext("x"), f"{where}: x"),
        parse_number(element.findtext("y"), f"{where}: y"),
    )


def _find_frame(path: Path, slide: Slide | None) -> list[tuple[float, float]]:
    """Return nanometres per level-0 pixel and the glass's centre, of x and of y."""
    if slide is None:
        raise AnnotationError(
            f"{path}: places are nanometres from the glass's centre, so the file can "
            "only be read together with its slide; give the .ndpi"
        )
    missing = [name for name in _OFFSETS if name not in slide.properties]
    if missing:
        raise AnnotationError(
            f"{path}: the slide must say {' and '.join(missing)}, and "
            f"{slide.path.name} does not; use the .ndpi that it was drawn on, not a "
            "converted copy"
        )
    frame = []
    for size, axis, name in zip(slide.dimensions, "xy", _OFFSETS, strict=True):
        # The file's own mpp goes before one that the user gave: NDP.view used that.
        key = f"openslide.mpp-{axis}"
        mpp = parse_number(slide.properties.get(key) or slide.require_mpp(), key)
        offset = parse_number(slide.properties[name], name)
        frame.append((1000 * mpp, size / 2 - offset / (1000 * mpp)))
    return frame
