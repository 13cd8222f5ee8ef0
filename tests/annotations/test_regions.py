from pathlib import Path

import pytest
import shapely
from shapely import Polygon, box

from eosin.annotations import Annotations, ClassMap, Region
from eosin.annotations.regions import UNCLASSIFIED, Layer, RegionBuilder
from eosin.core import AnnotationError, ConfigError

BOW_TIE = [(0, 0), (2, 2), (2, 0), (0, 2)]


@pytest.fixture
def builder():
    return RegionBuilder(Path("a.xml"), "test")


@pytest.fixture
def class_map():
    return ClassMap.parse(["tumor=Tumor,metastasis,_0,_1", "normal=Normal"])


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


def test_the_negative_class_comes_first(class_map):
    assert class_map.class_names == ("normal", "tumor")
    assert class_map.negative == "normal"
    assert ClassMap.parse(["a=x", "b=y"]).class_names == ("a", "b")
    assert ClassMap.parse(["a=x", "Benign"]).class_names == ("Benign", "a")


@pytest.mark.parametrize(
    ("class_name", "names"),
    [
        ("tumor", ("TUMOR", " tumor ", "Metastasis", "_0")),
        # Usual names of exclusions need no entry.
        ("exclude", ("_2", "Exclusion", "ignore", "Ignore*", "exclude")),
    ],
)
def test_names_are_found_in_any_case(class_map, class_name, names):
    assert {class_map.find(name) for name in names} == {class_name}


def test_given_exclusions_replace_the_usual_ones():
    class_map = ClassMap.parse(["tumor=_2", "normal", "exclude=Fold"])
    assert class_map.class_names == ("normal", "tumor")
    assert class_map.find("fold") == "exclude"
    assert class_map.find("_2") == "tumor"
    assert class_map.find("ignore") is None


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["=a", "b"], "class name of its own"),
        (["a=x", "A=y"], "class name of its own"),
        (["tumor=Tumor"], "two classes or more"),
        (["tumor=Tumor,normal=Normal"], "a space between them.*got 'tumor=Tumor,n"),
        (["a:b"], r"the form class=name,another name, .*tumor=Tumor,metas.*got 'a:b'"),
        (["a=A", "b;c"], "the form class=name.*got 'b;c'"),
        (["a=x", "b=X"], "stands under both a and b"),
    ],
)
def test_contradictions_are_refused(texts, message):
    with pytest.raises(ConfigError, match=message):
        ClassMap.parse(texts)


def test_areas_are_joined_and_exclusions_cut_out(class_map):
    regions = (
        Region("Tumor", box(0, 0, 10, 10)),
        Region("metastasis", box(5, 0, 15, 10)),
        Region("_2", box(0, 0, 2, 5)),
        Region("tumor", box(10, 0, 11, 10), is_hole=True),
    )
    mapped = class_map.apply(Annotations(regions))
    assert mapped.areas["tumor"].area == 150 - 10 - 10
    assert mapped.areas["normal"].is_empty
    assert mapped.exclude.area == 10


def test_unknown_names_are_counted_with_the_nearest_one(class_map):
    regions = (Region("Tumour", box(0, 0, 1, 1)),) * 2 + (Region("Q", box(0, 0, 1, 1)),)
    mapped = class_map.apply(Annotations(regions))
    assert mapped.unknown == {"Tumour": 2, "Q": 1}
    said = class_map.describe_names({"Tumor": 1, **mapped.unknown})
    parts = (
        ("'Q' (1 region)", "--classes tumor=Q,", "--classes exclude=Q."),
        ("'Tumour' (2 regions)", "is tumor meant ('tumor')?", "tumor=Tumour,"),
    )
    for sentence, expected in zip(said, parts, strict=True):
        assert all(part in sentence for part in expected)


def test_a_class_that_no_annotation_has_is_told_with_the_nearest_name():
    class_map = ClassMap.parse(["cancer=Tumr", "normal=Normal"])
    cancer, stroma = class_map.describe_names({"Tumor": 2, "Stroma": 1})
    assert "'cancer' (by the name tumr or cancer)" in cancer
    assert "Tumor (2 regions), Stroma (1 region); is --classes cancer=Tumor" in cancer
    assert "'Stroma' (1 region)" in stroma
    assert class_map.describe_names({}) == ()
    # Normal tissue may be what nobody outlined.
    assert class_map.describe_names({"tumr": 2}) == ()
    (said,) = class_map.describe_names({"tumr": 2, "Normals": 1})
    assert "is --classes normal=Normals meant?" in said
    (said, _) = class_map.describe_names({"my class*": 1})
    assert said.endswith("name it by --classes cancer=NAME")


def test_mapped_areas_are_valid(class_map):
    regions = tuple(Region("Tumor", box(i, i, i + 2, i + 2)) for i in range(5))
    mapped = class_map.apply(Annotations(regions))
    assert shapely.is_valid(mapped.areas["tumor"])
    # Five squares of 4 that each share 1 with the next.
    assert mapped.areas["tumor"].area == 16
