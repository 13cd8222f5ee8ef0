"""Where the frames of one DICOM file lie on its slide.

They are read here rather than by pydicom, which takes some 0.3 ms a frame; a large
slide has 300,000.

Source: DICOM PS3.3, C.8.12.6.1 (position of a frame).
"""

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from eosin.core import SlideError
from eosin.slides.byte_sources import ByteSource
from eosin.slides.dicom_frames import MAX_GROUP_BYTES, Element
from eosin.slides.dicom_header import DICOMHeader

_PER_FRAME_GROUPS = 0x52009230

# Column and row follow each other, as elements stand in the order of their tags.
_POSITION = re.compile(
    rb"\x48\x00\x1e\x02SL\x04\x00(.{4})\x48\x00\x1f\x02SL\x04\x00(.{4})", re.DOTALL
)
_DEPTH = re.compile(rb"\x40\x00\x4a\x07DS([\x00-\x10])\x00", re.DOTALL)
_PATH = re.compile(rb"\x48\x00\x06\x01SH([\x00-\x10])\x00", re.DOTALL)


def read_positions(
    source: ByteSource, elements: Mapping[int, Element], n_frames: int
) -> npt.NDArray[np.int64] | None:
    """Read where each frame lies on the slide.

    Returns:
        `(frames, 2)`, x and y of its first pixel from 0 on; None where the file does
        not say.

    Raises:
        SlideError: The file is damaged.
    """
    groups = _read_groups(source, elements)
    found = _POSITION.findall(groups)
    if not found:
        return None
    if len(found) != n_frames:
        raise SlideError(
            f"{source.name}: each of {n_frames} frames must have a position, "
            f"{len(found)} have; the file is damaged"
        )
    numbers = np.frombuffer(b"".join(x + y for x, y in found), "<i4")
    # They count from 1.
    return numbers.reshape(-1, 2).astype(np.int64) - 1


def find_cells(
    part: DICOMHeader,
    positions: npt.NDArray[np.int64] | None,
    shape: tuple[int, int],
) -> npt.NDArray[np.int64]:
    """Find the cell of each frame by the place of its first pixel.

    Args:
        part: The file.
        positions: Of `read_positions`.
        shape: Rows and columns of cells.

    Raises:
        SlideError: Positions are missing, or frames do not lie side by side.
    """
    if positions is None:
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


def read_paths(
    source: ByteSource, elements: Mapping[int, Element], n_frames: int
) -> list[str]:
    """Read the optical path of each frame; empty where not each frame has one.

    Raises:
        SlideError: The file is damaged.
    """
    return _read_texts(_PATH, source, elements, n_frames)


def read_depths(
    source: ByteSource, elements: Mapping[int, Element], n_frames: int
) -> list[str]:
    """Read the focal plane of each frame as its text; empty where not each has one.

    Raises:
        SlideError: The file is damaged.
    """
    return _read_texts(_DEPTH, source, elements, n_frames)


def _read_texts(
    pattern: re.Pattern[bytes],
    source: ByteSource,
    elements: Mapping[int, Element],
    n_frames: int,
) -> list[str]:
    """Read a short text of each frame; empty where not each frame has one."""
    groups = _read_groups(source, elements)
    texts = [
        groups[match.end() : match.end() + match[1][0]].decode("utf-8", "replace")
        for match in pattern.finditer(groups)
    ]
    return [text.strip(" \0") for text in texts] if len(texts) == n_frames else []


def _read_groups(source: ByteSource, elements: Mapping[int, Element]) -> bytes:
    """Read the per-frame groups as they stand."""
    element = elements.get(_PER_FRAME_GROUPS)
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
