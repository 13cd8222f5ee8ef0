"""Where the frames of one DICOM file lie on its slide.

They are read here rather than by pydicom, which takes some 0.3 ms a frame; a large
slide has 300,000.

Source: DICOM PS3.3, C.8.12.6.1 (position of a frame).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eosin.core import SlideError
from eosin.slides.byte_sources import ByteSource
from eosin.slides.dicom_frames import MAX_GROUP_BYTES, Element
from eosin.slides.dicom_header import PER_FRAME_GROUPS, DICOMHeader

# Column and row follow each other, as elements stand in the order of their tags.
_POSITION = re.compile(
    rb"\x48\x00\x1e\x02SL\x04\x00(.{4})\x48\x00\x1f\x02SL\x04\x00(.{4})", re.DOTALL
)
_DEPTH = re.compile(rb"\x40\x00\x4a\x07DS([\x00-\x10])\x00", re.DOTALL)
_PATH = re.compile(rb"\x48\x00\x06\x01SH([\x00-\x10])\x00", re.DOTALL)


@dataclass(frozen=True)
class FramePlaces:
    """Where the frames of one file say that they lie.

    `positions` are x and y of the first pixel from 0 on, `(frames, 2)`. What the file
    does not say of each frame is empty.
    """

    positions: npt.NDArray[np.int64]
    depths: list[str]
    paths: list[str]


def read_places(
    source: ByteSource, elements: Mapping[int, Element], n_frames: int
) -> FramePlaces:
    """Read what the per-frame groups say."""
    groups = _read_groups(source, elements)
    pairs = _POSITION.findall(groups)
    if len(pairs) not in (0, n_frames):
        raise SlideError(
            f"{source.name}: each of {n_frames} frames must have a position, "
            f"{len(pairs)} have; the file is damaged"
        )
    numbers = np.frombuffer(b"".join(x + y for x, y in pairs), "<i4")
    return FramePlaces(
        # They count from 1.
        positions=numbers.reshape(-1, 2).astype(np.int64) - 1,
        depths=_find_texts(_DEPTH, groups, n_frames),
        paths=_find_texts(_PATH, groups, n_frames),
    )


def find_cells(
    part: DICOMHeader, positions: npt.NDArray[np.int64], shape: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Find the cell of each frame in `shape`, rows and columns, by its position."""
    if not len(positions):
        raise SlideError(
            f"{part.path.name}: where its {part.n_frames} frames lie must be said, by "
            "DimensionOrganizationType TILED_FULL or by positions of the frames, and "
            "neither is there; convert the slide again with software that writes it"
        )
    columns, rest_x = np.divmod(positions[:, 0], part.tile_width_px)
    rows, rest_y = np.divmod(positions[:, 1], part.tile_height_px)
    inside = (rows >= 0) & (columns >= 0) & (rows < shape[0]) & (columns < shape[1])
    if rest_x.any() or rest_y.any() or not inside.all():
        raise SlideError(
            f"{part.path.name}: frames must lie side by side, {part.tile_width_px} x "
            f"{part.tile_height_px} px each, inside the image; some of these do not"
        )
    return np.asarray(rows * shape[1] + columns, np.int64)


def _find_texts(pattern: re.Pattern[bytes], groups: bytes, n_frames: int) -> list[str]:
    """Find a short text of each frame; empty where not each frame has one."""
    texts = [
        groups[match.end() : match.end() + match[1][0]].decode("utf-8", "replace")
        for match in pattern.finditer(groups)
    ]
    return [text.strip(" \0") for text in texts] if len(texts) == n_frames else []


def _read_groups(source: ByteSource, elements: Mapping[int, Element]) -> bytes:
    """Read the per-frame groups as they stand."""
    element = elements.get(PER_FRAME_GROUPS)
    if element is None:
        return b""
    # Where it does not say its length, the next element follows it.
    length = element.length
    if length is None:
        following = [other.start for other in elements.values()]
        length = min(at for at in following if at > element.start) - element.start
    if length > MAX_GROUP_BYTES:
        raise SlideError(
            f"{source.name}: positions of frames may take {MAX_GROUP_BYTES >> 20} MB, "
            f"these take {length >> 20}; the file is damaged"
        )
    return source.read(element.start, length)
