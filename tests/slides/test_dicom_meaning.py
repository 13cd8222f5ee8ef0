"""What headers that contradict each other, or lack something, come to."""

from copy import deepcopy

import pytest
from tests.slides.dicom_files import (
    add_frames,
    encode,
    make_dataset,
    paint,
    put,
    save,
    write_image,
    write_parts,
)

from eosin.core import SlideError
from eosin.slides import open_slide
from eosin.workflows.validate import validate_slides


def space(*spacing, volume=None):
    """Make what says a spacing of rows and columns, and a volume, all in mm."""

    def change(made):
        measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        if spacing:
            measures.PixelSpacing = list(spacing)
        else:
            del measures.PixelSpacing
        if volume:
            made.ImagedVolumeWidth, made.ImagedVolumeHeight = volume

    return change


# Of 400 x 300 px at 20x, which alone says 0.5: the mpp, and what is told.
SPACINGS = {
    "all agree": (space(0.0005, 0.0005, volume=(0.2, 0.15)), 0.5, ()),
    "nearly square": (space(0.0005, 0.00048), 0.49, ("x and 0.5 in y",)),
    "not square": (space(0.001, 0.0005), 0.5, ("0.5 mpp in x and 1 in y",)),
    "not square, but the volume is": (
        space(0.001, 0.0005, volume=(0.1, 0.075)),
        0.5,
        ("0.5 mpp in x and 1 in y", "imaged volume says 0.25 mpp"),
    ),
    "volume of another size": (
        space(0.0005, 0.0005, volume=(0.1, 0.075)),
        0.5,
        ("imaged volume says 0.25 mpp, vendor says 0.5",),
    ),
    "power of another size": (
        space(0.00025, 0.00025, volume=(0.1, 0.075)),
        0.25,
        ("objective power says 0.5 mpp",),
    ),
    "no spacing": (space(volume=(0.1, 0.075)), 0.25, ("objective power says 0.5",)),
    "spacing of zero": (
        space(0, 0, volume=(0.1, 0.075)),
        0.25,
        ("objective power says 0.5",),
    ),
    "spacing in the wrong unit": (
        space(0.25, 0.25, volume=(0.1, 0.075)),
        0.25,
        ("objective power says 0.5",),
    ),
    "a volume of zero": (space(0.0005, 0.0005, volume=(0, 0)), 0.5, ()),
    "neither": (space(), 0.5, ()),
}


@pytest.mark.parametrize("name", SPACINGS)
def test_spacing_volume_and_power_are_held_against_each_other(tmp_path, name):
    change, mpp, told = SPACINGS[name]
    path = tmp_path / "a.dcm"
    write_image(path, paint(300, 400), 256, "jpeg", change=change)
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(mpp)
        assert len(slide.resolution.disagreements) == len(told)
        for part in told:
            assert part in "; ".join(slide.resolution.disagreements)
    with open_slide(path, mpp=0.3) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.3, "given")


@pytest.mark.parametrize(
    ("spacing_mm", "told"),
    [
        (0.002, ()),
        # As converters write that copy a header from level to level.
        (0.0005, ("level 1 says 0.125 mpp, vendor says 0.5",)),
        (0.001, ("level 1 says 0.25 mpp, vendor says 0.5",)),
    ],
)
def test_a_level_of_another_spacing_is_told(tmp_path, spacing_mm, told):
    path = write_image(tmp_path / "0.dcm", paint(400, 800), 256, "plain")
    coarse = {"uid": "1.2.3.2", "spacing_mm": spacing_mm}
    write_image(tmp_path / "1.dcm", paint(100, 200), 256, "plain", **coarse)
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(0.5)
        assert slide.resolution.disagreements == told


def write_planes(path, kind, n, **tags):
    """Write one image whose frames stand `n` times behind each other."""
    planes = [encode(paint(128, 192, seed=i), 64, kind) for i in range(n)]
    made = make_dataset((192, 128), 64, kind)
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    add_frames(made, [frame for plane in planes for frame in plane])
    save(made, path)
    return path


@pytest.mark.parametrize("kind", ["plain-grey", "jpeg-grey"])
@pytest.mark.parametrize(
    "tags", [{"NumberOfOpticalPaths": 3}, {}, {"TotalPixelMatrixFocalPlanes": 1}]
)
def test_one_of_three_grey_paths_is_no_slide(tmp_path, kind, tags):
    path = write_planes(tmp_path / "a.dcm", kind, 3, **tags)
    with pytest.raises(SlideError, match="several grey ones, an optical path each"):
        open_slide(path)


def test_grey_paths_in_files_of_their_own_are_no_slide(tmp_path):
    for number, colour in enumerate("RGB", 1):

        def change(made, colour=colour):
            item = deepcopy(made.OpticalPathSequence[0])
            item.OpticalPathIdentifier = colour
            made.OpticalPathSequence = [item]

        path = tmp_path / f"{colour}.dcm"
        image = paint(128, 192)
        uid = f"1.2.3.{number}"
        write_image(path, image, 64, "plain-grey", uid=uid, change=change)
    with pytest.raises(SlideError, match="several grey ones, an optical path each"):
        open_slide(tmp_path / "R.dcm")


def test_several_paths_are_several_whether_or_not_they_are_counted(tmp_path):
    def change(made):
        made.OpticalPathSequence = [deepcopy(made.OpticalPathSequence[0])] * 3

    path = tmp_path / "a.dcm"
    write_image(path, paint(128, 192), 64, "plain-grey", change=change)
    with pytest.raises(SlideError, match="several grey ones"):
        open_slide(path)


def test_what_else_might_be_meant_is_told(tmp_path):
    for name in "123":
        (tmp_path / name).mkdir()
    one = write_image(tmp_path / "1" / "a.dcm", paint(128, 192), 64, "plain-grey")
    focal = {"TotalPixelMatrixFocalPlanes": 3}
    many = write_planes(tmp_path / "2" / "a.dcm", "plain-grey", 3, **focal)
    colour = write_planes(tmp_path / "3" / "a.dcm", "plain", 2)
    checks = validate_slides([one, many, colour])
    told = ["; ".join(check.problems) for check in checks]
    assert all(check.status == "warning" for check in checks)
    assert "its pixels are grey" in told[0]
    assert "plane or optical path 1 of 3 is read" in told[1]
    assert "plane or optical path 1 of 2 is read" in told[2]


@pytest.mark.parametrize("stored", [10, 12, 14, 16])
def test_deep_pixels_are_refused_by_name(tmp_path, stored):
    def change(made):
        made.BitsAllocated, made.BitsStored, made.HighBit = 16, stored, stored - 1

    path = tmp_path / "a.dcm"
    write_image(path, paint(64, 64), 64, "plain-grey", change=change)
    with pytest.raises(SlideError, match=f"8 bits, these have {stored} in 16"):
        open_slide(path)


def test_pixels_with_a_sign_are_refused(tmp_path):
    path = tmp_path / "a.dcm"
    change = put("PixelRepresentation", 1)
    write_image(path, paint(64, 64), 64, "plain", change=change)
    with pytest.raises(SlideError, match="without sign"):
        open_slide(path)


def test_parts_of_one_image_are_no_planes(tmp_path):
    write_parts(tmp_path, (5, 6))
    with open_slide(tmp_path / "8.dcm") as slide:
        assert not slide.cautions
