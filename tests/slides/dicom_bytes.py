"""DICOM elements, items and frames as bytes, made by hand."""

import struct

import numpy as np

PIXELS = 0x7FE00010
GROUPS = 0x52009230
START = b"\xff\xd8"


def element(tag, kind, value, *, length=None):
    """Encode an element, explicit little endian, as PS3.5 section 7.1.2 says."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
    number = len(value) if length is None else length
    if kind in (b"OB", b"OV", b"SQ", b"UN"):
        return head + struct.pack("<HI", 0, number) + value
    return head + struct.pack("<H", number) + value


def item(value, *, length=None):
    number = len(value) if length is None else length
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", number) + value


END_OF_ITEM = b"\xfe\xff\x0d\xe0\0\0\0\0"
END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def pixels(*items, end=END):
    return element(PIXELS, b"OB", b"".join(items) + end, length=0xFFFFFFFF)


def frame(size, seed=0):
    return START + bytes(np.random.default_rng(seed).integers(0, 255, size - 2, "u1"))


def position(x, y, *, path=None, undefined=False):
    numbers = element(0x0040072A, b"DS", b"1.25")
    numbers += element(0x0048021E, b"SL", struct.pack("<i", x))
    numbers += element(0x0048021F, b"SL", struct.pack("<i", y))
    groups = []
    if path:
        groups.append((0x00480207, element(0x00480106, b"SH", path)))
    groups.append((0x0048021A, numbers))
    if not undefined:
        return item(b"".join(element(tag, b"SQ", item(v)) for tag, v in groups))
    long = 0xFFFFFFFF
    inner = (
        element(tag, b"SQ", item(v + END_OF_ITEM, length=long) + END, length=long)
        for tag, v in groups
    )
    return item(b"".join(inner) + END_OF_ITEM, length=long)


def groups(*items, undefined=False):
    if undefined:
        return element(GROUPS, b"SQ", b"".join(items) + END, length=0xFFFFFFFF)
    return element(GROUPS, b"SQ", b"".join(items))
