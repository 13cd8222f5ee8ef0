import shlex

import pytest
import shapely
from shapely import box

from eosin.annotations import Annotations, ClassMap, Region
from eosin.core import ConfigError


@pytest.fixture
def class_map():
    return ClassMap.parse(["tumor=Tumor,metastasis,_0,_1", "normal=Normal"])


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
        ("'Q' (1 region)", "by --classes CLASS=Q,", "--classes exclude=Q."),
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


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('tumor="Tumor, invasive"', ["Tumor, invasive"]),
        ("tumor='Tumor, invasive',Other", ["Tumor, invasive", "Other"]),
        (r"tumor=Tumor\, invasive , Other", ["Tumor, invasive", "Other"]),
        ("tumor=ER=pos", ["ER=pos"]),
        ("tumor=Ewing's", ["Ewing's"]),
        (r'tumor="the \"core\", inner"', ['the "core", inner']),
        (r"tumor=a\b", [r"a\b"]),
    ],
)
def test_names_may_hold_the_marks_of_an_entry(text, names):
    class_map = ClassMap.parse(["normal", text])
    assert [class_map.find(name) for name in names] == ["tumor"] * len(names)
    assert class_map.find("invasive") is None


def test_a_class_itself_may_hold_an_equals_sign():
    assert ClassMap.parse(['"ER=0"=a', r"ER\=1=b"]).class_names == ("ER=0", "ER=1")


def test_a_quotation_mark_must_be_closed():
    with pytest.raises(ConfigError, match=r"not closed.*tumor="):
        ClassMap.parse(["normal", 'tumor="Tumor, invasive'])


@pytest.mark.parametrize("name", ["Tumor, invasive", 'the "core"', '"core"', "a\\b"])
def test_a_hint_can_be_given_back(name):
    class_map = ClassMap.parse(["normal", "tumor"])
    (said,) = class_map.describe_names({"tumor": 1, name: 1})
    option = shlex.split(said.split("on purpose by --classes ")[1].removesuffix("."))[0]
    assert ClassMap.parse(["normal", "tumor", option]).find(name) == "exclude"


@pytest.mark.parametrize(
    "name",
    ["Normal tissue", "non-tumor", "No tumor", "Abnormal", "Tumor 1", "Stroma"],
)
def test_a_hint_names_no_class_for_what_is_only_alike(name):
    class_map = ClassMap.parse(["normal=healthy", "tumor=Tumor 2,Grade 3"])
    said = " ".join(class_map.describe_names({"tumor": 1, "healthy": 1, name: 1}))
    assert f"'{name}' (1 region) belongs to no class. Say to which by" in said
    assert "meant" not in said
    assert "tumor=" not in said


@pytest.mark.parametrize("name", ["Grade 4", "HER2-", "type b", "atypical"])
def test_opposites_that_differ_in_one_sign_are_no_slip(name):
    class_map = ClassMap.parse(["normal", "tumor=Grade 3,HER2+,type a,typical"])
    assert "meant" not in " ".join(class_map.describe_names({"tumor": 1, name: 1}))


@pytest.mark.parametrize("name", ["Tumour", "tumro", "Metastases", "tumor cels"])
def test_a_slip_of_the_pen_is_asked_about(name):
    class_map = ClassMap.parse(["normal", "tumor=tumor,metastasis,tumor cells"])
    (said,) = class_map.describe_names({"tumor": 1, name: 1})
    assert "is tumor meant" in said


def test_many_unknown_names_are_told_in_few_lines():
    found = {"tumor": 1} | {f"Cell {index}": 1 for index in range(1000)}
    said = ClassMap.parse(["normal", "tumor"]).describe_names(found)
    assert len(said) == 21
    assert "980 more" in said[-1]
