import io
import resource
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from eosin.slides.tile_codecs import (
    ImageTiles,
    JPEG2000Tiles,
    JPEGTiles,
    PlainTiles,
    flatten_onto_white,
)

DECODE_ERRORS = (ValueError, RuntimeError, TypeError, OSError, EOFError, MemoryError)


@pytest.fixture(scope="module")
def tile():
    y, x = np.mgrid[:64, :64]
    return np.stack([x * 4, y * 4, 255 - x * 4], -1).astype(np.uint8)


def decode(codec, data, shape=(64, 64, 3), scale=1):
    out = np.zeros(shape, np.uint8)
    codec.decode(data, out, scale)
    return out


def split_tables(data):
    """Cut a JPEG into its tables and the rest, the way TIFF keeps them."""
    tables, rest, at = b"", b"", 2
    while data[at + 1] != 0xDA:
        length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        part = data[at : at + length]
        if data[at + 1] in (0xDB, 0xC4):
            tables += part
        else:
            rest += part
        at += length
    return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + data[at:]


def test_tables_kept_once_are_merged(tile):
    data = simplejpeg.encode_jpeg(tile, 90, "RGB", "420")
    tables, rest = split_tables(data)
    expected = simplejpeg.decode_jpeg(data)
    assert np.array_equal(decode(JPEGTiles(tables, "ycbcr"), rest), expected)
    # What is packed is a file that another decoder reads by itself.
    packed = JPEGTiles(tables, "ycbcr").pack(rest)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(packed))), expected)


def test_the_tag_decides_what_the_components_are(tile):
    data = imagecodecs.jpeg8_encode(
        tile, level=95, colorspace="RGB", outcolorspace="RGB"
    )
    as_rgb = decode(JPEGTiles(None, "rgb"), data)
    assert np.abs(as_rgb.astype(int) - tile).mean() < 3
    # Its Adobe marker says RGB too, and a reader that believes it agrees.
    assert np.array_equal(decode(JPEGTiles(None, "marked"), data), as_rgb)
    assert np.abs(decode(JPEGTiles(None, "ycbcr"), data).astype(int) - tile).mean() > 30


def test_a_jfif_tile_is_ycbcr_where_markers_are_believed(tile):
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "JPEG", quality=95)
    found = decode(JPEGTiles(None, "marked"), stream.getvalue())
    assert np.array_equal(found, np.asarray(Image.open(stream)))


def test_grey_becomes_three_equal_channels(tile):
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(tile[..., :1]), 95, "GRAY")
    found = decode(JPEGTiles(None, "grey"), data)
    assert np.array_equal(found[..., 0], found[..., 2])
    assert np.abs(found[..., 0].astype(int) - tile[..., 0]).mean() < 2


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_jpeg_is_decoded_smaller_as_pillow_drafts_it(tile, scale):
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "JPEG", quality=95)
    side = 64 // scale
    found = decode(JPEGTiles(None, "ycbcr"), stream.getvalue(), (side, side, 3), scale)
    draft = Image.open(stream)
    draft.draft("RGB", (side, side))
    assert np.abs(found.astype(int) - np.asarray(draft)).max() <= 1


def test_codestreams_are_decoded(tile):
    data = imagecodecs.jpeg2k_encode(tile, codecformat="j2k", reversible=True)
    codec = JPEG2000Tiles("rgb")
    assert np.array_equal(decode(codec, data), tile)
    assert codec.pack(data) == data


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "compression", ["none", "deflate", "lzw", "zstd", "lzma", "packbits"]
)
@pytest.mark.parametrize("is_differenced", [True, False])
def test_plain_tiles_are_unpacked(tile, channels, compression, is_differenced):
    pixels = np.concatenate([tile, np.full_like(tile[..., :1], 255)], -1)
    pixels = np.ascontiguousarray(pixels[..., :channels])
    stored = np.diff(pixels, axis=1, prepend=0) if is_differenced else pixels
    data = {
        "none": lambda raw: raw,
        "deflate": zlib.compress,
        "lzw": imagecodecs.lzw_encode,
        "zstd": imagecodecs.zstd_encode,
        "lzma": imagecodecs.lzma_encode,
        "packbits": lambda raw: imagecodecs.packbits_encode(np.frombuffer(raw, "u1")),
    }[compression](stored.astype(np.uint8).tobytes())
    codec = PlainTiles(compression, channels, is_differenced)
    found = decode(codec, data)
    assert np.array_equal(found, np.broadcast_to(pixels[..., :3], (64, 64, 3)))
    assert codec.pack(data) == data


WITHOUT_LOSS = {
    "png": imagecodecs.png_encode,
    "webp": lambda pixels: imagecodecs.webp_encode(pixels, lossless=True),
    "jpegxl": lambda pixels: imagecodecs.jpegxl_encode(pixels, lossless=True),
    "jpeg2k": lambda pixels: imagecodecs.jpeg2k_encode(pixels, reversible=True),
}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", WITHOUT_LOSS)
def test_tiles_in_codecs_of_images_are_decoded(tile, name, channels):
    if (name, channels) == ("webp", 1):
        pytest.skip("WebP has no grey")
    # An opaque share, which WebP leaves out.
    pixels = np.dstack([tile, np.full_like(tile[..., :1], 255)])[..., :channels]
    data = WITHOUT_LOSS[name](np.ascontiguousarray(np.squeeze(pixels)))
    codec = ImageTiles(name, channels)
    found = decode(codec, data)
    assert np.array_equal(found, np.broadcast_to(pixels[..., :3], (64, 64, 3)))
    assert codec.pack(data) == data
    for shape in ((32, 32, 3), (128, 64, 3)):
        with pytest.raises(DECODE_ERRORS):
            decode(codec, data, shape)
    for wrong in (b"", b"no picture at all", data[: len(data) // 3]):
        with pytest.raises(DECODE_ERRORS):
            decode(codec, wrong)


def read_memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("name", WITHOUT_LOSS)
def test_a_picture_far_larger_than_its_tile_takes_no_memory(tile, name):
    channels = 3 if name == "webp" else 1
    flat = np.zeros((64, 64, 3)[: 2 if channels == 1 else 3], np.uint8)
    small = WITHOUT_LOSS[name](flat)
    decode(ImageTiles(name, channels), small)
    if name in ("png", "jpeg2k"):
        # The size in the header, 30,000 x 30,000, would take gigabytes.
        at = small.index(b"IHDR") + 4 if name == "png" else small.index(b"\xffQ") + 6
        large = bytearray(small)
        large[at : at + 8] = (30_000).to_bytes(4, "big") * 2
        if name == "png":
            crc = zlib.crc32(large[at - 4 : at + 13]).to_bytes(4, "big")
            large[at + 13 : at + 17] = crc
    else:
        large = WITHOUT_LOSS[name](np.zeros((4000, 4000, *flat.shape[2:]), np.uint8))
    before = read_memory_mb()
    with pytest.raises(DECODE_ERRORS, match=r"30000|4000"):
        decode(ImageTiles(name, channels), bytes(large))
    assert read_memory_mb() - before < 50


def damaged(tile):
    jpeg = simplejpeg.encode_jpeg(tile, 90, "RGB", "420")
    wide = simplejpeg.encode_jpeg(np.zeros((64, 128, 3), np.uint8), 90)
    small = simplejpeg.encode_jpeg(np.zeros((32, 32, 3), np.uint8), 90)
    j2k = imagecodecs.jpeg2k_encode(tile, codecformat="j2k")
    grey = imagecodecs.jpeg2k_encode(tile[..., 0].copy(), codecformat="j2k")
    huge = j2k[:8] + (2**31).to_bytes(4, "big") + j2k[12:]
    bomb = zlib.compress(bytes(64 << 20))
    return [
        (JPEGTiles(None, "ycbcr"), b""),
        (JPEGTiles(None, "ycbcr"), b"not a jpeg"),
        (JPEGTiles(None, "ycbcr"), jpeg[: len(jpeg) // 2]),
        (JPEGTiles(None, "ycbcr"), wide),
        (JPEGTiles(None, "ycbcr"), small),
        (JPEGTiles(None, "ycbcr"), b"\xff\xd8\xff\xe0\x00\x00" + jpeg[2:]),
        (JPEG2000Tiles("rgb"), b""),
        (JPEG2000Tiles("rgb"), j2k[: len(j2k) // 2]),
        (JPEG2000Tiles("rgb"), grey),
        (JPEG2000Tiles("rgb"), huge),
        (JPEG2000Tiles("ycbcr"), b"\xff\x4f\xff\x51"),
        (PlainTiles("none", 3), b"short"),
        (PlainTiles("deflate", 3), b"not deflate"),
        (PlainTiles("deflate", 3), bomb),
        (PlainTiles("lzw", 3), b"\x80\x00"),
    ]


@pytest.mark.parametrize("case", range(15))
def test_damaged_bytes_are_refused(tile, case):
    codec, data = damaged(tile)[case]
    with pytest.raises(DECODE_ERRORS):
        decode(codec, data)


def test_transparent_pixels_become_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 128, 255)
    assert flatten_onto_white(rgba)[0, :, 0].tolist() == [255, 127, 0]


@pytest.mark.parametrize("scale", [1, 2])
def test_a_larger_tile_is_not_shrunk_to_the_size_wanted(tile, scale):
    larger = simplejpeg.encode_jpeg(cv2.resize(tile, (128, 128)), 90, "RGB", "444")
    side = 64 // scale
    with pytest.raises(DECODE_ERRORS):
        decode(JPEGTiles(None, "ycbcr"), larger, (side, side, 3), scale)


def test_bytes_behind_the_last_pixel_do_no_harm(tile):
    data = simplejpeg.encode_jpeg(tile, 90, "RGB", "444")
    codec = JPEGTiles(None, "ycbcr")
    stray = data[:-2] + b"\0\0\0" + data[-2:]
    assert (decode(codec, stray) == decode(codec, data)).all()
    # A tile that was cut is damaged all the same.
    with pytest.raises(DECODE_ERRORS):
        decode(codec, data[: len(data) // 2] + data[-2:])


ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


def test_a_marker_behind_a_comment_does_not_change_what_the_file_says(tile):
    data = simplejpeg.encode_jpeg(tile, 90, "RGB", "444")
    length = 4 + int.from_bytes(data[4:6], "big")
    comment = b"\xff\xfe\x00\x06abcd"
    misleading = data[:2] + comment + ADOBE_RGB + data[length:]
    codec = JPEGTiles(None, "ycbcr")
    assert (decode(codec, misleading) == decode(codec, data)).all()
    # Where nothing but the tile says it, it counts.
    own = decode(JPEGTiles(None, "marked"), misleading)
    assert (own == decode(JPEGTiles(None, "rgb"), data)).all()


def test_a_marker_among_the_common_tables_does_not_count(tile):
    data = simplejpeg.encode_jpeg(tile, 90, "RGB", "444")
    tables, rest = split_tables(data)
    misleading = tables[:2] + ADOBE_RGB + tables[2:]
    expected = decode(JPEGTiles(None, "ycbcr"), data)
    assert (decode(JPEGTiles(misleading, "ycbcr"), rest) == expected).all()


def test_colours_multiplied_by_their_share_are_put_on_white():
    rgba = np.array([[[40, 60, 100, 128], [0, 0, 0, 0]]], np.uint8)
    codec = PlainTiles("none", 4, is_premultiplied=True)
    out = decode(codec, rgba.tobytes(), (1, 2, 3))
    # 40 + (255 - 128) and so on; what is transparent is white.
    assert out.tolist() == [[[167, 187, 227], [255, 255, 255]]]
