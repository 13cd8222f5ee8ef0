"""What the header of one DICOM file says of the slide image in it.

Sources: DICOM PS3.3, sections A.32.8 and C.8.12 (whole slide microscopy), and
PS3.10, section 7 (the file's own header).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eosin.core import SlideError, raising
from eosin.slides.byte_sources import LocalFile
from eosin.slides.dicom_values import (
    DICOMStream,
    DICOMValues,
    find_syntax,
    name_uid,
    read_values,
)
from eosin.slides.tiff_metadata import parse_positive

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"

# All of them write the header in one way: explicit, little endian.
PLAIN_SYNTAX = "1.2.840.10008.1.2.1"
JPEG_SYNTAX = "1.2.840.10008.1.2.4.50"
JPEG_2000_SYNTAXES = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_SYNTAXES = (PLAIN_SYNTAX, JPEG_SYNTAX, *JPEG_2000_SYNTAXES)

_PATHS = "OpticalPathSequence"
_IMAGE_TYPE = 0x00080008
_SERIES = 0x0020000E
PER_FRAME_GROUPS = 0x52009230

_GROUPS_MARK = b"\x00\x52\x30\x92"
_FRAME_SPACING = re.compile(rb"\x28\x00\x30\x00DS([\x01-\x40])\x00", re.DOTALL)
# Some hundred frames, which tells whether they agree.
_MOST_FRAME_BYTES = 1 << 16

# 262 Gpx in frames of 256 px; a damaged number must not ask for gigabytes.
MAX_FRAMES = 4_000_000

# Nothing that names a patient: properties travel with packs and run records.
_PROPERTIES = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PyramidUID",
    "ImageType",
    "Manufacturer",
    "ManufacturerModelName",
    "DimensionOrganizationType",
    "PhotometricInterpretation",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixRows",
    "NumberOfOpticalPaths",
    "TotalPixelMatrixFocalPlanes",
)
_KEYWORDS = (
    *_PROPERTIES,
    "SOPClassUID",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "ImagedVolumeWidth",
    "ImagedVolumeHeight",
    "PlanarConfiguration",
    "ConcatenationUID",
    "ConcatenationFrameOffsetNumber",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    _PATHS,
    "SharedFunctionalGroupsSequence",
)


# Of x and y.
Sides = tuple[float | None, float | None]


@dataclass(frozen=True)
class Concatenation:
    """Where one file stands, from 1 on, in an image that is spread over several.

    Files of one image share the `uid`; the files before it hold `first_frame` frames.
    """

    uid: str
    number: int
    n_files: int | None
    first_frame: int | None


@dataclass(frozen=True)
class DICOMHeader:
    """One file's header; what it does not say is empty or None.

    Attributes:
        path: The file.
        instance_uid: What names this file's content, wherever it lies.
        series_uid: The same for all files of a slide.
        pyramid_uid: The same for all levels of a pyramid.
        flavour: `VOLUME`, `THUMBNAIL`, `LABEL`, `OVERVIEW` or another.
        syntax: Transfer syntax, one that is read here.
        photometric: What the `n_samples` components mean, such as `YBR_FULL_422`.
        width_px: Of the image, as `height_px`.
        tile_width_px: Of a frame, as `tile_height_px`.
        n_frames: How many frames this file holds.
        is_full: Whether frames lie row by row without a gap; else each says where.
        optical_path: Name of the first of `n_paths`.
        spacing: Micrometres per pixel in x and y as PixelSpacing says them, which may
            be none that a microscope has.
        volume: The same as the size of the imaged volume says it.
        objective_power: Nominal magnification.
        properties: What else the header says, as text, without the patient.
        end: Place of the first element behind this header.
    """

    path: Path
    instance_uid: str
    series_uid: str
    pyramid_uid: str
    flavour: str
    syntax: str
    photometric: str
    n_samples: int
    width_px: int
    height_px: int
    tile_width_px: int
    tile_height_px: int
    n_frames: int
    is_full: bool
    n_paths: int
    optical_path: str
    concatenation: Concatenation | None
    spacing: Sides
    volume: Sides
    objective_power: float | None
    properties: Mapping[str, str]
    end: int


def read_header(path: Path) -> DICOMHeader:
    """Read a file's header, and no pixels."""
    failure = f"{path.name}: its DICOM header cannot be read"
    with raising(SlideError, failure, remedy="the file is damaged or cut short"):
        return _parse(path, DICOMStream(LocalFile(path)))


def find_series(path: Path) -> str | None:
    """Find a file's series; None where it is not a DICOM slide image."""
    values = _read_start(path, _SERIES) if path.is_file() else None
    is_slide = values is not None and values.text("SOPClassUID") == WHOLE_SLIDE
    return (values.text("SeriesInstanceUID") or None) if values and is_slide else None


def find_flavour(path: Path) -> str:
    """Find what a file is an image of, even where its header is damaged further on.

    It is empty where that cannot be told.
    """
    values = _read_start(path, _IMAGE_TYPE)
    kinds = values.text("ImageType").split("\\") if values else []
    return kinds[2].strip() if len(kinds) > 2 else ""


def _read_start(path: Path, last: int) -> DICOMValues | None:
    """Read a header up to a tag; None where it cannot be, for whatever reason."""
    try:
        stream = DICOMStream(LocalFile(path))
        return (
            read_values(stream, last=last, keywords=_KEYWORDS)
            if find_syntax(stream)
            else None
        )
    except Exception:  # noqa: BLE001 - whatever lies beside a slide is none of it
        return None


def _parse(path: Path, stream: DICOMStream) -> DICOMHeader:
    syntax = find_syntax(stream)
    if not syntax:
        raise SlideError(f"{path.name}: not a DICOM file; it lacks the mark of one")
    if syntax not in _SYNTAXES:
        raise SlideError(
            f"{path.name}: DICOM slides are read as JPEG baseline, JPEG 2000 or "
            f"uncompressed, this one is '{name_uid(syntax)}'; convert it"
        )
    values = read_values(stream, last=PER_FRAME_GROUPS - 1, keywords=_KEYWORDS)
    _check_kind(path.name, values)
    paths = values.item(_PATHS)
    groups = values.item("SharedFunctionalGroupsSequence")
    end = stream.tell()
    spacing = _find_spacing(groups)
    return DICOMHeader(
        path=path,
        instance_uid=values.require_text("SOPInstanceUID"),
        series_uid=values.require_text("SeriesInstanceUID"),
        pyramid_uid=values.text("PyramidUID"),
        flavour=values.text("ImageType").split("\\")[2].strip(),
        syntax=syntax,
        photometric=values.require_text("PhotometricInterpretation"),
        n_samples=values.require_number("SamplesPerPixel"),
        width_px=values.require_number("TotalPixelMatrixColumns"),
        height_px=values.require_number("TotalPixelMatrixRows"),
        tile_width_px=values.require_number("Columns"),
        tile_height_px=values.require_number("Rows"),
        n_frames=values.require_number("NumberOfFrames"),
        is_full=values.text("DimensionOrganizationType") == "TILED_FULL",
        n_paths=max(values.number("NumberOfOpticalPaths") or 1, values.count(_PATHS)),
        optical_path=paths.text("OpticalPathIdentifier"),
        concatenation=_find_concatenation(values),
        spacing=spacing if any(spacing) else _find_frame_spacing(stream),
        volume=_find_volume(values),
        objective_power=parse_positive(paths.text("ObjectiveLensPower")),
        properties=_collect_properties(values, syntax),
        end=end,
    )


def _check_kind(name: str, values: DICOMValues) -> None:
    """Check that these are pixels of a slide, and such as can be read."""
    kind = values.text("SOPClassUID")
    if kind != WHOLE_SLIDE:
        raise SlideError(
            f"{name}: a DICOM slide must be a 'VL Whole Slide Microscopy Image', this "
            f"file is '{name_uid(kind) or 'of no kind'}'"
        )
    if len(values.text("ImageType").split("\\")) < 3:
        raise SlideError(
            f"{name}: ImageType (0008,0008) must say whether this is a VOLUME, "
            "THUMBNAIL, LABEL or OVERVIEW, and it "
            f"{'is cut short' if values.text('ImageType') else 'is missing'}; without "
            "it nobody knows what the pixels are, so convert the slide again with "
            "software that writes it"
        )
    allocated, stored = values.number("BitsAllocated"), values.number("BitsStored")
    if (allocated, stored) != (8, 8):
        raise SlideError(
            f"{name}: pixels must have 8 bits, these have {stored} in {allocated}; "
            "fluorescence cannot be read, other slides must be converted"
        )
    if values.number("PixelRepresentation"):
        raise SlideError(
            f"{name}: pixels must be without sign, in this file they may be negative; "
            "convert it"
        )
    n_frames = values.number("NumberOfFrames") or 0
    if n_frames > MAX_FRAMES:
        raise SlideError(
            f"{name}: a DICOM file may hold {MAX_FRAMES} frames, this one announces "
            f"{n_frames}; it is damaged"
        )
    if values.number("PlanarConfiguration"):
        raise SlideError(
            f"{name}: colours must lie pixel by pixel, in this file they lie plane by "
            "plane; convert it"
        )


def _find_concatenation(values: DICOMValues) -> Concatenation | None:
    uid = values.text("ConcatenationUID")
    if not uid:
        return None
    return Concatenation(
        uid,
        values.require_number("InConcatenationNumber"),
        values.number("InConcatenationTotalNumber"),
        values.number("ConcatenationFrameOffsetNumber"),
    )


def _find_spacing(groups: DICOMValues) -> Sides:
    """Read the pixel spacing, in mm from one row and one column to the next."""
    return _parse_spacing(groups.item("PixelMeasuresSequence").text("PixelSpacing"))


def _find_frame_spacing(stream: DICOMStream) -> Sides:
    """Read the pixel spacing that the first frames all say, each in a group of its own.

    The stream stands before the per-frame groups, if there are any.
    """
    start = stream.read(_MOST_FRAME_BYTES)
    if start[:4] != _GROUPS_MARK:
        return None, None
    found = {
        start[match.end() : match.end() + match[1][0]].decode("latin-1").strip(" \0")
        for match in _FRAME_SPACING.finditer(start)
    }
    return _parse_spacing(found.pop()) if len(found) == 1 else (None, None)


def _parse_spacing(text: str) -> Sides:
    sides = [parse_positive(part) for part in text.split("\\")]
    if len(sides) != 2:
        return None, None
    # Rows follow each other in y.
    y, x = (1000 * side if side else None for side in sides)
    return x, y


def _find_volume(values: DICOMValues) -> Sides:
    """Read the size of the imaged volume, in mm, as the size of a pixel."""
    width, height = map(values.fraction, ("ImagedVolumeWidth", "ImagedVolumeHeight"))
    columns = values.require_number("TotalPixelMatrixColumns")
    rows = values.require_number("TotalPixelMatrixRows")
    return (
        1000 * width / columns if width else None,
        1000 * height / rows if height else None,
    )


def _collect_properties(values: DICOMValues, syntax: str) -> Mapping[str, str]:
    """Give what the header says under the names that OpenSlide gives it."""
    found = {"openslide.vendor": "dicom", "dicom.TransferSyntaxUID": syntax}
    for keyword in _PROPERTIES:
        value = values.number(keyword)
        texts = [str(value)] if value is not None else values.text(keyword).split("\\")
        for index, text in enumerate(texts):
            key = f"dicom.{keyword}" + (f"[{index}]" if len(texts) > 1 else "")
            if text:
                found[key] = text
    return found
