import struct
import subprocess
import sys
import zlib
from functools import partial

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from eosin.core import SlideError
from eosin.slides import image_reader, open_slide
from eosin.slides.image_reader import ImageSlide

RGB = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


GREY = RGB[..., 0]
COLOURS = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint16)
TIFFS = {
    "grey": (GREY, {}, GREY[..., None]),
    "white is 0": (GREY, {"photometric": "miniswhite"}, 255 - GREY[..., None]),
    "16 bit": (RGB.astype(np.uint16) * 256 + 17, {"photometric": "rgb"}, RGB),
    "planar": (
        np.moveaxis(RGB, -1, 0),
        {"photometric": "rgb", "planarconfig": "separate"},
        RGB,
    ),
    "alpha": (
        np.dstack([RGB, np.full((40, 60), 255, np.uint8)]),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        RGB,
    ),
    "palette": (
        GREY,
        {"photometric": "palette", "colormap": (COLOURS * 257).T},
        COLOURS[GREY],
    ),
}


def read_all(path):
    with ImageSlide(path) as slide:
        width, height = slide.dimensions
        return slide.read(0, 0, width, height)


@pytest.mark.parametrize("kind", TIFFS)
def test_every_kind_of_tiff_becomes_rgb(tmp_path, kind):
    stored, options, expected = TIFFS[kind]
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    expected = np.broadcast_to(expected, RGB.shape)
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), expected)


def test_sixteen_bit_and_transparent_pngs_become_rgb(tmp_path):
    rgba = np.dstack([RGB, np.zeros((40, 60), np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    assert (read_all(tmp_path / "clear.png") == 255).all()
    deep = RGB[..., 0].astype(np.uint16) * 256 + 17
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = read_all(tmp_path / "deep.png")
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], RGB[..., 0])
    palette = Image.new("P", (6, 4), 1)
    palette.putpalette([0, 0, 0, 200, 10, 30])
    palette.save(tmp_path / "palette.png")
    assert (read_all(tmp_path / "palette.png") == (200, 10, 30)).all()
    palette.save(tmp_path / "clear.png", transparency=1)
    assert (read_all(tmp_path / "clear.png") == 255).all()
    Image.new("LA", (6, 4), (0, 128)).save(tmp_path / "grey.png")
    assert (read_all(tmp_path / "grey.png") == 127).all()


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "RGB"])
def test_every_mode_is_read_as_pillow_converts_it(tmp_path, mode):
    suffix = ".jpg" if mode == "CMYK" else ".png"
    Image.fromarray(RGB).convert(mode).save(tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_all(tmp_path / f"a{suffix}"), expected)


@pytest.mark.parametrize("photometric", ["separated", "cielab", "ycbcr"])
def test_colours_that_are_not_rgb_are_refused_by_name(tmp_path, photometric):
    shape = (16, 16, 4 if photometric == "separated" else 3)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros(shape, np.uint8),
        photometric=photometric,
        planarconfig="contig",
    )
    with pytest.raises(SlideError, match=f"stored as {photometric.upper()}"):
        ImageSlide(tmp_path / "a.tif")


def test_a_jpeg_in_a_tiff_is_read_as_rgb(tmp_path):
    flat = np.full((32, 32, 3), (200, 100, 150), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", flat, photometric="rgb", compression="jpeg")
    assert np.abs(read_all(tmp_path / "a.tif").astype(int) - flat).max() <= 2


def test_the_content_and_not_the_suffix_says_what_a_file_is(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.tif", format="PNG")
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), RGB)
    tifffile.imwrite(tmp_path / "b.png", RGB, photometric="rgb")
    np.testing.assert_array_equal(read_all(tmp_path / "b.png"), RGB)


def test_what_is_no_colour_image_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "f.tif", RGB.astype(np.float32), photometric="rgb")
    with pytest.raises(SlideError, match="8 or 16 bit, these are float32"):
        ImageSlide(tmp_path / "f.tif")
    stack = np.zeros((5, 40, 60), np.uint8)
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack")
    with pytest.raises(SlideError, match="a colour image is needed"):
        ImageSlide(tmp_path / "s.tif")


def test_levels_of_an_ome_pyramid_are_levels_of_the_slide(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        options = {"photometric": "rgb", "metadata": {"axes": "YXS"}}
        file.write(RGB, subifds=1, **options)
        file.write(RGB[::2, ::2].copy(), subfiletype=1, **options)
    with ImageSlide(tmp_path / "a.ome.tif") as slide:
        assert [level.downsample for level in slide.levels] == [1, 2]
        found = slide.read(20, 10, 20, 15, level=1)
        np.testing.assert_array_equal(found, RGB[10:40:2, 20:60:2])
        assert (slide.read(100, 0, 4, 4, level=1) == 255).all()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_image_cut_short_is_a_slide_error(tmp_path, name, share):
    Image.fromarray(RGB).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SlideError, match=rf"{name}: .*nor an image that can be read"):
        ImageSlide(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize(
    # What runs programs is not opened.
    "content",
    [None, b"no image at all", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9"],
)
def test_what_is_no_image_is_a_slide_error(tmp_path, name, content):
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SlideError, match="nor an image that can be read"):
        ImageSlide(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "options", "mpp", "source"),
    [
        (
            "a.ome.tif",
            {"metadata": {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm"}},
            0.25,
            "vendor",
        ),
        (
            "a.tif",
            {"resolution": (20_000, 20_000), "resolutionunit": 3},
            0.5,
            "tiff resolution",
        ),
    ],
)
def test_resolution_comes_from_ome_and_tiff_tags(tmp_path, name, options, mpp, source):
    tifffile.imwrite(tmp_path / name, RGB, photometric="rgb", **options)
    with ImageSlide(tmp_path / name) as slide:
        assert slide.mpp == pytest.approx(mpp)
        assert slide.mpp_source == source
        assert slide.vendor == ("ome-tiff" if "ome" in name else "tiff")


def test_pillows_smaller_limit_does_not_count_and_stays_set(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(RGB).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_all(tmp_path / "a.png"), RGB)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_an_image_too_large_for_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image_reader, "_MOST_BYTES", 3000)
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with pytest.raises(SlideError, match="too large for a plain image"):
        ImageSlide(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb")
    with pytest.raises(SlideError, match="too large for a plain image"):
        ImageSlide(tmp_path / "a.tif")


SHADES = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16)
SHADES = np.dstack([SHADES, SHADES[::-1], SHADES.T])


def deepen(bits):
    """Spread 8-bit values over so many bits."""
    return (SHADES.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15])
@pytest.mark.parametrize("said_by", ["ome", "bits per sample", "largest value"])
def test_fewer_bits_than_are_stored_are_heeded(tmp_path, tile, bits, said_by):
    path = tmp_path / "a.ome.tif"
    options = {"photometric": "rgb", "metadata": None, "tile": tile}
    if said_by == "ome":
        options["metadata"] = {"axes": "YXS", "SignificantBits": bits}
    elif said_by == "bits per sample":
        path, options["bitspersample"] = tmp_path / "a.tif", bits
    else:
        path = tmp_path / "a.tif"
        options["extratags"] = [(281, "H", 3, ((1 << bits) - 1,) * 3)]
    if (said_by, bits) == ("bits per sample", 8):
        options.pop("bitspersample")
        tifffile.imwrite(path, SHADES, **options)
    else:
        tifffile.imwrite(path, deepen(bits), **options)
    with open_slide(path) as slide:
        assert slide.cautions == ()
        assert np.array_equal(slide.read(0, 0, 16, 16), SHADES)


@pytest.mark.parametrize("bits", [8, 12, 14])
def test_dark_deep_pixels_are_told_where_nothing_says_why(tmp_path, bits):
    tifffile.imwrite(tmp_path / "a.tif", deepen(bits), photometric="rgb")
    with ImageSlide(tmp_path / "a.tif") as slide:
        assert f"below {1 << bits}" in slide.cautions[0]
    tifffile.imwrite(tmp_path / "b.tif", deepen(16), photometric="rgb")
    with ImageSlide(tmp_path / "b.tif") as slide:
        assert slide.cautions == ()
    metadata = {"axes": "YXS", "SignificantBits": bits}
    tifffile.imwrite(
        tmp_path / "c.ome.tif", deepen(16), photometric="rgb", metadata=metadata
    )
    with ImageSlide(tmp_path / "c.ome.tif") as slide:
        assert f"says {bits} bits" in slide.cautions[0]
        assert np.array_equal(slide.read(0, 0, 16, 16), SHADES)


def test_few_bits_of_grey_are_spread(tmp_path):
    nibbles = np.arange(16, dtype=np.uint8).reshape(4, 4)
    tifffile.imwrite(tmp_path / "a.tif", nibbles, bitspersample=4)
    assert np.array_equal(read_all(tmp_path / "a.tif")[..., 0], nibbles * 17)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["Red", "Green", "Blue"], [0, 1, 2]),
        (["blue", "green", "red"], [2, 1, 0]),
        (["G", "R", "B"], [1, 0, 2]),
        (["Red (610 nm)", "Blue", "Green"], [0, 2, 1]),
    ],
)
def test_channels_are_put_in_order_by_name(tmp_path, names, order):
    planes = np.moveaxis(RGB[..., order], -1, 0)
    metadata = {"axes": "CYX", "Channel": {"Name": names}}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, planes, photometric="minisblack", metadata=metadata)
    with open_slide(path) as slide:
        assert slide.cautions == ()
        assert np.array_equal(slide.read(0, 0, 60, 40), RGB)


def test_channels_without_names_are_told_and_stains_are_refused(tmp_path):
    planes = np.moveaxis(RGB, -1, 0)
    path = tmp_path / "a.ome.tif"
    options = {"photometric": "minisblack"}
    tifffile.imwrite(path, planes, metadata={"axes": "CYX"}, **options)
    with open_slide(path) as slide:
        assert "without names" in slide.cautions[0]
        assert np.array_equal(slide.read(0, 0, 60, 40), RGB)
    for names in (["DAPI", "FITC", "Cy5"], ["Red", "Red", "Blue"]):
        metadata = {"axes": "CYX", "Channel": {"Name": names}}
        tifffile.imwrite(path, planes, metadata=metadata, **options)
        with pytest.raises(SlideError, match=", ".join(names)):
            open_slide(path)
    four = np.concatenate([planes, planes[:1]])
    tifffile.imwrite(path, four, metadata={"axes": "CYX"}, **options)
    with pytest.raises(SlideError, match="axes CYX"):
        open_slide(path)


def lie(path, at, kind, *size):
    """Write another (width, height) into a file's header."""
    data = bytearray(path.read_bytes())
    struct.pack_into(kind, data, at, *size)
    if path.suffix == ".png":
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    path.write_bytes(data)


def save_png(path, mode, **options):
    Image.fromarray(RGB).convert(mode).save(path, **options)
    lie(path, 16, ">II", 60_000, 20_000)


def save_deep_png(path):
    Image.fromarray(GREY.astype(np.uint16)).save(path)
    lie(path, 16, ">II", 60_000, 20_000)


def save_jpeg(path, mode, **options):
    Image.fromarray(RGB).convert(mode).save(path, **options)
    data = path.read_bytes()
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    lie(path, frame + 5, ">HH", 20_000, 60_000)


def save_bmp(path):
    """Write a BMP whose rows are packed."""
    head = struct.pack("<IiiHHIIiiII", 40, 60_000, 20_000, 1, 8, 1, 4, 0, 0, 256, 0)
    start = b"BM" + struct.pack("<IHHI", 1082, 0, 0, 1078)
    path.write_bytes(start + head + bytes(1024) + b"\4\1\0\1")


def save_webp(path, **options):
    Image.fromarray(RGB).save(path, **options)
    if options:
        # 14 bits each, of one less.
        lie(path, 21, "<I", 16_382 << 14 | 16_382)
    else:
        lie(path, 26, "<HH", 16_383, 16_383)


def save_tiff(path, photometric, **options):
    data = options.pop("data")
    tifffile.imwrite(path, data, photometric=photometric, **options)
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name, value in (("ImageWidth", 60_000), ("ImageLength", 20_000)):
            file.pages[0].tags[name].overwrite(value)
        file.pages[0].tags["RowsPerStrip"].overwrite(20_000)


DEFLATE = {"compression": "deflate"}
RGBA = np.dstack([RGB, GREY])
LARGE = {
    "palette.png": partial(save_png, mode="P"),
    "clear palette.png": partial(save_png, mode="P", transparency=1),
    "alpha.png": partial(save_png, mode="RGBA"),
    "deep.png": save_deep_png,
    "several scans.jpg": partial(save_jpeg, mode="RGB", progressive=True),
    "inks.jpg": partial(save_jpeg, mode="CMYK"),
    "packed.bmp": save_bmp,
    "lossy.webp": save_webp,
    "lossless.webp": partial(save_webp, lossless=True, exact=True),
    "palette.tif": partial(
        save_tiff, data=GREY, photometric="palette", colormap=(COLOURS * 257).T
    ),
    "packed.tif": partial(save_tiff, data=RGB, photometric="rgb", **DEFLATE),
    "alpha.tif": partial(
        save_tiff, data=RGBA, photometric="rgb", extrasamples=["unassalpha"]
    ),
    "deep.tif": partial(
        save_tiff, data=GREY.astype(np.uint16), photometric="minisblack", **DEFLATE
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_decoding_would_take_is_told_by_the_header(tmp_path, name, monkeypatch):
    LARGE[name](tmp_path / name)
    monkeypatch.setattr(np, "empty", lambda *_, **__: pytest.fail("memory was taken"))
    with pytest.raises(SlideError, match=r"decoding them takes \d+\.\d GB, and may"):
        ImageSlide(tmp_path / name)


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
@pytest.mark.parametrize(
    ("name", "options", "n_bytes"),
    [
        # Indices and colours of a pixel.
        ("a.png", {"transparency": 1}, 1 + 3),
        ("a.bmp", {}, 1 + 3),
    ],
)
def test_decoding_takes_no_more_than_that(tmp_path, name, options, n_bytes):
    side = 5000
    Image.new("P", (side, side), 1).save(tmp_path / name, **options)
    measure = """
import sys
from pathlib import Path
from eosin.slides.image_reader import ImageSlide

def measure_kb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

before = measure_kb()
ImageSlide(Path(sys.argv[1]))
print((measure_kb() - before) * 1024)
"""
    command = [sys.executable, "-c", measure, str(tmp_path / name)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    # Bands take up to some 100 MB more.
    assert int(found.stdout) < n_bytes * side**2 + (100 << 20)


@pytest.mark.parametrize("name", ["a.bmp", "a.webp", "a.jpg", "a.png"])
def test_no_format_is_asked_for_that_pillow_has_not(tmp_path, name, monkeypatch):
    Image.init()
    monkeypatch.delitem(Image.OPEN, "MPO", raising=False)
    Image.new("RGB", (30, 20), (200, 60, 120)).save(tmp_path / name)
    found = read_all(tmp_path / name).astype(int)
    assert found.shape == (20, 30, 3)
    assert np.abs(found - (200, 60, 120)).max() <= 4


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_of_several_scans_takes_memory_for_its_coefficients(tmp_path, options):
    Image.fromarray(RGB).save(tmp_path / "a.jpg", **options)
    with Image.open(tmp_path / "a.jpg") as image:
        # Pillow's four, RGB's three, and two for each of three coefficients.
        expected = 4 + 3 + (6 if options else 0)
        assert image_reader._count_pixel_bytes(image) == expected


def claim(data, mark, at, kind, *size):
    """Let a coded picture say that it has another size."""
    at += data.index(mark)
    return data[:at] + struct.pack(kind, *size) + data[at + struct.calcsize(kind) :]


SMALL = np.full((64, 64, 3), 200, np.uint8)
LARGER = {
    # Of a JPEG height comes first, behind the mark, a length and the bits.
    "jpeg": (imagecodecs.jpeg_encode(SMALL), b"\xff\xc0", 5, ">HH", 30_001, 30_000),
    "png": (imagecodecs.png_encode(SMALL), b"IHDR", 4, ">II", 30_000, 30_001),
    # A codestream's grid comes behind the mark, a length and two bytes.
    "jpeg2000": (
        imagecodecs.jpeg2k_encode(SMALL),
        *(b"\xff\x4f\xff\x51", 8, ">II", 30_000, 30_001),
    ),
}


@pytest.mark.parametrize("codec", LARGER)
@pytest.mark.parametrize("is_larger", [True, False])
def test_a_strip_holds_no_more_than_its_directory_says(tmp_path, codec, is_larger):
    data = claim(*LARGER[codec]) if is_larger else LARGER[codec][0]
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "compression": codec, "metadata": None}
    tifffile.imwrite(path, iter([data]), shape=SMALL.shape, dtype="u1", **options)
    if not is_larger:
        assert np.abs(read_all(path).astype(int) - 200).max() < 3
        return
    with pytest.raises(SlideError, match="64 x 64 px holds a picture of 30000 x 30001"):
        open_slide(path)
