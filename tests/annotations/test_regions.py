from pathlib import Path

import pytest
from shapely import Polygon, box

from eosin.annotations.regions import UNCLASSIFIED, Layer, RegionBuilder
from eosin.core import AnnotationError

BOW_TIE = [(0, 0), (2, 2), (2, 0), (0, 2)]


@pytest.fixture
def builder():
    return RegionBuilder(Path("a.xml"), "test")


def areas_of(annotations):
    return [region.geometry.area for region in annotations.regions]


def test_repairs_are_counted(builder):
    builder.add_outline("a", BOW_TIE)
    builder.add_outline("a", [(0, 0), (4, 0), (4, 4)])
    annotations = builder.build()
    assert annotations.n_repaired == 1
    assert areas_of(annotations) == [2, 8]


def test_empty_shapes_and_other_shapes_are_counted(builder):
    builder.add_outline("a", [(0, 0), (1, 1)])
    builder.add_geometry("a", Polygon())
    builder.ignore("point")
    assert builder.build().ignored == {"empty": 2, "point": 1}


@pytest.mark.parametrize("name", [None, "", "  "])
def test_a_region_without_class_is_called_unclassified(builder, name):
    builder.add_geometry(name, box(0, 0, 1, 1))
    assert builder.build().regions[0].class_name == UNCLASSIFIED


def test_a_corner_that_is_no_number_names_the_file(builder):
    with pytest.raises(AnnotationError, match=r"a\.xml.*finite number"):
        builder.add_outline("a", [(0, "x"), (1, 1), (2, 0)])


def test_an_island_in_a_hole_stays(builder):
    # 100 - 36 + 4 - 1: a square, its hole, the island in it, the island's hole.
    layer = Layer(
        "a",
        [box(0, 0, 10, 10), box(4, 4, 6, 6)],
        [box(2, 2, 8, 8), box(4.5, 4.5, 5.5, 5.5)],
    )
    builder.add_layers([layer])
    assert areas_of(builder.build()) == [64, 3]


def test_a_hole_is_cut_out_of_both_of_two_nested_regions(builder):
    layer = Layer("a", [box(0, 0, 10, 10), box(1, 1, 9, 9)], [box(4, 4, 6, 6)])
    builder.add_layers([layer])
    assert areas_of(builder.build()) == [96, 60]


def test_a_hole_leaves_other_layers_alone_unless_its_own_has_nothing_there(builder):
    first = Layer("a", [box(0, 0, 10, 10)], [box(4, 4, 6, 6)])
    second = Layer("b", [box(0, 0, 10, 10)])
    holes = Layer("holes", [], [box(1, 1, 2, 2)])
    builder.add_layers([first, second, holes])
    assert areas_of(builder.build()) == [95, 99]


def test_a_hole_outside_every_region_is_counted(builder):
    builder.add_layers([Layer("a", [box(0, 0, 1, 1)], [box(5, 5, 6, 6), Polygon()])])
    annotations = builder.build()
    assert areas_of(annotations) == [1]
    assert annotations.ignored == {"hole outside every region": 1, "empty": 1}


def test_a_region_that_its_holes_cut_away_is_counted(builder):
    holes = [box(-1, -1, 6, 11), box(5, -1, 11, 11)]
    builder.add_layers([Layer("a", [box(0, 0, 10, 10)], holes)])
    annotations = builder.build()
    assert annotations.regions == ()
    assert annotations.ignored == {"region cut away by its holes": 1}
