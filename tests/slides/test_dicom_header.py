import os

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from tests.slides.dicom_files import (
    add_positions,
    delete,
    make_dataset,
    put,
    save,
    write_image,
)
from tests.slides.pixels import paint

from eosin.core import SlideError
from eosin.slides.dicom_header import (
    find_flavour,
    find_series,
    read_header,
)


@pytest.fixture
def write(tmp_path):
    """Write a file of 2 x 2 frames whose header a function has changed."""

    def write(change=None):
        return write_image(
            tmp_path / "a.dcm", paint(100, 120), 64, "jpeg", change=change
        )

    return write


def test_a_header_says_what_was_written(write):
    header = read_header(write())
    assert (header.width_px, header.height_px) == (120, 100)
    assert (header.tile_width_px, header.tile_height_px) == (64, 64)
    assert header.n_frames == 4
    assert header.is_full
    assert (header.photometric, header.n_samples) == ("YBR_FULL_422", 3)
    assert (header.flavour, header.series_uid) == ("VOLUME", "1.2.3")
    # 0.0005 mm.
    assert header.spacing == (pytest.approx(0.5), pytest.approx(0.5))
    assert header.objective_power == 20
    assert header.optical_path == "1"
    assert header.concatenation is None
    content = header.path.read_bytes()
    assert content[header.end : header.end + 4] == b"\xe0\x7f\x10\x00"


def test_properties_leave_the_patient_out(write):
    properties = read_header(write()).properties
    assert properties["dicom.Manufacturer"] == "Nobody"
    assert properties["dicom.ImageType[2]"] == "VOLUME"
    assert "Somebody" not in str(properties)


def test_the_series_is_found_without_the_rest(write, tmp_path):
    assert find_series(write()) == "1.2.3"
    (tmp_path / "b.txt").write_text("not DICOM")
    assert find_series(tmp_path / "b.txt") is None
    assert find_series(tmp_path) is None
    assert find_series(tmp_path / "absent") is None
    os.mkfifo(tmp_path / "pipe")
    assert find_series(tmp_path / "pipe") is None
    (tmp_path / "c.dcm").write_bytes(bytes(128) + b"DICM")
    assert find_series(tmp_path / "c.dcm") is None
    assert find_series(write(put("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"))) is None


def put_syntax(value):
    return lambda made: setattr(made.file_meta, "TransferSyntaxUID", value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (delete("ImageType"), "ImageType .* is missing"),
        (put("ImageType", ["ORIGINAL", "PRIMARY"]), "ImageType .* is cut short"),
        (delete("TotalPixelMatrixColumns"), r"Columns \(0048,0006\) .* missing"),
        (put("TotalPixelMatrixRows", 0), "TotalPixelMatrixRows .* it is 0"),
        (delete("Rows"), r"Rows \(0028,0010\)"),
        (delete("SeriesInstanceUID"), "SeriesInstanceUID .* must be a text"),
        (delete("PhotometricInterpretation"), "PhotometricInterpretation"),
        (put("NumberOfFrames", 2_000_000_000), "announces 2000000000"),
        (put("BitsAllocated", 16), "8 bits, these have 8 in 16"),
        (delete("BitsStored"), "8 bits, these have None in 8"),
        (put("PlanarConfiguration", 1), "plane by plane"),
        (put("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"), "is 'CT Image Storage'"),
        (delete("SOPClassUID"), "of no kind"),
        (put("ConcatenationUID", "1.2.9"), "InConcatenationNumber"),
        (put_syntax("1.2.840.10008.1.2.4.80"), "JPEG-LS Lossless"),
    ],
)
def test_what_cannot_be_read_says_why(write, change, message):
    with pytest.raises(SlideError, match=message) as caught:
        read_header(write(change))
    assert str(caught.value).startswith("a.dcm: ")


def test_a_file_without_transfer_syntax_is_damaged(write):
    path = write()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x11\x00UI", 1))
    with pytest.raises(SlideError, match="TransferSyntaxUID"):
        read_header(path)
    path.write_bytes(bytes(200))
    with pytest.raises(SlideError, match="not a DICOM file"):
        read_header(path)


def test_what_an_image_is_of_is_found_before_the_damage(write, tmp_path):
    path = write(delete("TotalPixelMatrixRows"))
    with pytest.raises(SlideError, match="TotalPixelMatrixRows"):
        read_header(path)
    assert find_flavour(path) == "VOLUME"
    (tmp_path / "notes.txt").write_text("nothing of DICOM")
    assert find_flavour(tmp_path / "notes.txt") == ""
    assert find_flavour(write(delete("ImageType"))) == ""


def test_a_header_cut_short_is_an_error_everywhere(write):
    path = write()
    content = path.read_bytes()
    end = read_header(path).end
    for length in range(0, end - 200, 7):
        path.write_bytes(content[:length])
        with pytest.raises(SlideError):
            read_header(path)


def test_a_value_of_no_sense_is_damage(write):
    path = write()
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x08\x00IS") + 8
    path.write_bytes(content[:at] + b"x " + content[at + 2 :])
    with pytest.raises(SlideError, match="cannot be read"):
        read_header(path)


def test_a_header_that_does_not_end_is_not_read_into_memory(tmp_path):
    path = save(make_dataset((64, 64), 64, "jpeg"), tmp_path / "a.dcm")
    content = path.read_bytes()
    # A text of 17 MB, of which the file really has them.
    at = content.index(b"\x28\x00\x04\x00CS")
    huge = b"\x20\x00\x0e\x00UC\0\0" + (17 << 20).to_bytes(4, "little")
    path.write_bytes(content[:at] + huge)
    with path.open("ab") as file:
        file.truncate(at + (18 << 20))
    with pytest.raises(SlideError, match="within 16 MB"):
        read_header(path)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        # Of rows first, which follow each other in y.
        ([0.00025, 0.00027], (0.27, 0.25)),
        ([0.0], (None, None)),
        ([0.0, 0.001], (1.0, None)),
        (None, (None, None)),
    ],
)
def test_the_spacing_is_that_of_rows_and_columns(write, spacing, expected):
    def change(made):
        if spacing is None:
            del made.SharedFunctionalGroupsSequence
            return
        groups = made.SharedFunctionalGroupsSequence[0]
        groups.PixelMeasuresSequence[0].PixelSpacing = spacing

    assert read_header(write(change)).spacing == pytest.approx(expected)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize(
    ("spacings", "expected"),
    [
        ([["0.0005", "0.0004"]] * 4, (0.4, 0.5)),
        ([["0.0005", "0.0005"]] * 3 + [["0.001", "0.001"]], (None, None)),
        ([None] * 4, (None, None)),
    ],
)
def test_the_spacing_may_be_that_of_each_frame(write, spacings, expected, undefined):
    def change(made):
        del made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        places = [(x, y) for y in (0, 64) for x in (0, 64)]
        add_positions(made, places, undefined=undefined)
        groups = made.PerFrameFunctionalGroupsSequence
        for group, spacing in zip(groups, spacings, strict=True):
            if spacing:
                measures = Dataset()
                measures.PixelSpacing = spacing
                group.PixelMeasuresSequence = Sequence([measures])

    header = read_header(write(change))
    assert header.spacing == pytest.approx(expected)
    content = header.path.read_bytes()
    assert content[header.end : header.end + 4] == b"\x00\x52\x30\x92"


@pytest.mark.parametrize(
    ("size", "expected"),
    # 120 x 100 px.
    [((0.03, 0.05), (0.25, 0.5)), ((0, 0.05), (None, 0.5)), (None, (None, None))],
)
def test_the_imaged_volume_says_the_size_of_a_pixel(write, size, expected):
    def change(made):
        if size:
            made.ImagedVolumeWidth, made.ImagedVolumeHeight = size

    assert read_header(write(change)).volume == pytest.approx(expected)


def test_what_may_be_missing_may_be_missing(write):
    def change(made):
        del made.OpticalPathSequence, made.DimensionOrganizationType, made.Manufacturer
        made.SharedFunctionalGroupsSequence = []

    header = read_header(write(change))
    assert header.spacing == header.volume == (None, None)
    assert header.objective_power is None
    assert header.optical_path == ""
    assert not header.is_full
    assert "dicom.Manufacturer" not in header.properties


def test_values_that_break_the_standard_harmlessly_are_read(write):
    # A name of over 64 characters and an identifier of over 64 digits.
    def change(made):
        made.Manufacturer = "N" * 70
        made.SeriesInstanceUID = "1.2." + "3" * 70

    with pydicom.config.disable_value_validation():
        path = write(change)
    header = read_header(path)
    assert header.series_uid == "1.2." + "3" * 70
    assert header.properties["dicom.Manufacturer"] == "N" * 70
    assert header.spacing[0] == pytest.approx(0.5)
