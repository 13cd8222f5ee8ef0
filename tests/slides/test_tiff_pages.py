import cv2
import numpy as np
import pytest
import tifffile
from tests.slides.pixels import paint

from eosin.slides import open_slide
from eosin.slides.byte_sources import LocalFile
from eosin.slides.tiff_pages import read_content

IMAGE = paint(640, 1000)
TILED = {"tile": (64, 64), "photometric": "rgb", "metadata": None, "software": ""}
STRIPS = {"photometric": "rgb", "metadata": None, "software": ""}
MPP = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{more}'
    '<Image Name="s"><Pixels SizeX="1000" SizeY="640" SizeC="3" SizeZ="1" SizeT="1" '
    'PhysicalSizeX="0.3" PhysicalSizeY="0.3"/></Image></OME>'
)


def small(factor):
    size = (1000 // factor, 640 // factor)
    return cv2.resize(IMAGE, size, interpolation=cv2.INTER_AREA)


def write(path, *pages):
    with tifffile.TiffWriter(path) as file:
        for image, options in pages:
            file.write(image, **options)
    return path


def read(path):
    return read_content(LocalFile(path), path)


LABEL = np.full((120, 120, 3), (250, 240, 90), np.uint8)
SLIDE = (IMAGE, TILED | MPP)
# What stands in the file, and what is said of what is left out.
ORDERS = {
    "thumbnail first": ([(small(8), STRIPS), SLIDE, (small(4), TILED)], "first image"),
    "small level first": ([(small(4), TILED), SLIDE], "first image (250 x 160"),
    "macro first": ([(paint(60, 200), TILED), SLIDE, (small(4), TILED)], "200 x 60"),
    "label behind": ([SLIDE, (small(4), TILED), (LABEL, TILED)], "120 x 120"),
    "label between": ([SLIDE, (LABEL, TILED), (small(4), TILED)], "120 x 120"),
    "flagged label": (
        [SLIDE, (small(4), TILED), (LABEL, TILED | {"subfiletype": 1})],
        "120 x 120",
    ),
    "twice": ([SLIDE, (IMAGE[::-1].copy(), TILED), (small(4), TILED)], "1000 x 640"),
    "label in a sub-directory": (
        [(IMAGE, TILED | MPP | {"subifds": 2}), (small(4), TILED), (LABEL, TILED)],
        "120 x 120",
    ),
    "slide in a sub-directory": (
        [(small(4), TILED | {"subifds": 1}), (IMAGE, TILED | MPP)],
        "first image (250 x 160",
    ),
    "named label": ([SLIDE, (LABEL, TILED | {"description": "Label"})], ""),
    "strips": ([(small(8), STRIPS), (IMAGE, STRIPS | MPP)], "first image (125 x 80"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_largest_image_is_the_slide_and_levels_have_its_shape(tmp_path, name):
    pages, caution = ORDERS[name]
    path = write(tmp_path / "a.tif", *pages)
    with open_slide(path) as slide:
        assert slide.mpp == 0.5
        assert caution in " ".join(slide.cautions)
        assert bool(slide.cautions) == bool(caution)
        for index, level in enumerate(slide.levels):
            expected = small(round(level.downsample))
            found = slide.read(0, 0, level.width_px, level.height_px, level=index)
            assert np.array_equal(found, expected)
        assert len(slide.levels) == 1 + any(len(page[0]) == 160 for page in pages)


def test_padded_levels_show_the_slide_where_it_is(tmp_path):
    # 500 x 320 and 250 x 160 px, padded to tiles of 128 px.
    pages = [(IMAGE, TILED | MPP | {"tile": (128, 128)})]
    for factor in (2, 4):
        level = small(factor)
        height, width = level.shape[:2]
        rows, columns = -height % 128, -width % 128
        padded = np.pad(level, ((0, rows), (0, columns), (0, 0)))
        options = TILED | {"tile": (128, 128), "subfiletype": 1}
        pages.append((padded, options))
    with open_slide(write(tmp_path / "a.tif", *pages)) as slide:
        assert [level.downsample for level in slide.levels] == [1, 2, 4]
        # Of level 2 the columns 175 to 254, of which 250 and more are padding.
        assert (slide.read(700, 400, 80, 40, level=2)[:, 75:] == 255).all()
        assert np.array_equal(slide.read_image(downsample=4), small(4))


@pytest.mark.parametrize(
    ("description", "software"),
    [
        (OME.format(more='<Instrument><Microscope Manufacturer="Hamamatsu"/>'
                         "</Instrument>"), ""),
        (OME.format(more="<!-- http://www.leica-microsystems.com/scn -->"), ""),
        (OME.format(more=""), "MedScan to OME, with iScan and DPUfsImport"),
    ],
)  # fmt: skip
def test_a_header_that_mentions_a_maker_is_not_the_makers(
    tmp_path, description, software
):
    options = TILED | {"description": description, "software": software}
    with open_slide(write(tmp_path / "a.ome.tif", (IMAGE, options))) as slide:
        assert (slide.reader, slide.vendor) == ("native", "ome-tiff")
        assert slide.mpp == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("options", "maker"),
    [
        ({"description": '<scn xmlns="http://www.leica-microsystems.com/scn/"/>'},
         "Leica"),
        ({"software": "MedScan 1"}, "Trestle"),
        ({"extratags": [(700, "B", 9, b"<iScan />")]}, "Ventana"),
        ({"extratags": [(271, "s", 0, "Hamamatsu")]}, "Hamamatsu"),
        ({"extratags": [(271, "s", 0, "A camera")]}, ""),
    ],
)  # fmt: skip
def test_a_makers_own_tiff_is_known_by_what_only_it_writes(tmp_path, options, maker):
    assert read(write(tmp_path / "a.tif", (LABEL, TILED | options))).maker == maker


@pytest.mark.parametrize("options", [TILED, STRIPS])
@pytest.mark.parametrize(
    ("description", "vendor", "mpp", "power"),
    [
        ("Aperio v8\r\n9x9 RAW|AppMag = 20|MPP = 0.4970", "aperio", 0.497, 20),
        ("Motic V1.0.0 9x9 |AppMag = 40|MPP = 0,257290", "motic", 0.25729, 40),
        ("KFBIO\nMPP=0.24\nMagnification=40x", "kfbio", 0.24, 40),
        ("Any scan\nDate: 2024\nMPP: 0.24 um/px\nObjective: 40", "any", 0.24, 40),
    ],
)
@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.btf"])
def test_pairs_are_read_whatever_holds_the_pixels(
    tmp_path, options, description, vendor, mpp, power, name
):
    path = write(tmp_path / name, (LABEL, options | {"description": description}))
    with open_slide(path) as slide:
        assert (slide.vendor, slide.mpp) == (vendor, pytest.approx(mpp))
        assert slide.resolution.candidates["objective power"] == 10 / power
        assert f"{vendor}.MPP" in slide.properties
        assert np.array_equal(slide.read(0, 0, 120, 120), LABEL)


def test_the_first_key_of_a_header_is_no_maker(tmp_path):
    said = {"description": "Date: 2024\nMPP: 0.24\nObjective: 40"}
    assert (
        read(write(tmp_path / "a.tif", (LABEL, TILED | said))).vendor == "generic-tiff"
    )


def test_of_two_scans_the_larger_is_read_and_the_other_named(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, image, mpp in (("one", small(2), 1.0), ("two", IMAGE, 0.5)):
            metadata = {"axes": "YXS", "Name": name, "PhysicalSizeX": mpp}
            file.write(image, tile=(64, 64), photometric="rgb", metadata=metadata)
    with open_slide(path) as slide:
        assert (slide.dimensions, slide.mpp) == ((1000, 640), 0.5)
        assert "left out: one" in " ".join(slide.cautions)


def test_a_header_that_describes_another_image_is_told(tmp_path):
    options = TILED | {"description": OME.format(more="")}
    path = write(tmp_path / "a.tif", (LABEL, options))
    assert "does not describe its image of 120 x 120" in read(path).cautions[0]
    options = TILED | {"description": "<OME><no xml</OME>"}
    path = write(tmp_path / "b.tif", (LABEL, options))
    assert "does not describe" in read(path).cautions[0]


def test_a_thumbnail_larger_than_a_crop_is_no_slide(tmp_path):
    size = "Aperio v8\n120x120"
    path = write(
        tmp_path / "a.svs",
        (LABEL, TILED | {"description": f"{size}|MPP = 0.5"}),
        (IMAGE, STRIPS | {"description": f"{size} -> 1000x640 - |AppMag = 20"}),
        (IMAGE, STRIPS | {"description": "Aperio v8\nmacro 1000x640"}),
    )
    with open_slide(path) as slide:
        assert (slide.dimensions, slide.cautions) == ((120, 120), ())
        assert set(slide.associated_images) == {"thumbnail", "macro"}


def test_grey_images_of_one_size_are_planes(tmp_path):
    for options in (TILED, STRIPS):
        grey = options | {"photometric": "minisblack"}
        pages = [(IMAGE[..., i].copy(), grey) for i in range(3)]
        path = write(tmp_path / "a.tif", *pages)
        assert read(path).n_planes == 3
        with pytest.raises(Exception, match="a colour image is needed"):
            open_slide(path)
