"""DICOM slides of every kind, written by pydicom."""

import io
from functools import partial

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence
from tests.slides.pixels import (
    cut_tiles,
    encode_grey_jpeg,
    encode_j2k,
    encode_jpeg,
    encode_rgb_jpeg,
    encode_ycbcr_j2k,
    paint,
    shrink,
)

JPEG = "1.2.840.10008.1.2.4.50"
LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
PLAIN = "1.2.840.10008.1.2.1"


# Transfer syntax, photometric interpretation, samples, encoder.
KINDS = {
    "jpeg": (JPEG, "YBR_FULL_422", 3, encode_jpeg),
    "jpeg-rgb": (JPEG, "RGB", 3, encode_rgb_jpeg),
    # A YCbCr JPEG with JFIF's marker, called RGB.
    "jpeg-miscalled": (JPEG, "RGB", 3, encode_jpeg),
    "jpeg-grey": (JPEG, "MONOCHROME2", 1, encode_grey_jpeg),
    "j2k-ict": (JPEG_2000, "YBR_ICT", 3, partial(encode_j2k, reversible=False)),
    "j2k-rct": (LOSSLESS, "YBR_RCT", 3, encode_j2k),
    "j2k-rgb": (LOSSLESS, "RGB", 3, partial(encode_j2k, mct=False)),
    # Called YBR_ICT.
    "j2k-aperio": (JPEG_2000, "YBR_ICT", 3, encode_ycbcr_j2k),
    "plain": (PLAIN, "RGB", 3, lambda frame: frame.tobytes()),
    "plain-grey": (PLAIN, "MONOCHROME2", 1, lambda frame: frame[..., 1].tobytes()),
}


def make_dataset(
    size,
    side,
    kind,
    *,
    flavour="VOLUME",
    series="1.2.3",
    uid="1.2.3.1",
    spacing_mm=0.0005,
):
    """Make the header of an image of (width, height) px, TILED_FULL."""
    syntax, photometric, samples, _ = KINDS[kind]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    made.file_meta.MediaStorageSOPInstanceUID = uid
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID
    made.SOPInstanceUID = uid
    made.SeriesInstanceUID = series
    made.Modality = "SM"
    made.Manufacturer = "Nobody"
    made.PatientName = "Somebody"
    made.ImageType = ["ORIGINAL", "PRIMARY", flavour, "NONE"]
    made.TotalPixelMatrixColumns, made.TotalPixelMatrixRows = size
    made.Columns = made.Rows = side
    made.NumberOfFrames = -(-size[0] // side) * -(-size[1] // side)
    made.DimensionOrganizationType = "TILED_FULL"
    made.SamplesPerPixel = samples
    made.PhotometricInterpretation = photometric
    if samples == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    measures = Dataset()
    measures.PixelSpacing = [spacing_mm, spacing_mm]
    groups = Dataset()
    groups.PixelMeasuresSequence = Sequence([measures])
    made.SharedFunctionalGroupsSequence = Sequence([groups])
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    path.ObjectiveLensPower = 20
    made.OpticalPathSequence = Sequence([path])
    return made


def add_positions(made, places, paths=None, *, undefined=False):
    """Say where each frame lies, (x, y) from 0 on, and in which optical path."""
    del made.DimensionOrganizationType
    items = []
    for index, (x, y) in enumerate(places):
        position = Dataset()
        position.XOffsetInSlideCoordinateSystem = 1.5
        position.ZOffsetInSlideCoordinateSystem = 0
        position.ColumnPositionInTotalImagePixelMatrix = x + 1
        position.RowPositionInTotalImagePixelMatrix = y + 1
        item = Dataset()
        item.PlanePositionSlideSequence = Sequence([position])
        parts = [position]
        if paths:
            path = Dataset()
            path.OpticalPathIdentifier = paths[index]
            item.OpticalPathIdentificationSequence = Sequence([path])
            parts.append(path)
        if undefined:
            for element in item:
                element.is_undefined_length = True
            for each in (item, *parts):
                each.is_undefined_length_sequence_item = True
        items.append(item)
    made.PerFrameFunctionalGroupsSequence = Sequence(items)
    if undefined:
        made["PerFrameFunctionalGroupsSequence"].is_undefined_length = True


def add_frames(made, frames, *, table="basic", fragments=1):
    """Pack encoded frames into the pixel data."""
    made.NumberOfFrames = len(frames)
    if made.file_meta.TransferSyntaxUID == PLAIN:
        data = b"".join(frames)
        made.PixelData = data + b"\0" * (len(data) % 2)
        made["PixelData"].VR = "OB"
        return
    if table == "extended":
        extended = encapsulate_extended(frames)
        made.PixelData = extended[0]
        made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = extended[1:]
    else:
        made.PixelData = encapsulate(
            frames, fragments_per_frame=fragments, has_bot=table == "basic"
        )
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True


def encode(image, side, kind):
    """Encode an image's frames; what lies beyond its edge is grey."""
    return [KINDS[kind][3](frame) for frame in cut_tiles(image, side, fill=128)]


def put(keyword, value):
    """Make what puts a value into a header."""
    return lambda made: setattr(made, keyword, value)


def delete(*keywords):
    def change(made):
        for keyword in keywords:
            delattr(made, keyword)

    return change


def save(made, path):
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    path.write_bytes(stream.getvalue())
    return path


def write_image(path, image, side, kind, *, change=None, table="basic", **header):
    """Write one image into one file; `change` edits its header."""
    made = make_dataset(image.shape[1::-1], side, kind, **header)
    add_frames(made, encode(image, side, kind), table=table)
    if change:
        change(made)
    return save(made, path)


def write_slide(folder, kind, *, size=(700, 900), side=256, **options):
    """Write a slide of two levels (factor 4), a label and an overview."""
    folder.mkdir(exist_ok=True)
    image = paint(*size)
    path = write_image(folder / "0.dcm", image, side, kind, uid="1.2.3.1", **options)
    coarse = {"uid": "1.2.3.2", "spacing_mm": 0.002}
    write_image(folder / "1.dcm", shrink(image), side, kind, **coarse, **options)
    for number, flavour in ((3, "LABEL"), (4, "OVERVIEW")):
        write_image(
            folder / f"{number}.dcm",
            paint(120, 120, seed=number),
            120,
            "plain",
            uid=f"1.2.3.{number}",
            flavour=flavour,
        )
    return path


def write_parts(folder, cuts, *, change=None, sparse=False):
    """Write an image of 4 x 3 frames in one file for each cut."""
    image = paint(700, 900)
    frames = encode(image, 256, "jpeg")
    places = [(256 * (i % 4), 256 * (i // 4)) for i in range(12)]
    starts = [0, *cuts]
    for number, (start, end) in enumerate(zip(starts, [*cuts, 12], strict=True), 1):
        made = make_dataset((900, 700), 256, "jpeg", uid=f"1.2.3.{number}")
        if sparse:
            add_positions(made, places[start:end])
        add_frames(made, frames[start:end])
        made.ConcatenationUID = "1.2.9"
        made.InConcatenationNumber = number
        made.InConcatenationTotalNumber = len(starts)
        made.ConcatenationFrameOffsetNumber = start
        if change:
            change(number, made)
        # In another order than the files' names.
        save(made, folder / f"{9 - number}.dcm")
    return frames
