import math

import pytest

from eosin.annotations import read_annotations

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]


def region(points, *, kind="0", hole=0, tag="Vertex", extra=""):
    corners = "".join(f'<{tag} X="{x}" Y="{y}"/>' for x, y in points)
    return (
        f'<Region Type="{kind}" NegativeROA="{hole}" {extra}>'
        f"<Vertices>{corners}</Vertices></Region>"
    )


def layer(*regions, name="Tumor", attributes=""):
    return (
        f'<Annotation Name="{name}"><Attributes>{attributes}</Attributes>'
        f"<Regions>{''.join(regions)}</Regions></Annotation>"
    )


@pytest.fixture
def read(write):
    def read_file(*layers):
        content = f"<Annotations>{''.join(layers)}</Annotations>"
        return read_annotations(write("a.xml", content))

    return read_file


def halo(points, kind="Polygon", *, hole=0, ends=0):
    extra = f'HasEndcaps="{ends}"'
    return region(points, kind=kind, hole=hole, tag="V", extra=extra)


def test_a_negative_region_is_a_hole(read):
    hole = region([(2, 2), (4, 2), (4, 4), (2, 4)], hole=1)
    (found,) = read(layer(region(SQUARE), hole)).regions
    assert found.class_name == "Tumor"
    assert found.geometry.area == 96
    assert len(found.geometry.interiors) == 1


@pytest.mark.parametrize(
    ("kind", "points", "area"),
    [
        ("1", SQUARE, 100),
        ("1", [(0, 0), (10, 10)], 100),
        ("2", [(0, 0), (10, 10)], math.pi * 25),
        ("2", SQUARE, math.pi * 25),
        ("2", [(5, 0), (10, 5), (5, 10), (0, 5)], math.pi * 25),
        # Traced already: the regular-enough outline itself, not its ellipse.
        ("2", [*SQUARE, (0, 5)], 100),
    ],
)
def test_rectangles_and_ellipses_have_their_area(read, kind, points, area):
    (found,) = read(layer(region(points, kind=kind))).regions
    assert found.geometry.area == pytest.approx(area, rel=1e-3)


def test_arrows_and_strange_shapes_are_counted(read):
    annotations = read(layer(region(SQUARE, kind="3"), region(SQUARE, kind="9")))
    assert annotations.regions == ()
    assert annotations.ignored == {"arrow": 1, "shape of type 9": 1}


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("Tumor", '<Attribute Name="x" Value=""/>', "Tumor"),
        ("", '<Attribute Name="CaP" Value=""/>', "CaP"),
        ("", '<Attribute Name="Description" Value=""/>', "Unclassified"),
        ("", '<Attribute Name="Description" Value="benign"/>', "benign"),
        ("", "", "Unclassified"),
        (
            "Layer 1",
            '<Attribute Name="Notes" Value=""/><Attribute Name="Class" Value="CaP"/>',
            "CaP",
        ),
        (
            "",
            '<Attribute Name="Notes" Value="x"/><Attribute Name="Type" Value="CaP"/>',
            "CaP",
        ),
    ],
)
def test_the_class_is_the_layers_name_or_its_attribute(
    read, name, attributes, expected
):
    (found,) = read(layer(region(SQUARE), name=name, attributes=attributes)).regions
    assert found.class_name == expected


@pytest.mark.parametrize(
    ("layer_name", "extra", "attributes", "expected"),
    [
        ("", 'Text="Tumor"', "", "Tumor"),
        ("Layer 3", 'Text="Tumor"', "", "Tumor"),
        ("Layer 3", "", "", "Layer 3"),
        ("Normal", 'Text="a note"', "", "Normal"),
        ("", "", '<Attribute Name="2" Value="Tumor"/>', "Tumor"),
        # The column that is called like a class goes before what else was typed.
        ("", 'Text="a note"', '<Attribute Name="2" Value="Tumor"/>', "Tumor"),
        ("", 'Text="Tumor"', '<Attribute Name="1" Value="a note"/>', "Tumor"),
        ("", "", '<Attribute Name="1" Value=" "/>', "Unclassified"),
    ],
)
def test_the_class_is_what_was_typed_for_the_region(
    read, layer_name, extra, attributes, expected
):
    typed = region(SQUARE, extra=extra).replace(
        "<Vertices>", f"<Attributes>{attributes}</Attributes><Vertices>"
    )
    headers = (
        "<RegionAttributeHeaders>"
        '<AttributeHeader Id="1" Name="Comment"/><AttributeHeader Id="2" Name="Class"/>'
        "</RegionAttributeHeaders>"
    )
    (found,) = read(layer(headers, typed, name=layer_name)).regions
    assert found.class_name == expected


def test_a_hole_belongs_to_the_class_of_its_region(read):
    left, right = SQUARE, [(x + 20, y) for x, y in SQUARE]
    first, second = (
        region(points, extra=f'Id="{number}" Text="{text}"')
        for points, number, text in ((left, 1, "Tumor"), (right, 2, "Normal"))
    )
    inner = [(2, 2), (4, 2), (4, 4), (2, 4)]
    hole = region(inner, hole=1, extra='Id="3" InputRegionId="1" Text="x"')
    found = read(layer(first, second, hole, name="")).regions
    assert {r.class_name: r.geometry.area for r in found} == {
        "Tumor": 96,
        "Normal": 100,
    }


def test_halos_boxes_come_by_two_corners(read):
    corners = [(10, 10), (0, 0)]
    annotations = read(layer(halo(corners, "Rectangle"), halo(corners, "Ellipse")))
    rectangle, ellipse = (found.geometry.area for found in annotations.regions)
    assert annotations.format == "halo"
    assert rectangle == 100
    assert ellipse == pytest.approx(math.pi * 25, rel=1e-3)


def test_halos_lines_and_pins_are_counted(read):
    annotations = read(
        layer(
            halo(SQUARE),
            halo([*SQUARE, (0, 0)], ends=1),
            halo(SQUARE[:1], "Pin"),
            halo(SQUARE[:2], "Ruler"),
            halo(SQUARE[:1], ""),
        )
    )
    # The first square is open by a third of its line's length.
    assert annotations.regions == ()
    assert annotations.ignored == {
        "line": 2,
        "pin": 1,
        "ruler": 1,
        "shape of no type": 1,
    }


def test_halos_holes_are_nested(read):
    ring = [*SQUARE, (0, 0)]
    inner = [(2, 2), (8, 2), (8, 8), (2, 8), (2, 2)]
    island = [(4, 4), (6, 4), (6, 6), (4, 6), (4, 4)]
    annotations = read(layer(halo(ring), halo(inner, hole=1), halo(island)))
    assert [found.geometry.area for found in annotations.regions] == [64, 4]


@pytest.mark.realdata
def test_qupath_and_imagescope_files_of_one_slide_give_the_same_regions(data_folder):
    folder = data_folder / "annotations/paired_qupath_imagescope"
    qupath = read_annotations(folder / "TCGA-EJ-5519-01Z-00-DX1.json")
    imagescope = read_annotations(folder / "TCGA-EJ-5519-01Z-00-DX1.xml")
    first = sorted((r.geometry for r in qupath.regions), key=lambda g: g.area)
    second = sorted((r.geometry for r in imagescope.regions), key=lambda g: g.area)
    assert len(first) == len(second) == 3
    for a, b in zip(first, second, strict=True):
        # QuPath's coordinates are rounded to 0.01 px.
        assert a.intersection(b).area / a.union(b).area > 0.9999
        assert a.hausdorff_distance(b) < 0.02
