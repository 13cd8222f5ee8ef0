"""How the bytes of one native tile become pixels.

Every codec is told the size that the tile must have, and decodes into memory of
that size only, so that a damaged header cannot ask for more.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
import simplejpeg

Pixels = npt.NDArray[np.uint8]

CODESTREAM_START = b"\xff\x4f"
_START = b"\xff\xd8"
# An Adobe APP14 segment: its last byte says whether the components are RGB (0) or
# YCbCr (1). libjpeg believes it before it guesses from component numbers.
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
_JFIF_MARK = b"\xff\xe0"
_ADOBE_MARK = b"\xff\xee"
# What says a JPEG's size, in each of its processes.
_FRAME_MARKS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN_MARK = b"\xff\xda"
# Headers are shorter; a mark of colour behind them would be pixels by chance.
_HEADER_BYTES = 1024
# What libjpeg says of bytes between the last pixel and the end.
_HARMLESS = "extraneous bytes before marker 0xd9"


class TileCodec(Protocol):
    """Turns one tile's bytes into pixels.

    Attributes:
        scales: Factors by which it can decode smaller, 1 among them.
    """

    @property
    def scales(self) -> tuple[int, ...]: ...  # noqa: D102 - as the class says

    def decode(self, data: bytes, out: Pixels, scale: int = 1) -> None:
        """Decode into `out`, `(height / scale, width / scale, 3)`, contiguous.

        Raises:
            Exception: Whatever the codec raises; the bytes are damaged, and the reader
                turns it into a `SlideError` that says where.
        """

    def pack(self, data: bytes) -> bytes:
        """Return the bytes as a file that other programs can read by itself."""


@dataclass(frozen=True)
class JPEGTiles:
    """JPEG tiles, decoded by libjpeg-turbo.

    Attributes:
        tables: The tables that a TIFF keeps once for all tiles, or None.
        colour: What the components are. `marked` believes the tile's own JFIF or
            Adobe marker, and takes RGB without one.
    """

    tables: bytes | None
    colour: Literal["ycbcr", "rgb", "grey", "marked"]
    scales: tuple[int, ...] = (1, 2, 4, 8)

    def decode(self, data: bytes, out: Pixels, scale: int = 1) -> None:  # noqa: D102
        height, width = out.shape[:2]
        packed = self.pack(data)
        size: dict[str, int] = {}
        if scale > 1:
            # A larger tile would be shrunk to the size wanted without a word.
            found = simplejpeg.decode_jpeg_header(packed)[:2]
            if found != (height * scale, width * scale):
                raise ValueError(
                    f"a tile of {width * scale} x {height * scale} holds "
                    f"{found[1]} x {found[0]}"
                )
            size = {"min_height": height, "min_width": width, "min_factor": scale}
        try:
            decoded = simplejpeg.decode_jpeg(packed, "RGB", buffer=out, **size)
        except ValueError as error:
            if _HARMLESS not in str(error):
                raise
            decoded = simplejpeg.decode_jpeg(
                packed, "RGB", buffer=out, strict=False, **size
            )
        if decoded.shape != out.shape:
            raise ValueError(f"a tile of {out.shape} holds {decoded.shape}")

    def pack(self, data: bytes) -> bytes:  # noqa: D102
        if data[:2] != _START:
            raise ValueError("a JPEG tile does not start like one")
        jfif, adobe, start = _find_markers(data)
        if data[start + 1 : start + 2] > b"\xdf" or (
            data.find(_ADOBE_MARK, start, _HEADER_BYTES) >= 0
        ):
            jfif, adobe, data = _drop_markers(data)
            start = 2
        tables = _find_tables(self.tables)
        if self.colour == "grey":
            return _START + tables + data[start:]
        if self.colour == "marked" and (jfif or adobe is not None):
            transform = 1 if jfif else adobe or 0
        else:
            transform = 1 if self.colour == "ycbcr" else 0
        return b"".join(
            (_START, _ADOBE, bytes((transform,)), tables, memoryview(data)[start:])
        )


def _find_markers(data: bytes) -> tuple[bool, int | None, int]:
    """Find the JFIF and Adobe segments that open a JPEG, and where they end."""
    jfif, adobe, at = False, None, 2
    while (mark := data[at : at + 2]) in (_JFIF_MARK, _ADOBE_MARK):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            raise ValueError("a JPEG tile has a marker without length")
        if mark == _JFIF_MARK:
            jfif = True
        elif length >= 14:
            adobe = data[at + 15] if at + 15 < len(data) else 0
        at += 2 + length
    return jfif, adobe, at


def _drop_markers(data: bytes) -> tuple[bool, int | None, bytes]:
    """Take the JFIF and Adobe segments out, wherever they stand before the scan."""
    jfif, adobe, at = False, None, 2
    kept = [_START]
    while (mark := data[at : at + 2])[:1] == b"\xff" and mark != _SCAN_MARK:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            break
        segment = data[at : at + 2 + length]
        if mark == _JFIF_MARK:
            jfif = True
        elif mark == _ADOBE_MARK:
            adobe = segment[15] if len(segment) > 15 else adobe
        else:
            kept.append(segment)
        at += 2 + length
    return jfif, adobe, b"".join((*kept, data[at:]))


@functools.lru_cache(maxsize=64)
def _find_tables(tables: bytes | None) -> bytes:
    """Return what a file's common tables hold, without what says a colour."""
    return _drop_markers(tables)[2][2:-2] if tables else b""


@dataclass(frozen=True)
class JPEG2000Tiles:
    """JPEG 2000 codestreams, decoded by OpenJPEG; `ycbcr` is turned into RGB here."""

    colour: Literal["ycbcr", "rgb"]
    scales: tuple[int, ...] = (1,)

    def decode(self, data: bytes, out: Pixels, scale: int = 1) -> None:  # noqa: D102
        _check_codestream(data, out.shape[1], out.shape[0])
        if self.colour == "rgb":
            imagecodecs.jpeg2k_decode(data, numthreads=1, out=out)
            return
        found = imagecodecs.jpeg2k_decode(data, numthreads=1)
        swapped = np.ascontiguousarray(found[..., [0, 2, 1]])
        # OpenCV wants Y, Cr, Cb; JPEG stores Y, Cb, Cr.
        out[:] = cv2.cvtColor(swapped, cv2.COLOR_YCrCb2RGB)

    def pack(self, data: bytes) -> bytes:  # noqa: D102
        return data


def _check_codestream(data: bytes, width: int, height: int) -> None:
    """Check the SIZ marker: three components of 8 bit, the right size, one grid."""
    if data[:4] != b"\xff\x4f\xff\x51" or len(data) < 49:
        raise ValueError("a JPEG 2000 tile does not start like a codestream")
    _check_size(data, width, height)
    n_components = int.from_bytes(data[40:42], "big")
    if n_components != 3 or not is_evenly_sampled(data):
        raise ValueError("a JPEG 2000 tile must have three 8-bit components alike")


def find_coded_size(data: bytes) -> tuple[int, int] | None:
    """Find the (width, height) that a JPEG, PNG or JPEG 2000 says of itself."""
    if data.startswith(b"\x89PNG"):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith(_START):
        at = 2
        while data[at : at + 1] == b"\xff" and at + 9 <= len(data):
            if data[at + 1] in _FRAME_MARKS:
                sides = data[at + 7 : at + 9], data[at + 5 : at + 7]
                return int.from_bytes(sides[0], "big"), int.from_bytes(sides[1], "big")
            is_filling = data[at + 1] == 0xFF
            at += 1 if is_filling else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        return None
    start = _find_codestream(data) if data[4:8] == b"jP  " else 0
    is_codestream = data[start : start + 2] == CODESTREAM_START
    return _read_size(data, start) if is_codestream else None


def _check_size(data: bytes, width: int, height: int, start: int = 0) -> None:
    """Check the size of a codestream, which OpenJPEG decodes before it can be asked."""
    found = _read_size(data, start)
    if found != (width, height):
        raise ValueError(f"a tile of {(width, height)} holds {found}")


def _read_size(data: bytes, start: int) -> tuple[int, int]:
    places = range(start + 8, start + 24, 4)
    numbers = [int.from_bytes(data[at : at + 4], "big") for at in places]
    return numbers[0] - numbers[2], numbers[1] - numbers[3]


def _find_codestream(data: bytes) -> int:
    """Find where a JPEG 2000 file's codestream starts.

    Source: ISO/IEC 15444-1, annex I.4 (boxes).
    """
    at = 0
    while data[:2] != CODESTREAM_START and at + 8 <= len(data):
        length, head = int.from_bytes(data[at : at + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if data[at + 4 : at + 8] == b"jp2c":
            return at + head
        if length < head:
            raise ValueError("a JPEG 2000 tile has a box without length")
        at += length
    return at


def is_evenly_sampled(start: bytes) -> bool:
    """Tell whether a codestream's header has its three components in one grid."""
    return start[42:51] == b"\x07\x01\x01" * 3


def transforms_colour(start: bytes) -> bool:
    """Tell whether a codestream turns its components into RGB itself.

    Source: ISO/IEC 15444-1, annex A.6.1 (the COD marker's component transformation).
    """
    at = 2
    while (mark := start[at : at + 2]) != b"\xff\x52" and mark[:1] == b"\xff":
        at += 2 + int.from_bytes(start[at + 2 : at + 4], "big")
    return start[at + 8 : at + 9] == b"\x01"


@dataclass(frozen=True)
class PlainTiles:
    """Tiles without a codec of images.

    Attributes:
        compression: How the bytes are packed.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and an opaque or transparent share).
        is_differenced: Each pixel is stored as its difference to its neighbour
            (TIFF predictor 2).
        is_premultiplied: Whether the colours of four channels were multiplied by
            their opaque share.
    """

    compression: Literal["none", "deflate", "lzw", "zstd", "lzma", "packbits"]
    channels: int
    is_differenced: bool = False
    is_premultiplied: bool = False
    scales: tuple[int, ...] = (1,)

    def decode(self, data: bytes, out: Pixels, scale: int = 1) -> None:  # noqa: D102
        height, width = out.shape[:2]
        size = height * width * self.channels
        decoder = _UNPACKERS.get(self.compression)
        raw = decoder(data, out=size) if decoder else data
        if len(raw) != size:
            raise ValueError(f"a tile of {size} bytes holds {len(raw)}")
        pixels = np.frombuffer(raw, np.uint8).reshape(height, width, self.channels)
        if self.is_differenced:
            pixels = np.cumsum(pixels, axis=1, dtype=np.uint8)
        _put(pixels, out, is_premultiplied=self.is_premultiplied)

    def pack(self, data: bytes) -> bytes:  # noqa: D102
        return data


@dataclass(frozen=True)
class ImageTiles:
    """Tiles in a codec of images that `imagecodecs` has, 8 bit.

    Attributes:
        codec: Which one.
        channels: As of `PlainTiles`.
        is_premultiplied: As of `PlainTiles`.
    """

    codec: Literal["png", "webp", "jpegxl", "jpeg2k"]
    channels: int
    is_premultiplied: bool = False
    scales: tuple[int, ...] = (1,)

    def decode(self, data: bytes, out: Pixels, scale: int = 1) -> None:  # noqa: D102
        decoder = getattr(imagecodecs, f"{self.codec}_decode")
        if self.codec == "webp":
            # It leaves an opaque share out, and makes grey and share into colours.
            decoder = functools.partial(decoder, hasalpha=self.channels == 4)
        if self.codec == "jpeg2k":
            _check_size(data, out.shape[1], out.shape[0], _find_codestream(data))
        if self.channels == 3:
            # It refuses a tile of another size before it takes memory.
            decoder(data, out=out)
            return
        shape = out.shape[:2] if self.channels == 1 else (*out.shape[:2], self.channels)
        pixels = np.empty(shape, np.uint8)
        decoder(data, out=pixels)
        pixels = pixels.reshape(*out.shape[:2], self.channels)
        _put(pixels, out, is_premultiplied=self.is_premultiplied)

    def pack(self, data: bytes) -> bytes:  # noqa: D102
        return data


_UNPACKERS: Mapping[str, Callable[..., Any]] = {
    "deflate": imagecodecs.zlib_decode,
    "lzw": imagecodecs.lzw_decode,
    "zstd": imagecodecs.zstd_decode,
    "lzma": imagecodecs.lzma_decode,
    "packbits": imagecodecs.packbits_decode,
}


def _put(pixels: Pixels, out: Pixels, *, is_premultiplied: bool) -> None:
    """Put 1, 3 or 4 channels into three, on white."""
    if pixels.shape[2] != 4:
        out[:] = pixels
    elif is_premultiplied:
        white = 255 - pixels[..., 3:].astype(np.uint16)
        out[:] = np.minimum(pixels[..., :3] + white, 255)
    else:
        out[:] = flatten_onto_white(np.ascontiguousarray(pixels))


def flatten_onto_white(rgba: Pixels) -> Pixels:
    """Turn `(h, w, 4)` RGBA, not premultiplied, into RGB on white."""
    rgb = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), np.uint8)
    alpha = rgba[..., 3]
    if alpha.min(initial=255) < 255:
        share = alpha[..., None].astype(np.float32) / 255
        rgb = np.rint(rgb * share + 255 * (1 - share)).astype(np.uint8)
    return rgb
