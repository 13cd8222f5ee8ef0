import math

import pytest

from eosin.annotations import read_annotations
from eosin.core import AnnotationError, SlideError

OFFSETS = {
    "hamamatsu.XOffsetFromSlideCentre": "100000",
    "hamamatsu.YOffsetFromSlideCentre": "-50000",
}
# 0.5 mpp, 1000 x 800 px: x_px0 = (x - 100000) / 500 + 500, y_px0 = (y + 50000) / 500
# + 400; so the square below lies at (300..500, 500..600).
SQUARE = [(0, 0), (100_000, 0), (100_000, 50_000), (0, 50_000)]


def state(points, *, title="Tumor", closed="<closed>1</closed>", kind="freehand"):
    corners = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in points)
    return (
        f"<ndpviewstate><title>{title}</title><annotation type='{kind}'>{closed}"
        f"<pointlist>{corners}</pointlist></annotation></ndpviewstate>"
    )


@pytest.fixture
def read(write):
    def read_file(slide, *states):
        content = f"<annotations>{''.join(states)}</annotations>"
        return read_annotations(write("a.ndpa", content), slide=slide)

    return read_file


def test_nanometres_from_the_glass_centre_become_pixels(read, make_slide):
    (region,) = read(make_slide(properties=OFFSETS), state(SQUARE)).regions
    assert region.class_name == "Tumor"
    assert region.geometry.bounds == (300, 500, 500, 600)


def test_the_files_own_mpp_goes_before_a_given_one(read, make_slide):
    own = {"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.25"}
    slide = make_slide(mpp=2.0, properties=OFFSETS | own)
    (region,) = read(slide, state(SQUARE)).regions
    assert region.geometry.bounds == (300, 600, 500, 800)


def test_circles_have_their_area(read, make_slide):
    circle = (
        "<ndpviewstate><title/><annotation type='circle'><x>100000</x><y>-50000</y>"
        "<radius>50000</radius></annotation></ndpviewstate>"
    )
    (region,) = read(make_slide(properties=OFFSETS), circle).regions
    assert region.class_name == "Unclassified"
    assert region.geometry.bounds == pytest.approx((400, 300, 600, 500))
    assert region.geometry.area == pytest.approx(math.pi * 100**2, rel=1e-3)


def test_lines_pins_and_empty_views_are_counted(read, make_slide):
    annotations = read(
        make_slide(properties=OFFSETS),
        state(SQUARE, closed="<closed>0</closed>"),
        state([], kind="pin"),
        "<ndpviewstate/>",
    )
    assert annotations.regions == ()
    assert annotations.ignored == {"line": 1, "pin": 1, "view without a shape": 1}


def test_it_needs_its_slide(read):
    with pytest.raises(AnnotationError, match="only be read together with its slide"):
        read(None, state(SQUARE))


def test_it_needs_the_slides_place_on_the_glass(read, make_slide):
    with pytest.raises(AnnotationError, match="XOffsetFromSlideCentre"):
        read(make_slide(), state(SQUARE))


def test_it_needs_an_mpp(read, make_slide):
    with pytest.raises(SlideError, match="resolution must be known"):
        read(make_slide(mpp=None, properties=OFFSETS), state(SQUARE))


@pytest.mark.realdata
def test_a_mixed_file_gives_its_one_area(data_folder, make_slide):
    slide = make_slide(size=(4000, 4000), properties=dict.fromkeys(OFFSETS, "0"))
    path = data_folder / "annotations/ndpa/lazyslide_annotations_mixed.ndpa"
    annotations = read_annotations(path, slide=slide)
    # 100 um x 200 um at 0.5 mpp.
    assert [region.geometry.area for region in annotations.regions] == [200 * 400]
    assert annotations.ignored == {"line": 1, "pin": 1, "unknown": 1}
