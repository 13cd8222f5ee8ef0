import gzip
import json
import math
import uuid

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box
from shapely.geometry import shape

from eosin.annotations import Feature, read_annotations, write_geojson
from eosin.core import AnnotationError, Box

SQUARE = [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def polygon(**properties):
    return feature({"type": "Polygon", "coordinates": SQUARE}, **properties)


@pytest.fixture
def read(write):
    def read_content(content, **options):
        path = write("a.geojson", json.dumps(content))
        return read_annotations(path, **options)

    return read_content


@pytest.mark.parametrize(
    "content",
    [
        {"type": "FeatureCollection", "features": [polygon()]},
        [polygon()],
        polygon(),
    ],
)
def test_collections_lists_and_single_features_are_read(read, content):
    assert read(content).regions[0].geometry.area == 100


@pytest.mark.parametrize(
    ("classification", "expected"),
    [
        ({"name": "Tumor", "colorRGB": -3670016}, "Tumor"),
        ({"name": "Tumor", "color": [200, 0, 0]}, "Tumor"),
        ({"names": ["Tumor", "Positive"]}, "Tumor: Positive"),
        ("Tumor", "Tumor"),
        (None, "Unclassified"),
        (7, "7"),
        (7.0, "7"),
        (float("nan"), "Unclassified"),
        ('{"name": "Tumor", "color": [1, 2, 3]}', "Tumor"),
        ("{'names': ['Tumor', 'Positive']}", "Tumor: Positive"),
        ("{no object}", "{no object}"),
        (["Tumor", "Positive"], "Tumor: Positive"),
        # Half of a pair, which no file can be written with.
        ("Tumor \ud83d", "Tumor ?"),
    ],
)
def test_the_class_is_found_in_every_dialect(read, classification, expected):
    (region,) = read(polygon(classification=classification)).regions
    assert region.class_name == expected


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"type": "Tumor"}, "Tumor"),
        ({"Class": "Tumor", "name": "ROI 1"}, "Tumor"),
        ({"label": "Tumor", "type": "Polygon"}, "Tumor"),
        ({"class_name": "Tumor", "label": 4}, "Tumor"),
        ({"type": "annotation", "name": "Tumor"}, "Tumor"),
        ({"classification": None, "category": {"name": "Tumor"}}, "Tumor"),
        ({"classification": "null", "Label": "Tumor"}, "Tumor"),
        ({"objectType": "annotation"}, "Unclassified"),
        ({"object_type": "cell", "roi_type": "Freehand"}, "Unclassified"),
        ({"tissue_type": "Tumor", "name": "ROI 1"}, "Tumor"),
        ({"predicted-class": "Tumor", "class_id": 3}, "Tumor"),
        ({"labels": ["Tumor"]}, "Tumor"),
        ({"cls": "Tumor", "data_type": "float"}, "Tumor"),
        ({"metadata": {"Label": "Tumor"}, "name": "ROI 1"}, "Tumor"),
        ({"attributes": {"diagnosis": "Tumor", "type": 1}}, "Tumor"),
    ],
)
def test_the_class_is_found_where_other_programs_keep_it(read, properties, expected):
    (region,) = read(polygon(**properties)).regions
    assert region.class_name == expected


def test_members_beside_the_properties_may_hold_the_class(read):
    content = {**polygon(), "properties": None, "classification": {"name": "Tumor"}}
    assert read(content).regions[0].class_name == "Tumor"


def test_properties_may_be_text_of_an_object_and_no_other_text(read):
    content = {**polygon(), "properties": '{"class": "Tumor"}'}
    assert read(content).regions[0].class_name == "Tumor"
    with pytest.raises(AnnotationError, match="feature 1 has properties"):
        read({**polygon(), "properties": "Tumor"})


@pytest.mark.parametrize("between", ["\n", "\r\n\r\n", "\n\x1e"])
def test_a_feature_a_line_is_read(write, between):
    lines = between.join(json.dumps(polygon(classification=c)) for c in "ab")
    found = read_annotations(write("a.ndjson", "\x1e" + lines + "\n"))
    assert [region.class_name for region in found.regions] == ["a", "b"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "null", '"5"'])
def test_a_corner_that_is_no_finite_number_names_its_feature(write, number):
    text = json.dumps([polygon(), polygon()])
    place = text.rindex("10, 10")
    text = text[:place] + number + text[place + 2 :]
    with pytest.raises(AnnotationError, match="feature 2 has a geometry"):
        read_annotations(write("a.geojson", text))


def test_numbers_beside_the_corners_may_be_missing(read):
    assert read(polygon(measurements={"Area": float("nan")})).regions


def test_collections_may_be_deep(read):
    geometry = {"type": "Polygon", "coordinates": SQUARE}
    for _ in range(200):
        geometry = {"type": "GeometryCollection", "geometries": [geometry]}
    assert read(feature(geometry)).regions[0].geometry.area == 100


def test_a_geometry_collection_gives_its_areas_and_counts_the_rest(read):
    parts = [
        {"type": "Polygon", "coordinates": SQUARE},
        {"type": "Point", "coordinates": [1, 1]},
    ]
    annotations = read(feature({"type": "GeometryCollection", "geometries": parts}))
    assert len(annotations.regions) == 1
    assert annotations.ignored == {"Point": 1}


def test_a_feature_without_geometry_is_counted(read):
    bare = {"type": "Feature", "properties": {}}
    annotations = read([feature(None), bare, polygon()])
    assert annotations.ignored == {"feature without geometry": 2}
    assert len(annotations.regions) == 1


def test_a_polygon_with_a_hole_keeps_it(read):
    hole = [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]
    content = feature({"type": "Polygon", "coordinates": [*SQUARE, hole]})
    assert read(content).regions[0].geometry.area == 96


@pytest.mark.parametrize("content", [{"type": "Topology"}, [1], {"features": 3}])
def test_other_json_is_refused(read, content):
    with pytest.raises(AnnotationError, match="GeoJSON FeatureCollection"):
        read(content)


def test_a_geometry_of_unknown_type_names_its_feature(read):
    with pytest.raises(AnnotationError, match="feature 1 has a geometry"):
        read([feature({"type": "Blob", "coordinates": []})])


def test_qupaths_origin_is_the_corner_of_the_bounds(read, make_slide):
    slide = make_slide(bounds=Box(100, 50, 500, 500))
    (region,) = read(polygon(), slide=slide).regions
    assert region.geometry.bounds == (100, 50, 110, 60)


def test_what_is_written_is_what_qupath_wants(tmp_path):
    hole = [(2, 2), (2, 4), (4, 4), (4, 2)]
    path = tmp_path / "out.geojson"
    write_geojson(
        path,
        [
            Feature(
                Polygon([(0, 0), (0, 10), (10, 10), (10, 0)], [hole]),
                class_name="Tumor",
                colour=(200, 0, 0),
                measurements={"Probability": 0.75},
                name="region 1",
                is_locked=True,
            ),
            Feature(Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])),
        ],
    )
    first, second = json.loads(path.read_text())["features"]
    assert uuid.UUID(first["id"]) != uuid.UUID(second["id"])
    assert first["properties"] == {
        "objectType": "annotation",
        "isLocked": True,
        "name": "region 1",
        "classification": {"name": "Tumor", "color": [200, 0, 0]},
        "measurements": {"Probability": 0.75},
    }
    written = shape(first["geometry"])
    assert written.exterior.is_ccw
    assert not written.interiors[0].is_ccw
    for rings in first["geometry"]["coordinates"]:
        assert rings[0] == rings[-1]
    # The self-crossing outline was made valid.
    assert second["geometry"]["type"] == "MultiPolygon"
    assert shape(second["geometry"]).is_valid


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_measurement_that_is_no_number_is_left_out(tmp_path, value):
    path = tmp_path / "out.geojson"
    measured = {"Mean": value, "Max": np.float32(0.5), "n": 3}
    write_geojson(path, [Feature(box(0, 0, 3, 4), measurements=measured)])
    (feature,) = json.loads(path.read_text(), parse_constant=pytest.fail)["features"]
    assert feature["properties"]["measurements"] == {"Max": 0.5, "n": 3}


def test_what_has_no_area_is_left_out_and_the_others_keep_their_ids(tmp_path):
    square = Feature(box(0, 0, 3, 4), class_name="a")
    line = Polygon([(0, 0), (5, 5), (0, 0)])
    ids = []
    for empty in (Polygon(), MultiPolygon(), line, box(1, 1, 1, 9)):
        write_geojson(tmp_path / "a.geojson", [Feature(empty), square])
        found = json.loads((tmp_path / "a.geojson").read_text())["features"]
        assert [shape(f["geometry"]).area for f in found] == [12]
        ids.append(found[0]["id"])
    assert len(set(ids)) == 1


@pytest.mark.parametrize("corner", [(math.nan, 4), (3, math.inf)])
def test_a_corner_that_is_no_number_stops(tmp_path, corner):
    with np.errstate(invalid="ignore"):
        area = Polygon([(0, 0), corner, (0, 4)])
    with pytest.raises(AnnotationError, match=r"out\.geojson: object 2 .Tumor."):
        write_geojson(
            tmp_path / "out.geojson",
            [Feature(box(0, 0, 1, 1)), Feature(area, class_name="Tumor")],
        )
    assert not list(tmp_path.iterdir())


def test_a_gz_name_is_compressed_and_read_back(tmp_path):
    path = tmp_path / "out.geojson.gz"
    write_geojson(path, [Feature(box(0, 0, 3, 4), class_name="Tumor")])
    assert gzip.decompress(path.read_bytes()).startswith(b"{")
    assert read_annotations(path).regions[0].geometry.area == 12


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    left=st.integers(0, 800),
    top=st.integers(0, 600),
    size=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    origin=st.tuples(st.integers(0, 400), st.integers(0, 400)),
)
def test_places_survive_the_way_to_qupath_and_back(
    tmp_path, make_slide, left, top, size, origin
):
    bounds = Box(*origin, 500, 400)
    area = box(left, top, left + size[0], top + size[1])
    path = tmp_path / "round.geojson"
    write_geojson(path, [Feature(area, class_name="a")], slide_bounds=bounds)
    stored = shape(json.loads(path.read_text())["features"][0]["geometry"])
    assert stored.bounds[:2] == (left - origin[0], top - origin[1])
    (region,) = read_annotations(path, slide=make_slide(bounds=bounds)).regions
    assert region.geometry.equals(area)
