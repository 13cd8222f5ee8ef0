"""What the header of one DICOM file says of the slide image in it.

Sources: DICOM PS3.3, sections A.32.8 and C.8.12 (whole slide microscopy), and
PS3.10, section 7 (the file's own header).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from eosin.core import SlideError
from eosin.slides.byte_sources import ByteSource, LocalFile
from eosin.slides.tiff_metadata import parse_positive

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"

# All of them write the header in one way: explicit, little endian.
PLAIN_SYNTAX = "1.2.840.10008.1.2.1"
JPEG_SYNTAX = "1.2.840.10008.1.2.4.50"
JPEG_2000_SYNTAXES = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_SYNTAXES = (PLAIN_SYNTAX, JPEG_SYNTAX, *JPEG_2000_SYNTAXES)

_PREFIX_END = 132
_IMAGE_TYPE = 0x00080008
_SERIES = 0x0020000E
_PER_FRAME_GROUPS = 0x52009230

# A header without its per-frame groups has some 10 kB, and colour profiles.
_MAX_HEADER_BYTES = 16 << 20

# 262 Gpx in frames of 256 px; a damaged number must not ask for gigabytes.
MAX_FRAMES = 4_000_000

_NUMBERS = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i"}

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
_TAGS = [
    tag_for_keyword(name)
    for name in (
        *_PROPERTIES,
        "SOPClassUID",
        "BitsAllocated",
        "BitsStored",
        "PlanarConfiguration",
        "ConcatenationUID",
        "ConcatenationFrameOffsetNumber",
        "InConcatenationNumber",
        "InConcatenationTotalNumber",
        "OpticalPathSequence",
        "SharedFunctionalGroupsSequence",
    )
]


@dataclass(frozen=True)
class Concatenation:
    """Where one file stands in an image that is spread over several.

    Attributes:
        uid: The same in all files of the image.
        number: Which of the files it is, from 1 on.
        n_files: How many there are; None where the file does not say.
        first_frame: How many frames the files before it hold; None where the file
            does not say.
    """

    uid: str
    number: int
    n_files: int | None
    first_frame: int | None


@dataclass(frozen=True)
class DICOMHeader:
    """One file's header.

    Attributes:
        path: The file.
        instance_uid: What names this file's content, wherever it lies.
        series_uid: The same for all files of a slide.
        pyramid_uid: The same for all levels of a pyramid; empty where not said.
        flavour: `VOLUME`, `THUMBNAIL`, `LABEL`, `OVERVIEW` or another.
        syntax: Transfer syntax, one that is read here.
        photometric: What the components mean, such as `YBR_FULL_422`.
        n_samples: Components of a pixel, 1 or 3.
        width_px: Width of the image.
        height_px: Height of the image.
        tile_width_px: Width of a frame.
        tile_height_px: Height of a frame.
        n_frames: How many frames this file holds.
        is_full: Whether frames lie row by row without a gap; else each says where.
        n_paths: How many optical paths there are.
        optical_path: Name of the first optical path; empty where not said.
        concatenation: None where the image is in one file.
        mpp: Micrometres per pixel, mean of both directions; None where not said.
        objective_power: Nominal magnification; None where not said.
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
    mpp: float | None
    objective_power: float | None
    properties: Mapping[str, str]
    end: int


def read_header(path: Path) -> DICOMHeader:
    """Read a file's header, and no pixels.

    Raises:
        SlideError: It is not a DICOM slide image, is one that cannot be read here,
            or is damaged.
    """
    source = LocalFile(path)
    try:
        return _parse(path, source)
    except SlideError:
        raise
    except Exception as error:
        # Damaged headers fail in every possible way inside the parser.
        raise SlideError(
            f"{path.name}: its DICOM header cannot be read ({type(error).__name__}: "
            f"{error}); the file is damaged or cut short"
        ) from error


def find_series(path: Path) -> str | None:
    """Find a file's series; None where it is not a DICOM slide image."""
    if not path.is_file():
        return None
    try:
        stream = _Stream(LocalFile(path))
        if not _find_syntax(stream, path.name):
            return None
        values = _read_values(stream, path.name, _SERIES)
        is_slide = values.text("SOPClassUID") == WHOLE_SLIDE
        return (values.text("SeriesInstanceUID") or None) if is_slide else None
    except Exception:  # noqa: BLE001 - whatever lies beside a slide is none of it
        return None


def find_flavour(path: Path) -> str:
    """Find what a file is an image of, even where its header is damaged further on.

    Returns:
        As in `DICOMHeader`; empty where that cannot be told.
    """
    try:
        stream = _Stream(LocalFile(path))
        if not _find_syntax(stream, path.name):
            return ""
        values = _read_values(stream, path.name, _IMAGE_TYPE)
        return values.text("ImageType").split("\\")[2].strip()
    except Exception:  # noqa: BLE001 - whatever is wrong, it cannot be told
        return ""


def _parse(path: Path, source: ByteSource) -> DICOMHeader:
    stream = _Stream(source)
    syntax = _find_syntax(stream, path.name)
    if not syntax:
        raise SlideError(f"{path.name}: not a DICOM file; it lacks the mark of one")
    if syntax not in _SYNTAXES:
        raise SlideError(
            f"{path.name}: DICOM slides are read as JPEG baseline, JPEG 2000 or "
            f"uncompressed, this one is '{UID(syntax).name}'; convert it"
        )
    values = _read_values(stream, path.name, _PER_FRAME_GROUPS - 1)
    _check_kind(path.name, values)
    paths = values.item("OpticalPathSequence")
    groups = values.item("SharedFunctionalGroupsSequence")
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
        n_paths=values.number("NumberOfOpticalPaths") or 1,
        optical_path=paths.text("OpticalPathIdentifier") if paths else "",
        concatenation=_find_concatenation(values),
        mpp=_find_mpp(groups),
        objective_power=_find_power(paths),
        properties=_collect_properties(values, syntax),
        end=stream.tell(),
    )


def _check_kind(name: str, values: "_Values") -> None:
    """Check that these are pixels of a slide, and such as can be read."""
    kind = values.text("SOPClassUID")
    if kind != WHOLE_SLIDE:
        raise SlideError(
            f"{name}: a DICOM slide must be a 'VL Whole Slide Microscopy Image', this "
            f"file is '{UID(kind).name or 'of no kind'}'"
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
            f"{name}: pixels must have 8 bits, these have {stored} in {allocated}"
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


def _find_concatenation(values: "_Values") -> Concatenation | None:
    uid = values.text("ConcatenationUID")
    if not uid:
        return None
    return Concatenation(
        uid,
        values.require_number("InConcatenationNumber"),
        values.number("InConcatenationTotalNumber"),
        values.number("ConcatenationFrameOffsetNumber"),
    )


def _find_mpp(groups: "_Values | None") -> float | None:
    """Read the pixel spacing, in mm from one row and one column to the next."""
    measures = groups.item("PixelMeasuresSequence") if groups else None
    if measures is None:
        return None
    sides = [parse_positive(text) for text in measures.text("PixelSpacing").split("\\")]
    known = [1000 * side for side in sides if side]
    return sum(known) / len(known) if len(known) == 2 else None


def _find_power(paths: "_Values | None") -> float | None:
    return parse_positive(paths.text("ObjectiveLensPower")) if paths else None


def _collect_properties(values: "_Values", syntax: str) -> Mapping[str, str]:
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


class _Stream:
    """What pydicom reads a header from; never more than is there, nor too much."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._at = 0
        self._room = _MAX_HEADER_BYTES

    def read(self, count: int) -> bytes:
        count = max(0, min(count, self._source.size - self._at))
        self._room -= count
        if self._room < 0:
            raise SlideError(
                f"{self._source.name}: a DICOM header must end within "
                f"{_MAX_HEADER_BYTES >> 20} MB, this one does not; the file is damaged"
            )
        data = self._source.read(self._at, count) if count else b""
        self._at += count
        return data

    def seek(self, place: int, whence: int = 0) -> int:
        self._at = place + (self._at if whence else 0)
        return self._at

    def tell(self) -> int:
        return self._at


class _Values:
    """A data set whose values are read as they stand.

    pydicom's own conversion checks each value against the standard and warns, and
    slides break the standard in ways that do no harm.
    """

    def __init__(self, name: str, dataset: Any) -> None:
        self._name = name
        self._dataset = dataset

    def text(self, keyword: str) -> str:
        """Return a text; empty where there is none."""
        return self._find(keyword)[1].decode("utf-8", "replace").strip(" \0")

    def number(self, keyword: str) -> int | None:
        """Return a whole number; None where there is none."""
        kind, value = self._find(keyword)
        if kind in _NUMBERS and value:
            return int(struct.unpack_from(_NUMBERS[kind], value)[0])
        text = self.text(keyword)
        return int(text) if kind == "IS" and text else None

    def item(self, keyword: str) -> "_Values | None":
        """Return the first item of a sequence; None where there is none."""
        tag = tag_for_keyword(keyword)
        items = self._dataset[tag].value if tag in self._dataset else None
        return _Values(self._name, items[0]) if items else None

    def require_text(self, keyword: str) -> str:
        """Return a text that is not empty."""
        value = self.text(keyword)
        if not value:
            raise self._lacks(keyword, "a text", None)
        return value

    def require_number(self, keyword: str) -> int:
        """Return a number of 1 or more."""
        value = self.number(keyword)
        if value is None or value < 1:
            raise self._lacks(keyword, "a number of 1 or more", value)
        return value

    def _lacks(self, keyword: str, wanted: str, found: int | None) -> SlideError:
        tag = tag_for_keyword(keyword) or 0
        return SlideError(
            f"{self._name}: {keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X}) must be "
            f"{wanted}, and it is {'missing' if found is None else found}; the file is "
            "damaged or was written by software that breaks the standard"
        )

    def _find(self, keyword: str) -> tuple[str, bytes]:
        element = self._dataset.get_item(tag_for_keyword(keyword))
        return (element.VR, element.value or b"") if element else ("", b"")


def _find_syntax(stream: _Stream, name: str) -> str:
    """Read the file's own header; empty where it is not DICOM."""
    if stream.read(_PREFIX_END)[-4:] != b"DICM":
        return ""
    dataset = read_dataset(
        stream,  # type: ignore[arg-type] # reads, seeks and tells, which suffices
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _, __: tag >> 16 != 2,
    )
    syntax = _Values(name, dataset).text("TransferSyntaxUID")
    if not syntax:
        raise SlideError(
            f"{name}: TransferSyntaxUID (0002,0010) must say how the pixels are "
            "packed, and it is missing; the file is damaged"
        )
    return syntax


def _read_values(stream: _Stream, name: str, last: int) -> _Values:
    """Read the elements up to and with the tag `last`."""
    dataset = read_dataset(
        stream,  # type: ignore[arg-type] # as above
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _, __: tag > last,
        specific_tags=_TAGS,  # type: ignore[arg-type] # all keywords are known
    )
    return _Values(name, dataset)
