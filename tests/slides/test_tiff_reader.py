import io
import math

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.slides.pixels import cut_tiles, encode_jpeg, encode_rgb_jpeg, paint

from eosin.core import SlideError
from eosin.slides import open_slide
from eosin.slides.openslide_reader import OpenSlideSlide
from eosin.slides.tiff_reader import TIFFSlide


@pytest.mark.realdata
def test_an_ome_tiff_is_read_as_tifffile_reads_it(data_folder):
    path = data_folder / "wsi" / "OS-1-detail.ome.tif"
    expected = tifffile.imread(path)
    with TIFFSlide(path) as slide:
        found = slide.read(0, 0, *slide.dimensions)
        assert slide.vendor == "ome-tiff"
        # PhysicalSizeX of its header.
        assert slide.mpp == pytest.approx(0.2271, abs=1e-4)
    assert np.array_equal(found, expected)


def test_a_position_between_two_pixels_is_the_nearer_one(make_tiled, tmp_path):
    # Two of 4 x 4 level-0 pixels: level-1 pixels start at x = 0, 4, 8 ...
    path = make_tiled("svs-jpeg")
    with TIFFSlide(path) as slide:
        whole = slide.read(0, 0, 225, 175, level=1)
        for x_px0, first in ((5, 1), (7, 2), (400, 100)):
            found = slide.read(x_px0, 0, 20, 20, level=1)
            assert np.array_equal(found, whole[:20, first : first + 20])


@pytest.mark.parametrize("kind", ["svs-jpeg", "deflate"])
def test_tiles_never_stored_are_white(make_tiled, tmp_path, kind):
    if kind == "svs-jpeg":
        path = make_tiled(kind, sparse=((0, 1),))
    else:
        path = tmp_path / "sparse.tif"
        content = bytearray(make_tiled(kind).read_bytes())
        with tifffile.TiffFile(io.BytesIO(bytes(content))) as file:
            tag = file.pages[0].tags["TileByteCounts"]
            size = np.dtype(tag.dtype.name.lower().replace("long", "uint32")).itemsize
        content[tag.valueoffset + size : tag.valueoffset + 2 * size] = bytes(size)
        path.write_bytes(bytes(content))
    with TIFFSlide(path) as slide:
        pixels = slide.read(250, 0, 300, 200)
    assert (pixels[:, 6:262] == 255).all()
    assert not (pixels[:, :6] == 255).all()
    assert not (pixels[:, 262:] == 255).all()


def write_ome(path, *, jfif, planes=False):
    image = np.zeros((512, 768, 3), np.uint8)
    image[:, :384] = (200, 30, 90)
    image[:, 384:] = (10, 180, 60)
    with tifffile.TiffWriter(path, ome=True) as file:
        if planes:
            file.write(
                np.moveaxis(image, -1, 0), tile=(256, 256), photometric="minisblack"
            )
            return image
        for level in range(2):
            part = image if level == 0 else np.ascontiguousarray(image[::2, ::2])
            tiles = []
            for tile in cut_tiles(part, 256):
                stream = io.BytesIO()
                # Pillow writes JFIF and YCbCr, as Bio-Formats does.
                Image.fromarray(tile).save(stream, "JPEG", quality=95)
                tiles.append(stream.getvalue())
            file.write(
                iter(tiles),
                shape=part.shape,
                dtype=np.uint8,
                tile=(256, 256),
                compression=7,
                photometric="rgb" if jfif else "ycbcr",
                **(
                    {"subifds": 1, "metadata": {"PhysicalSizeX": 0.25}}
                    if level == 0
                    else {"subfiletype": 1}
                ),
            )
    return image


@pytest.mark.parametrize("jfif", [True, False])
def test_an_ome_pyramid_in_sub_directories_is_read(tmp_path, jfif):
    image = write_ome(tmp_path / "a.ome.tif", jfif=jfif)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.reader == "native"
        assert [level.downsample for level in slide.levels] == [1.0, 2.0]
        assert slide.mpp == 0.25
        found = slide.read(0, 0, 768, 512)
        half = slide.read(0, 0, 384, 256, level=1)
    # Flat colours: JPEG keeps them to a few grey levels, a wrong transform does not.
    assert np.abs(found.astype(int) - image).mean() < 3
    assert np.abs(half.astype(int) - image[::2, ::2]).mean() < 3


def test_an_ome_tiff_of_planes_falls_back_to_memory(tmp_path):
    image = write_ome(tmp_path / "b.ome.tif", jfif=True, planes=True)
    with open_slide(tmp_path / "b.ome.tif") as slide:
        assert slide.reader == "image"
        assert np.array_equal(slide.read(0, 0, 768, 512), image)


def test_strips_and_16_bit_fall_back(tmp_path):
    image = np.arange(64 * 64 * 3, dtype=np.uint16).reshape(64, 64, 3) * 4
    tifffile.imwrite(tmp_path / "deep.tif", image, tile=(16, 16), photometric="rgb")
    tifffile.imwrite(
        tmp_path / "strips.tif", (image >> 8).astype(np.uint8), photometric="rgb"
    )
    for name in ("deep.tif", "strips.tif"):
        with open_slide(tmp_path / name) as slide:
            assert slide.reader != "native"
            found = slide.read(0, 0, 64, 64)
        assert np.array_equal(found, image >> 8)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_missing_magnification_is_close_to_the_area_filter(make_tiled, factor):
    path = make_tiled("jpeg", size=(1024, 1024))
    side = 1024 // factor
    with TIFFSlide(path) as slide:
        slide.levels, slide.grids = slide.levels[:1], slide.grids[:1]
        full = slide.read(0, 0, 1024, 1024)
        small = np.empty((1, side, side, 3), np.uint8)
        slide.read_tiles(np.array([[0, 0, 1024, 1024]]), small)
        assert slide.find_resampling(factor) == f"dct 1/{factor}"
    expected = cv2.resize(full, (side, side), interpolation=cv2.INTER_AREA)
    error = np.mean((small[0].astype(float) - expected) ** 2)
    assert 10 * math.log10(255**2 / error) > 30


def test_a_shrunk_tile_lies_where_the_same_area_lies(make_tiled):
    # A shift of one small pixel would show as a much larger error.
    path = make_tiled("jpeg", size=(1024, 1024))
    with TIFFSlide(path) as slide:
        slide.levels, slide.grids = slide.levels[:1], slide.grids[:1]
        full = slide.read(0, 0, 1024, 1024)
        out = np.empty((1, 100, 100, 3), np.uint8)
        slide.read_tiles(np.array([[298, 202, 300, 300]]), out)
        assert slide.find_resampling(3) == "dct 1/2 + area"

    def error(x, y):
        area = full[y : y + 300, x : x + 300]
        same = cv2.resize(area, (100, 100), interpolation=cv2.INTER_AREA)
        return np.mean((same.astype(float) - out[0]) ** 2)

    here = error(298, 202)
    assert all(
        here < 0.8 * error(298 + dx, 202 + dy)
        for dx, dy in ((3, 0), (-3, 0), (0, 3), (0, -3))
    )


def test_images_beside_the_pyramid_that_are_damaged_are_named(make_tiled, tmp_path):
    content = bytearray(make_tiled("svs-jpeg").read_bytes())
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as file:
        page = file.pages[1]
        tag = page.tags["StripOffsets"]
        content[tag.valueoffset : tag.valueoffset + 4] = (2**32 - 8).to_bytes(
            4, "little"
        )
    (tmp_path / "a.svs").write_bytes(bytes(content))
    with (
        TIFFSlide(tmp_path / "a.svs") as slide,
        pytest.raises(SlideError, match="thumbnail"),
    ):
        _ = slide.associated_images


@pytest.mark.parametrize("mct", [True, False])
def test_jpeg_2000_in_ome_tiff_means_what_its_tags_say(tmp_path, mct):
    image = paint(512, 512)
    tiles = [
        imagecodecs.jpeg2k_encode(tile, codecformat="j2k", mct=mct, reversible=True)
        for tile in cut_tiles(image, 256)
    ]
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(
            iter(tiles),
            shape=image.shape,
            dtype=np.uint8,
            tile=(256, 256),
            compression=33003,
            photometric="rgb",
        )
    with TIFFSlide(path) as slide:
        assert (slide.read(0, 0, 512, 512) == image).all()


@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha", "unspecified"])
def test_transparency_is_read_as_openslide_reads_it(tmp_path, alpha):
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 4), np.uint8)
    if alpha != "unassalpha":
        image[..., :3] = image[..., :3].astype(int) * image[..., 3:] // 255
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        image,
        tile=(256, 256),
        photometric="rgb",
        extrasamples=[alpha],
        compression="deflate",
        metadata=None,
    )
    with TIFFSlide(path) as slide, OpenSlideSlide(path) as oracle:
        found = slide.read(0, 0, 512, 512).astype(int)
        assert np.abs(found - oracle.read(0, 0, 512, 512)).max() <= 1


CODECS = {
    "zstd": {},
    "packbits": {},
    "lzma": {},
    "png": {},
    "webp": {"lossless": True},
    "jpeg2000": {"level": 0},
    "jpegxl": {"lossless": True},
}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("codec", CODECS)
def test_every_usual_codec_is_read_tile_by_tile(tmp_path, codec, channels):
    if (codec, channels) == ("webp", 1):
        pytest.skip("WebP has no grey")
    image = paint(300, 420)
    stored = {1: image[..., 0], 3: image, 4: np.dstack([image, image[..., :1] | 255])}
    path = tmp_path / "a.svs"
    tifffile.imwrite(
        path,
        np.ascontiguousarray(stored[channels]),
        tile=(128, 128),
        photometric="minisblack" if channels == 1 else "rgb",
        extrasamples=["unassalpha"] if channels == 4 else None,
        compression=codec,
        compressionargs=CODECS[codec],
        metadata=None,
    )
    with open_slide(path) as slide:
        assert slide.reader == "native"
        found = slide.read(0, 0, 420, 300)
    expected = np.repeat(image[..., :1], 3, axis=2) if channels == 1 else image
    assert np.array_equal(found, expected)


def write_jpegs(path, tiles, shape, **options):
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=shape,
        dtype=np.uint8,
        tile=(256, 256),
        compression=7,
        compressionargs={"outcolorspace": "rgb"},
        metadata=None,
        **options,
    )
    return path


@pytest.mark.parametrize("description", ["", "Aperio v1\n|MPP = 0.5", "Maker|MPP = 1"])
@pytest.mark.parametrize("encode", [encode_jpeg, encode_rgb_jpeg])
def test_jpeg_tiles_under_rgb_are_what_their_markers_say(tmp_path, description, encode):
    image = paint(512, 768)
    tiles = [encode(tile) for tile in cut_tiles(image, 256)]
    path = write_jpegs(
        tmp_path / "a.tif",
        tiles,
        image.shape,
        photometric="rgb",
        description=description,
    )
    # `encode_jpeg` writes JFIF and YCbCr, the other RGB and no marker.
    expected = tifffile.imread(path).astype(int)
    assert np.abs(expected - image).mean() < 12
    with TIFFSlide(path) as slide:
        assert np.abs(slide.read(0, 0, 768, 512) - expected).max() <= 1


@pytest.mark.parametrize("compression", [None, "zstd", "jpeg"])
def test_three_samples_that_are_tagged_as_grey_are_rgb(tmp_path, compression):
    image = np.full((256, 256, 3), (200, 90, 150), np.uint8)
    path = tmp_path / "a.tif"
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    if compression == "jpeg":
        write_jpegs(path, [encode_jpeg(image)], image.shape, **options)
    else:
        tile = (128, 128) if compression else None
        options |= {"tile": tile, "compression": compression}
        tifffile.imwrite(path, image, metadata=None, **options)
    with open_slide(path) as slide:
        assert np.abs(slide.read(0, 0, 256, 256).astype(int) - image).max() <= 2
        assert "tagged as grey" in slide.cautions[0]


@pytest.mark.parametrize(
    ("photometric", "samples"),
    [("minisblack", 4), ("minisblack", 2), ("miniswhite", 3)],
)
def test_other_grey_of_many_samples_is_refused_by_name(tmp_path, photometric, samples):
    image = np.zeros((128, 128, samples), np.uint8)
    options = {"photometric": photometric, "planarconfig": "contig", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", image, tile=(64, 64), **options)
    with pytest.raises(SlideError, match=f"{samples}.* of {photometric.upper()}|shape"):
        open_slide(tmp_path / "a.tif")


def test_a_level_that_cannot_be_decoded_is_left_out_and_named(tmp_path):
    image = paint(256, 512)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for factor, codec in ((1, "zstd"), (2, "lerc"), (4, "zstd")):
            file.write(
                image[::factor, ::factor].copy(),
                tile=(64, 64),
                photometric="rgb",
                compression=codec,
                subfiletype=int(factor > 1),
                metadata=None,
            )
    with open_slide(tmp_path / "a.tif") as slide:
        assert [level.downsample for level in slide.levels] == [1, 4]
        assert "level 1 is left out" in slide.cautions[0]
        assert "LERC" in slide.cautions[0]
        assert np.array_equal(slide.read(0, 0, 128, 64, level=1), image[::4, ::4])
