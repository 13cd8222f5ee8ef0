from types import SimpleNamespace

import pytest

from eosin.slides.tiff_metadata import (
    parse_positive,
    read_aperio_properties,
    read_ome_mpp,
    read_tag_mpp,
)


def test_a_broken_ome_header_says_nothing():
    for size in ('PhysicalSizeX="big"', 'PhysicalSizeX="1" PhysicalSizeXUnit="ell"'):
        assert read_ome_mpp(f"<OME><Image><Pixels {size}/></Image></OME>") is None
    for xml in (None, "<OME", "<OME><Image/></OME>"):
        assert read_ome_mpp(xml) is None


@pytest.mark.parametrize(
    ("text", "mpp"),
    [
        ('PhysicalSizeX="0.25"', 0.25),
        ('PhysicalSizeX="250" PhysicalSizeXUnit="nm"', 0.25),
        ('PhysicalSizeX="0.00025" PhysicalSizeXUnit="mm"', 0.25),
    ],
)
def test_an_ome_headers_unit_is_heeded(text, mpp):
    xml = f'<OME xmlns="http://a/b"><Image><Pixels {text}/></Image></OME>'
    assert read_ome_mpp(xml) == pytest.approx(mpp)


def page(**tags):
    return SimpleNamespace(
        tags={name: SimpleNamespace(value=value) for name, value in tags.items()}
    )


def test_resolution_tags_become_micrometres():
    # 20,000 pixels per centimetre are 0.5 micrometres each; 50,800 per inch too.
    assert read_tag_mpp(page(ResolutionUnit=3, XResolution=(20_000, 1))) == 0.5
    assert read_tag_mpp(page(ResolutionUnit=2, XResolution=(50_800, 1))) == 0.5
    for tags in (
        {},
        {"ResolutionUnit": 1, "XResolution": (3, 1)},
        {"ResolutionUnit": 3},
        {"ResolutionUnit": 3, "XResolution": (0, 1)},
    ):
        assert read_tag_mpp(page(**tags)) is None


def test_aperio_pairs_are_read():
    text = "Aperio Image Library v11\n46000x32914 [0,100]|AppMag = 20|MPP = 0.4990|odd"
    assert read_aperio_properties(text) == {
        "aperio.AppMag": "20",
        "aperio.MPP": "0.4990",
    }


@pytest.mark.parametrize(
    ("text", "value"), [("0.25", 0.25), ("", None), (None, None), ("x", None)]
)
def test_only_numbers_above_0_count(text, value):
    assert parse_positive(text) == value
    assert parse_positive("-1") is None
