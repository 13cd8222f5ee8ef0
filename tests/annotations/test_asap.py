import pytest

from eosin.annotations import read_annotations
from eosin.core import AnnotationError

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]


def annotation(kind, points, *, group="Tumor", name="Annotation 0"):
    corners = "".join(
        f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(points)
    )
    return (
        f'<Annotation Name="{name}" Type="{kind}" PartOfGroup="{group}">'
        f"<Coordinates>{corners}</Coordinates></Annotation>"
    )


@pytest.fixture
def read(write):
    def read_file(*annotations):
        body = "".join(annotations)
        content = f"<ASAP_Annotations><Annotations>{body}</Annotations>"
        return read_annotations(write("a.xml", content + "</ASAP_Annotations>"))

    return read_file


@pytest.mark.parametrize("kind", ["Polygon", "Spline", "Rectangle"])
def test_shapes_with_an_area_are_regions(read, kind):
    (region,) = read(annotation(kind, SQUARE)).regions
    assert region.class_name == "Tumor"
    assert region.geometry.area == 100


def test_a_rectangle_by_its_diagonal_has_its_area(read):
    (region,) = read(annotation("Rectangle", [(0, 0), (4, 5)])).regions
    assert region.geometry.area == 20


def test_dots_and_point_sets_are_counted(read):
    annotations = read(
        annotation("Dot", SQUARE[:1]),
        annotation("PointSet", SQUARE),
        annotation("", []),
    )
    assert annotations.regions == ()
    assert annotations.ignored == {"dot": 1, "pointset": 1, "shape of no type": 1}


def test_corners_are_taken_in_their_order(read):
    shuffled = annotation("Polygon", SQUARE)
    for old, new in (("1", "x"), ("2", "1"), ("x", "2")):
        shuffled = shuffled.replace(f'Order="{old}"', f'Order="{new}"')
    # Swapping two corners of a square makes an eight of half its area.
    (region,) = read(shuffled).regions
    assert region.geometry.area == 50


def test_a_decimal_comma_is_read(read):
    text = annotation("Polygon", SQUARE).replace('"10"', '"10,0"')
    assert read(text).regions[0].geometry.area == 100


@pytest.mark.parametrize(
    ("group", "name", "expected"),
    [
        ("_2", "x", "_2"),
        ("None", "_0", "_0"),
        ("none", "_0", "_0"),
        ("None", "Annotation 7", "Unclassified"),
    ],
)
def test_the_class_is_the_group_or_else_the_own_name(read, group, name, expected):
    (region,) = read(annotation("Polygon", SQUARE, group=group, name=name)).regions
    assert region.class_name == expected


def test_a_broken_coordinate_is_named(read):
    with pytest.raises(AnnotationError, match=r"a\.xml: annotation 1: X must be"):
        read(annotation("Polygon", [("?", 0), *SQUARE]))
