"""The values in a DICOM file, read as they stand and no further than is needed."""

import math
import struct
from collections.abc import Sequence
from typing import Any

from eosin.core import SlideError
from eosin.slides.byte_sources import ByteSource
from eosin.slides.tiff_metadata import parse_positive

_PREFIX_END = 132
_LAST_OF_META = 0x0002FFFF

# A header without its per-frame groups has some 10 kB, and colour profiles.
_MAX_HEADER_BYTES = 16 << 20

_NUMBERS = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i"}
_FRACTIONS = {"FL": "<f", "FD": "<d"}


class DICOMStream:
    """What pydicom reads a header from; never more than is there, nor too much."""

    def __init__(self, source: ByteSource) -> None:
        self._source, self.name = source, source.name
        self._at = 0
        self._room = _MAX_HEADER_BYTES

    def read(self, count: int) -> bytes:
        """Read so many bytes, or what is left."""
        count = max(0, min(count, self._source.size - self._at))
        self._room -= count
        if self._room < 0:
            raise SlideError(
                f"{self.name}: a DICOM header must end within "
                f"{_MAX_HEADER_BYTES >> 20} MB, this one does not; the file is damaged"
            )
        data = self._source.read(self._at, count) if count else b""
        self._at += count
        return data

    def seek(self, place: int, whence: int = 0) -> int:  # noqa: D102
        self._at = place + (self._at if whence else 0)
        return self._at

    def tell(self) -> int:  # noqa: D102
        return self._at


class DICOMValues:
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

    def fraction(self, keyword: str) -> float | None:
        """Return a number above 0, whole or not; None where there is none."""
        kind, value = self._find(keyword)
        if kind in _FRACTIONS and value:
            found = float(struct.unpack_from(_FRACTIONS[kind], value)[0])
            return found if 0 < found < math.inf else None
        return parse_positive(self.text(keyword))

    def item(self, keyword: str) -> "DICOMValues":
        """Return the first item of a sequence; without values where there is none."""
        from pydicom.dataset import Dataset

        items = self._list(keyword)
        return DICOMValues(self._name, items[0] if items else Dataset())

    def count(self, keyword: str) -> int:
        """Count the items of a sequence."""
        return len(self._list(keyword))

    def _list(self, keyword: str) -> Sequence[Any]:
        tag = find_tag(keyword)
        return (self._dataset[tag].value if tag in self._dataset else None) or ()

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
        tag = find_tag(keyword) or 0
        return SlideError(
            f"{self._name}: {keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X}) must be "
            f"{wanted}, and it is {'missing' if found is None else found}; the file is "
            "damaged or was written by software that breaks the standard"
        )

    def _find(self, keyword: str) -> tuple[str, bytes]:
        element = self._dataset.get_item(find_tag(keyword))
        return (element.VR, element.value or b"") if element else ("", b"")


def name_uid(uid: str) -> str:
    """Give the standard's own name of what a UID stands for."""
    from pydicom.uid import UID

    return UID(uid).name


def find_tag(keyword: str) -> int | None:
    """Look a keyword's tag up; None where the standard knows none."""
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(keyword)


def find_syntax(stream: DICOMStream) -> str:
    """Read the file's own header; empty where it is not DICOM."""
    if stream.read(_PREFIX_END)[-4:] != b"DICM":
        return ""
    syntax = read_values(stream, last=_LAST_OF_META).text("TransferSyntaxUID")
    if not syntax:
        raise SlideError(
            f"{stream.name}: TransferSyntaxUID (0002,0010) must say how the pixels are "
            "packed, and it is missing; the file is damaged"
        )
    return syntax


def read_values(
    stream: DICOMStream, *, last: int, keywords: Sequence[str] | None = None
) -> DICOMValues:
    """Read elements up to and with the tag `last`: those of `keywords`, or all."""
    from pydicom.filereader import read_dataset

    tags = None if keywords is None else [find_tag(name) for name in keywords]
    dataset = read_dataset(
        stream,  # type: ignore[arg-type] # reads, seeks and tells, which suffices
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _, __: tag > last,
        specific_tags=tags,  # type: ignore[arg-type] # all keywords are known
    )
    return DICOMValues(stream.name, dataset)
