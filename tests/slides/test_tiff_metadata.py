from types import SimpleNamespace

import pytest

from eosin.slides.tiff_metadata import (
    parse_length_um,
    parse_positive,
    read_imagej_mpp,
    read_ome_images,
    read_pair_resolution,
    read_pairs,
    read_tag_mpp,
)


def read_ome(text, more=""):
    xml = (
        f'<OME xmlns="http://a/b"><Instrument><Objective ID="O:1" '
        f'NominalMagnification="40"/></Instrument><Image Name="s">{more}'
        f"<Pixels {text}/></Image></OME>"
    )
    (image,) = read_ome_images(xml)
    return image


def test_a_broken_ome_header_says_nothing():
    for size in ('PhysicalSizeX="big"', 'PhysicalSizeX="1" PhysicalSizeXUnit="ell"'):
        assert read_ome(size).mpp == (None, None)
    for xml in (None, "<OME", "<OME><Image/></OME>"):
        assert read_ome_images(xml) == ()


@pytest.mark.parametrize(
    ("number", "unit"),
    [
        ("0.25", None),
        ("0,25", "\u00b5m"),
        ("2.5E-1", "\u03bcm"),
        ("0.25", "Âµm"),
        ("0.25", "Microns"),
        ("250", "nm"),
        ("0.00025", "mm"),
        ("25e-6", "cm"),
        ("0.00000025", "m"),
        ("2500", "Å"),
        # Of an inch of 25.4 mm.
        ("9.84251968503937e-06", "inch"),
        ("0.00984251968503937", "thou"),
        # 72 points are an inch.
        ("0.000708661417322835", "pt"),
        *(("2.5e8", "fm"), ("2.5e-6", "dm"), ("2.5e-10", "km"), ("2.5e-13", "Mm")),
        *(("2.5e-9", "hm"), ("2.5e-8", "dam"), ("2.5e17", "ym")),
        # A yard has 36 inches, a mile 1760 yards.
        *(("2.734033245844269e-07", "yd"), ("1.5534279805933349e-10", "mi")),
    ],
)
def test_an_ome_headers_unit_is_heeded(number, unit):
    units = f'PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}"' if unit else ""
    image = read_ome(f'PhysicalSizeX="{number}" PhysicalSizeY="{number}" {units}')
    assert image.mpp == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize("unit", ["pixel", "reference frame", "MM", "ly", ""])
def test_relative_and_unknown_units_are_no_length(unit):
    assert read_ome(f'PhysicalSizeX="0.25" PhysicalSizeXUnit="{unit}"').mpp[0] is None


def test_both_sides_have_units_of_their_own():
    text = 'PhysicalSizeX="0.25" PhysicalSizeY="500" PhysicalSizeYUnit="nm"'
    assert read_ome(text).mpp == (0.25, 0.5)


def test_an_ome_image_names_its_objective_channels_and_bits():
    image = read_ome(
        'SizeX="7" SizeY="5" SizeC="3" SizeZ="2" SignificantBits="12"',
        '<ObjectiveSettings ID="O:1"/>',
    )
    assert (image.size, image.n_samples, image.name) == ((7, 5), 6, "s")
    assert (image.objective_power, image.significant_bits) == (40, 12)


def page(**tags):
    return SimpleNamespace(
        tags={name: SimpleNamespace(value=value) for name, value in tags.items()}
    )


def test_resolution_tags_become_micrometres():
    # 20,000 pixels per centimetre are 0.5 micrometres each; 50,800 per inch too.
    assert read_tag_mpp(page(ResolutionUnit=3, XResolution=(20_000, 1)))[0] == 0.5
    assert read_tag_mpp(page(ResolutionUnit=2, XResolution=(50_800, 1)))[0] == 0.5
    both = page(ResolutionUnit=3, XResolution=(40_000, 1), YResolution=(20_000, 1))
    assert read_tag_mpp(both) == (0.25, 0.5)
    assert read_tag_mpp(page(ResolutionUnit=4, XResolution=(2000, 1)))[0] == 0.5
    assert read_tag_mpp(page(ResolutionUnit=5, XResolution=(2, 1)))[0] == 0.5
    # The unit's default is the inch.
    assert read_tag_mpp(page(XResolution=(508_000, 10)))[0] == 0.5
    assert read_tag_mpp(page(XResolution=50_800.0))[0] == 0.5
    for tags in (
        {},
        {"ResolutionUnit": 1, "XResolution": (3, 1)},
        {"ResolutionUnit": 7, "XResolution": (3, 1)},
        {"ResolutionUnit": 3},
        {"ResolutionUnit": 3, "XResolution": (0, 1)},
        {"ResolutionUnit": 3, "XResolution": (1, 0)},
        {"ResolutionUnit": 3, "XResolution": float("inf")},
        {"ResolutionUnit": 3, "XResolution": -4.0},
    ):
        assert read_tag_mpp(page(**tags)) == (None, None)


@pytest.mark.parametrize(
    ("unit", "per_unit"), [("micron", 4), ("\\u00B5m", 4), ("mm", 4000), ("um", 4)]
)
def test_imagej_says_the_unit_of_the_tags(unit, per_unit):
    tags = page(XResolution=(per_unit, 1), YResolution=(per_unit, 1), ResolutionUnit=1)
    text = f"ImageJ=1.53t\nunit={unit}\nloop=false\n"
    assert read_imagej_mpp(tags, text) == pytest.approx((0.25, 0.25))
    assert read_imagej_mpp(tags, f"unit={unit}\n") == (None, None)


def test_aperio_pairs_are_read():
    text = "Aperio Image Library v11\n46000x32914 [0,100]|AppMag = 20|MPP = 0.4990|odd"
    assert read_pairs(text) == {"AppMag": "20", "MPP": "0.4990"}


@pytest.mark.parametrize(
    "text",
    [
        "Motic V1.0.0 9x9 Q = 75|AppMag = 40|MPP = 0.25",
        "Maker|appmag = 40x|mpp = 0,25 \u03bcm",
        "Maker\nMagnification = 40\nMPP = 250 nm",
        "MPP-X = 0.25; MPP-Y = 0.25; Objective Power = 40",
        "Scanned: 2024-05-01 10:20\nMPP: 0.25\nObjective: 40",
        '{"mpp": 0.25, "magnification": 40, "stains": ["H", "E"]}',
        "Maker|Pixel Size X (nm) = 250|Pixel Size Y (nm) = 250|AppMag = 40",
        "Maker|Pixel Width = 0.25 um/px|Pixel Height = 0.25um/pixel|AppMag = 40",
        "Maker|MPP = 0|Microns per pixel = 0,25|AppMag = 40",
    ],
)
def test_pairs_say_the_resolution_in_many_spellings(text):
    sides, power = read_pair_resolution(read_pairs(text))
    assert (*sides, power) == (0.25, 0.25, 40)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0.25", 0.25), (" 0,25 ", 0.25), ("2.5E-1", 0.25), ("+1.", 1.0)),
        *((text, None) for text in ("", None, "x", "-1", "0", "nan", "inf", "1e999")),
        *((text, None) for text in ("1_0", "1,234.5", "0x10", "0.25 um")),
    ],
)
def test_only_numbers_above_0_count(text, value):
    assert parse_positive(text) == value


def test_a_unit_behind_the_number_goes_first():
    assert parse_length_um("250 nm", "mm") == pytest.approx(0.25)
    assert parse_length_um("0.25", "\u03bcm") == 0.25
    assert parse_length_um("0.25 ells") is None
