import gzip
import json
from collections import Counter

import pandas as pd
import pytest

from eosin.annotations import read_annotations, reading
from eosin.core import AnnotationError
from eosin.slides import open_slide

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10]]
GEOJSON = json.dumps(
    {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*SQUARE, [0, 0]]]},
        "properties": {"classification": "Tumor"},
    }
)


def test_the_name_does_not_matter(write):
    assert read_annotations(write("a.xml", GEOJSON)).format == "qupath"


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + GEOJSON.encode(),
        GEOJSON.encode("utf-16"),
        gzip.compress(GEOJSON.encode(), mtime=0),
    ],
)
def test_marks_encodings_and_gzip_are_understood(write, data):
    assert len(read_annotations(write("a b é.geojson", data)).regions) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"   \n", "empty"),
        (b"hello", "no known format"),
        (b"{", "not valid JSON"),
        (b"<a>", "not valid XML"),
        (b"<html/>", "root <html>"),
        (b"<annotations><version/><image/></annotations>", "root <annotations>"),
        (b"\xff\xd8\xff\xe0 image", "cannot be read as text"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><Annotations/>", "DOCTYPE"),
    ],
)
def test_other_files_are_refused_with_the_reason(write, content, message):
    with pytest.raises(AnnotationError, match=message):
        read_annotations(write("a.xml", content))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "not valid JSON"),
        ("<a>" * 1000 + "</a>" * 1000, "root <a>"),
        ("[" + "[]," * 7_000_000 + "[]]", "holds about 14,000,002 values"),
        ("<a>" + "<b/>" * 8_000_000 + "</a>", "holds about 16,000,002 values"),
        ('{"type": "Feature", "geometry": "x"}', "feature 1 has a geometry"),
        ('{"type": "Feature", "geometry": {"type": []}}', "feature 1 has a geometry"),
        ('{"positive": [{"vertices": [["1e999", 1]]}]}', "finite number"),
    ],
)
def test_deep_and_strange_files_are_refused(write, monkeypatch, text, message):
    monkeypatch.setattr(reading, "_MOST_JSON_VALUES", 14_000_000)
    with pytest.raises(AnnotationError, match=message):
        read_annotations(write("a.xml", text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AnnotationError, match="no such annotation file"):
        read_annotations(tmp_path / "none.xml")


def test_regions_of_another_slide_are_refused(write, make_slide):
    moved = (
        GEOJSON.replace("10", "9000").replace("[0,", "[8000,").replace("0]", "8000]")
    )
    path = write("a.geojson", moved)
    with pytest.raises(AnnotationError, match=r"outside the slide fake\.ndpi"):
        read_annotations(path, slide=make_slide())


def test_a_file_without_regions_is_read(write, make_slide):
    path = write("a.geojson", '{"type":"FeatureCollection","features":[]}')
    assert read_annotations(path, slide=make_slide()).regions == ()


def test_ncrfs_polygons_are_read(write):
    content = {"positive": [{"name": "_0", "vertices": SQUARE}], "negative": []}
    (region,) = read_annotations(write("a.json", json.dumps(content))).regions
    assert region.geometry.area == 100


def test_ncrfs_polygons_need_vertices(write):
    path = write("a.json", '{"positive": [{"name": "_0"}]}')
    with pytest.raises(AnnotationError, match="vertices"):
        read_annotations(path)


# What each real file holds: regions, some of their areas, and what else is counted.
QUPATH = "annotations/wsidicom_qupath/qupath-"
PAIRED = "annotations/paired_qupath_imagescope/TCGA-EJ-5519-01Z-00-DX1"
REAL_FILES = {
    # The counts are grep's, of PartOfGroup in each file.
    "annotations/camelyon16_asap_xml/tumor_009.xml": ({"metastasis": 6}, {}, {}),
    "annotations/camelyon16_asap_xml/tumor_036.xml": (
        {"metastasis": 103, "negative": 2},
        {},
        {},
    ),
    "annotations/camelyon16_asap_xml/tumor_039.xml": (
        {"metastasis": 4, "negative": 144},
        {},
        {},
    ),
    # pyhaloxml's shapely form of this file has 5 polygons, 4 lines and 1 point.
    "annotations/halo/test_types.annotations": (
        5,
        {0: (27900 - 16121) * (57423 - 45644)},
        {"ruler": 2, "pin": 1, "line": 2},
    ),
    # The shoelace areas of an outline and of the negative region in it.
    "annotations/halo/example_holes.annotations": (6, {3: 36869839.0 - 7348.5}, {}),
    # Region[@Area] in the file; the other one crosses itself.
    f"{PAIRED}.xml": (3, {0: 3050322256.4, 1: 1064952.4}, {}),
    f"{PAIRED}.json": (3, {}, {}),
    **{
        f"{QUPATH}{name}.json": (1, {}, {})
        for name in ("brush", "ellipse", "polygon", "wand")
    },
    f"{QUPATH}rectangle.json": (1, {0: (26478 - 26268) * (15474 - 15298)}, {}),
    f"{QUPATH}polygon-cell-classified.json": (4, {}, {}),
    f"{QUPATH}line.json": (0, {}, {"LineString": 1}),
    f"{QUPATH}polyline.json": (0, {}, {"LineString": 1}),
    f"{QUPATH}point.json": (0, {}, {"Point": 1}),
    f"{QUPATH}multipoint.json": (0, {}, {"MultiPoint": 1}),
    "wsi/Tumor_001.json": (2, {}, {}),
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL_FILES)
def test_real_files_give_all_their_regions_and_count_the_rest(data_folder, name):
    n_regions, areas, ignored = REAL_FILES[name]
    annotations = read_annotations(data_folder / name)
    by_class = Counter(region.class_name for region in annotations.regions)
    assert n_regions in (by_class, by_class.total())
    assert annotations.ignored == ignored
    assert all(region.geometry.is_valid for region in annotations.regions)
    for index, area in areas.items():
        found = annotations.regions[index].geometry.area
        assert found == pytest.approx(area, abs=0.1)


@pytest.mark.realdata
def test_the_malformed_ndpa_is_refused(data_folder):
    path = data_folder / "annotations/ndpa/lazyslide_annotations_malformed.ndpa"
    with pytest.raises(AnnotationError, match="not valid XML"):
        read_annotations(path)


@pytest.mark.realdata
def test_every_annotation_of_the_prostate_cohort_lies_on_its_slide(data_folder):
    folder = data_folder / "prostate"
    table = pd.read_csv(folder / "slides.csv").dropna(subset="annotation")
    assert len(table) == 16
    for path, annotation in zip(table["path"], table["annotation"], strict=True):
        with open_slide(folder / path) as slide:
            annotations = read_annotations(folder / annotation, slide=slide)
            width, height = slide.dimensions
        assert annotations.regions
        assert annotations.n_repaired == 0
        for region in annotations.regions:
            left, top, right, bottom = region.geometry.bounds
            assert min(left, top) >= 0
            assert right <= width
            assert bottom <= height
