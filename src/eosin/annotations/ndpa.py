"""Hamamatsu NDP.view's `.ndpa`: nanometres from the centre of the glass."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from eosin.annotations.regions import Annotations, RegionBuilder
from eosin.annotations.shapes import Point, make_ellipse, make_polygon, parse_number
from eosin.core import AnnotationError
from eosin.slides import Slide

_OFFSETS = ("hamamatsu.XOffsetFromSlideCentre", "hamamatsu.YOffsetFromSlideCentre")


@dataclass(frozen=True)
class _Frame:
    """Where the glass's centre lies: level-0 pixel = nm / scale + origin."""

    scale: Point
    origin: Point

    def place(self, corners_nm: list[Point]) -> list[Point]:
        """Turn nanometres from the glass's centre into level-0 pixels."""
        return [
            (x / self.scale[0] + self.origin[0], y / self.scale[1] + self.origin[1])
            for x, y in corners_nm
        ]


def read_ndpa(path: Path, root: Element, *, slide: Slide | None) -> Annotations:
    """Read all view states; a region's class is its title.

    Args:
        path: The file, for messages.
        root: The element `annotations`.
        slide: The slide, which alone knows where its pixels lie on the glass.

    Raises:
        AnnotationError: There is no slide, it does not say where it lies on the
            glass, or a coordinate is no number.
        SlideError: The slide has no mpp.
    """
    builder = RegionBuilder(path, "ndpa")
    frame = _find_frame(path, slide)
    for index, state in enumerate(root.iter("ndpviewstate"), start=1):
        annotation = state.find("annotation")
        if annotation is None:
            builder.ignore("view without a shape")
            continue
        title = (state.findtext("title") or "").strip()
        kind = (annotation.get("type") or "shape of no type").lower()
        corners = frame.place(
            _read_corners(annotation, kind, f"{path}: view state {index} ({title})")
        )
        if not corners:
            builder.ignore(kind)
        elif kind == "circle":
            builder.add_geometry(title, make_ellipse(corners))
        elif (annotation.findtext("closed") or "1").strip() == "0":
            builder.ignore("line")
        else:
            builder.add_geometry(title, make_polygon(corners))
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


def _find_frame(path: Path, slide: Slide | None) -> _Frame:
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
    # The file's own mpp goes before one that the user gave: NDP.view used that.
    scales = [
        1000 * parse_number(slide.properties.get(name) or slide.require_mpp(), name)
        for name in ("openslide.mpp-x", "openslide.mpp-y")
    ]
    offsets = [parse_number(slide.properties[name], name) for name in _OFFSETS]
    origin = [
        size / 2 - offset / scale
        for size, offset, scale in zip(slide.dimensions, offsets, scales, strict=True)
    ]
    return _Frame((scales[0], scales[1]), (origin[0], origin[1]))
