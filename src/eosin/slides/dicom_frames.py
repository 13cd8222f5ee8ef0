"""Where the frames of one DICOM file lie in it.

The pixels are never read for it: offset tables are believed (and checked when a
frame is read), and where there is none, only the eight bytes before each item are.

Sources: DICOM PS3.5, section A.4 (encapsulated pixels), and PS3.3, C.7.6.3.1.8
(extended offset table).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eosin.core import SlideError
from eosin.slides.byte_sources import ByteSource

_OFFSET_TABLE = 0x7FE00001
_LENGTH_TABLE = 0x7FE00002
_PIXELS = 0x7FE00010

_ITEM = b"\xfe\xff\x00\xe0"
_END_OF_ITEM = b"\xfe\xff\x0d\xe0"
_END_OF_ITEMS = b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
_NUMBER = struct.Struct("<I")
_LONG_KINDS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

# What a frame's first item begins with, and a later one does not.
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51")

# 300,000 frames have some 70 MB of positions.
MAX_GROUP_BYTES = 256 << 20
_CHUNK = 1 << 16
# As many as frames, which may have several each.
_MOST_ITEMS = 4_000_000


@dataclass(frozen=True)
class Element:
    """Where an element's value is; its length is None where items say where it ends."""

    start: int
    length: int | None


@dataclass(frozen=True)
class Frames:
    """Where a file's frames lie in it.

    Attributes:
        offsets: Place of each frame, `(frames,)`, int64.
        byte_counts: Its length there, `(frames,)`, int64, above 0.
        is_wrapped: Whether these bytes are items, which `unwrap` takes off.
    """

    offsets: npt.NDArray[np.int64]
    byte_counts: npt.NDArray[np.int64]
    is_wrapped: bool


def find_elements(source: ByteSource, at: int) -> Mapping[int, Element]:
    """Find the elements from `at` on, those of frames and pixels, by their tags."""
    found: dict[int, Element] = {}
    try:
        while _PIXELS not in found:
            tag, element = _read_element(source.read(at, 12), at)
            # Their order is the standard's, and sees to it that this ends.
            if tag <= max(found, default=0):
                break
            found[tag] = element
            at = element.start + (element.length or 0)
            if element.length is None and tag != _PIXELS:
                at = _find_sequence_end(source, at)
    except (struct.error, ValueError) as error:
        raise _lacks_pixels(source, str(error)) from error
    if _PIXELS not in found:
        raise _lacks_pixels(source, f"elements out of order at {at}")
    return found


def find_frames(
    source: ByteSource,
    elements: Mapping[int, Element],
    n_frames: int,
    frame_bytes: int | None,
) -> Frames:
    """Find where each frame lies in the file.

    Frames that a file cut short has lost get a place behind its end. A frame has
    `frame_bytes` without compression, None with.
    """
    pixels = elements[_PIXELS]
    # Each has eight bytes before it, or one pixel.
    if n_frames > source.size:
        raise _differs(source, n_frames, f"{source.size} bytes in all")
    if frame_bytes is not None:
        return _find_plain(source, pixels, n_frames, frame_bytes)
    if pixels.length is not None:
        raise _differs(source, n_frames, "one block without items")
    try:
        first, table = _read_table(source, pixels.start, n_frames)
        extended = _read_extended(source, elements, n_frames)
        if extended is not None:
            return Frames(first + extended[0], extended[1], is_wrapped=True)
        if table is not None:
            offsets = first + table
            ends = np.append(offsets[1:], _find_end(source, int(offsets[-1])))
            return Frames(offsets, ends - offsets, is_wrapped=True)
        return _scan(source, first, n_frames)
    except (struct.error, ValueError) as error:
        raise SlideError(
            f"{source.name}: its frames cannot be found ({error}); the file is damaged "
            "or cut short"
        ) from error


def unwrap(data: bytes) -> bytes:
    """Take the items off one frame; whatever else it is, is a `ValueError`."""
    if data[:4] == _ITEM and int.from_bytes(data[4:8], "little") == len(data) - 8 > 0:
        return data[8:]
    parts, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] != _ITEM or at + 8 + length > len(data):
            raise ValueError("no frame lies where the file says")
        parts.append(data[at + 8 : at + 8 + length])
        if at and parts[-1].startswith(_STARTS):
            raise ValueError("two frames lie where the file says one does")
        at += 8 + length
    whole = b"".join(parts)
    if not whole:
        raise ValueError("its frame is empty")
    return whole


def _lacks_pixels(source: ByteSource, reason: str) -> SlideError:
    return SlideError(
        f"{source.name}: no pixels can be found ({reason}); the file is damaged or cut "
        "short"
    )


def _differs(source: ByteSource, n_frames: int, found: str) -> SlideError:
    return SlideError(
        f"{source.name}: {n_frames} frames are announced, the file holds {found}; it "
        "is damaged or cut short"
    )


def _read_element(start: bytes, at: int) -> tuple[int, Element]:
    """Read the tag, place and length of one element from its first 12 bytes."""
    group, number = struct.unpack_from("<HH", start)
    if start[4:6] in _LONG_KINDS:
        length, size = struct.unpack_from("<I", start, 8)[0], 12
    elif start[4:6].isalpha():
        length, size = struct.unpack_from("<H", start, 6)[0], 8
    else:
        raise ValueError(f"no element at {at}")
    place = Element(at + size, None if length == _UNDEFINED else length)
    return group << 16 | number, place


def _find_sequence_end(source: ByteSource, at: int) -> int:
    """Find where a sequence ends that does not say how long it is."""
    data, base = b"", at
    depth, limit = 1, at + MAX_GROUP_BYTES
    while depth:
        here = at - base
        if here + 12 > len(data):
            data, base, here = source.read(at, _CHUNK), at, 0
        mark = data[here : here + 4]
        if mark in (_END_OF_ITEM, _END_OF_ITEMS):
            depth -= 1
            at += 8
            continue
        if mark == _ITEM:
            length: int | None = _NUMBER.unpack_from(data, here + 4)[0]
            length = None if length == _UNDEFINED else length
            at += 8
        else:
            _, element = _read_element(data[here : here + 12], at)
            at, length = element.start, element.length
        if length is None:
            depth += 1
        else:
            at += length
        if at > limit:
            raise ValueError(f"a sequence of over {MAX_GROUP_BYTES >> 20} MB")
    return at


def _find_plain(
    source: ByteSource, pixels: Element, n_frames: int, frame_bytes: int
) -> Frames:
    needed = n_frames * frame_bytes
    if pixels.length is None or not needed <= pixels.length <= needed + 1:
        raise _differs(source, n_frames, f"{pixels.length} bytes for {needed}")
    offsets = pixels.start + np.arange(n_frames, dtype=np.int64) * frame_bytes
    return Frames(offsets, np.full(n_frames, frame_bytes, np.int64), is_wrapped=False)


def _read_table(
    source: ByteSource, at: int, n_frames: int
) -> tuple[int, npt.NDArray[np.int64] | None]:
    """Read the basic offset table: where frames begin, and their offsets from there.

    A table of another length, or one that does not grow (its 32 bits overflow in
    large files), is none.
    """
    length = _read_item(source, at)
    if length is None:
        raise ValueError("they have no offset table, not even an empty one")
    first = at + 8 + length
    if length != 4 * n_frames:
        return first, None
    table = np.frombuffer(source.read(at + 8, length), "<u4").astype(np.int64)
    grows = len(table) == n_frames and table[0] == 0 and (np.diff(table) >= 8).all()
    return first, table if grows else None


def _read_extended(
    source: ByteSource, elements: Mapping[int, Element], n_frames: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Read the extended offset table: offsets, and lengths of whole items."""
    tables = [elements.get(tag) for tag in (_OFFSET_TABLE, _LENGTH_TABLE)]
    if any(table is None or table.length != 8 * n_frames for table in tables):
        return None
    offsets, lengths = (
        np.frombuffer(source.read(table.start, 8 * n_frames), "<i8")
        for table in tables
        if table
    )
    if offsets.min() < 0 or lengths.min() < 1 or offsets.max() > source.size:
        return None
    # Items have an even length; the table leaves the byte that fills them out.
    return offsets, 8 + (lengths + lengths % 2)


def _scan(source: ByteSource, first: int, n_frames: int) -> Frames:
    """Find frames by walking from item to item."""
    items = list(_iter_items(source, first))
    end = sum(items[-1]) if items else first
    is_whole = end < source.size and source.read(end, 4) == _END_OF_ITEMS
    if not is_whole and end + 8 <= source.size:
        # Something else follows: whether the last one ends here nobody knows.
        items, end = items[:-1], items[-1][0] if items else first
    if not items:
        raise ValueError("there is none")
    places = np.array(items, np.int64)
    if not is_whole or len(places) != n_frames:
        # A frame may lie in several items: its first begins where an image does.
        places = places[_find_starts(source, places, n_frames)]
        if len(places) > n_frames or (is_whole and len(places) < n_frames):
            raise _differs(source, n_frames, str(len(places)))
    # What was lost with the file's end lies behind it.
    offsets = np.full(n_frames, source.size, np.int64)
    byte_counts = np.full(n_frames, 8, np.int64)
    offsets[: len(places)] = places[:, 0]
    ends = np.append(places[1:, 0], end)
    byte_counts[: len(places)] = ends - places[:, 0]
    return Frames(offsets, byte_counts, is_wrapped=True)


def _find_starts(
    source: ByteSource, places: npt.NDArray[np.int64], n_frames: int
) -> npt.NDArray[np.int64]:
    """Find the items that begin a frame."""
    if n_frames == 1:
        return np.zeros(1, np.int64)
    starts = [
        index
        for index, offset in enumerate(places[:, 0].tolist())
        if source.read(offset + 8, 4).startswith(_STARTS)
    ]
    if not starts or starts[0] != 0:
        raise ValueError("the first does not begin like an image")
    return np.array(starts, np.int64)


def _iter_items(source: ByteSource, at: int) -> Iterator[tuple[int, int]]:
    """Walk over items: place and length, both with what stands before the bytes."""
    for _ in range(_MOST_ITEMS):
        length = _read_item(source, at)
        if length is None:
            return
        yield at, 8 + length
        at += 8 + length
    raise ValueError(f"over {_MOST_ITEMS} items")


def _find_end(source: ByteSource, at: int) -> int:
    """Find where the items end that begin here."""
    end = at + 8
    for offset, length in _iter_items(source, at):
        end = offset + length
    return end


def _read_item(source: ByteSource, at: int) -> int | None:
    """Read an item's length; None where no item is."""
    start = source.read(at, 8) if at < source.size else b""
    if len(start) < 8 or start[:4] != _ITEM:
        return None
    return int.from_bytes(start[4:], "little")
