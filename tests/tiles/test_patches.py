import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eosin.core import SlideError
from eosin.tiles import PatchReader, TileReader, fit_patch
from eosin.tiles import patches as module
from eosin.tiles.patches import read_image

PX = 16


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (PX, PX), interpolation=cv2.INTER_CUBIC)


def save(path, pixels, mode="RGB", **options):
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.tif", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.png", {}),
        ("png called.tif", {"format": "PNG"}),
        ("a.bmp", {}),
    ],
)
def test_images_are_decoded_by_their_content(image, tmp_path, name, options):
    patch = read_image(save(tmp_path / name, image, **options))
    assert patch.kind == "rgb"
    assert np.array_equal(patch.pixels, image)


def test_a_jpeg_called_tif_is_read_as_pillow_reads_it(image, tmp_path):
    path = save(tmp_path / "jpeg called.tif", image, format="JPEG", quality=95)
    difference = read_image(path).pixels.astype(int) - np.asarray(Image.open(path))
    assert np.abs(difference).max() <= 2


def test_transparent_pixels_lie_on_white(image, tmp_path):
    alpha = np.zeros((PX, PX, 1), np.uint8)
    alpha[0, 0], alpha[0, 1] = 255, 128
    Image.fromarray(np.concatenate([image, alpha], axis=2)).save(tmp_path / "a.png")
    patch = read_image(tmp_path / "a.png")
    assert patch.kind == "rgba"
    assert (patch.pixels[1:] == 255).all()
    assert np.array_equal(patch.pixels[0, 0], image[0, 0])
    half = np.round(image[0, 1].astype(float) * 128 / 255 + 255 * 127 / 255)
    assert np.array_equal(patch.pixels[0, 1], half)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("factor", [1, 257])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_16_bit_are_read_as_8_bit_colour(
    image, tmp_path, suffix, factor, channels
):
    pixels = image[..., ::-1] if channels == 3 else image[..., 0]
    stored = pixels.astype(np.uint16) * factor if factor > 1 else pixels
    cv2.imwrite(str(tmp_path / f"a{suffix}"), stored)
    patch = read_image(tmp_path / f"a{suffix}")
    expected = image if channels == 3 else np.repeat(image[..., :1], 3, axis=2)
    assert np.array_equal(patch.pixels, expected)
    kinds = {(1, 1): "grey", (3, 1): "rgb", (1, 257): "grey", (3, 257): "16 bit"}
    assert patch.kind == kinds[channels, factor]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"no image", "damaged or cut short"),
        (b"\xff\xd8\xff\xe0", "damaged or cut short"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, text):
    if content is not None:
        (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(SlideError, match=text):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_an_image_that_is_cut_short_is_refused(image, tmp_path, name):
    path = save(tmp_path / name, np.tile(image, (4, 4, 1)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SlideError, match="damaged or cut short"):
        read_image(path)
    cv2.imwrite(str(tmp_path / "float.tif"), image.astype(np.float32))
    with pytest.raises(SlideError, match="must be 8 or 16 bit, these are float32"):
        read_image(tmp_path / "float.tif")


@pytest.mark.parametrize(
    ("shape", "side"), [((8, 8), 8), ((32, 32), 32), ((16, 40), 16), ((40, 16), 16)]
)
def test_the_central_square_is_brought_to_the_tiles_size(shape, side):
    pixels = np.full((*shape, 3), 50, np.uint8)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    pixels[top : top + side, left : left + side] = 200
    fitted = fit_patch(pixels, 16)
    assert fitted.shape == (16, 16, 3)
    assert (fitted == 200).all()


def test_shrinking_is_by_area():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :2] = [[[100] * 3, [50] * 3], [[30] * 3, [20] * 3]]
    assert fit_patch(pixels, 2)[0, 0].tolist() == [50, 50, 50]


@pytest.fixture
def stack(tmp_path):
    """The same patches in one piece and in packed chunks."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (10, PX, PX, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["x"] = images
    with h5py.File(tmp_path / "chunks.h5", "w") as file:
        file.create_dataset("x", data=images, chunks=(3, PX, PX, 3), compression="gzip")
    return tmp_path, images


@pytest.mark.parametrize("name", ["whole.h5", "chunks.h5"])
def test_rows_of_a_stack_come_in_the_order_asked(stack, name):
    root, images = stack
    reader = PatchReader([str(root)] * 10, [name] * 10, np.arange(10)[::-1], PX)
    asked = [np.random.default_rng(i).integers(0, 10, 7) for i in range(20)]
    with ThreadPoolExecutor(4) as pool:
        for rows, got in zip(asked, pool.map(reader.read, asked), strict=True):
            assert np.array_equal(got, images[::-1][rows])
    reader.close()
    assert np.array_equal(reader.read(np.array([0]))[0], images[9])
    reader.close()


def test_grey_and_deep_stacks_are_read(tmp_path):
    with h5py.File(tmp_path / "grey.h5", "w") as file:
        file["x"] = np.full((1, PX, PX, 1), 7, np.uint8)
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file["x"] = np.full((1, PX, PX, 3), 9 * 256, np.uint16)
    reader = PatchReader([str(tmp_path)] * 2, ["grey.h5", "deep.h5"], [0, 0], PX)
    assert [reader.read_patch(i).kind for i in (0, 1)] == ["grey", "16 bit"]
    tiles = reader.read(np.array([0, 1]))
    assert (tiles[0] == 7).all()
    assert (tiles[1] == 9).all()
    reader.close()


def test_a_stack_that_cannot_be_read_is_named(stack):
    root, _ = stack
    path = root / "whole.h5"
    path.write_bytes(path.read_bytes()[:-50])
    (root / "other.h5").write_bytes(b"no HDF5")
    with h5py.File(root / "keys.h5", "w") as file:
        file["images"] = np.zeros(3)
    for name in ("whole.h5", "other.h5", "keys.h5", "none.h5"):
        reader = PatchReader([str(root)], [name], [0], PX)
        with pytest.raises(
            SlideError, match=rf"patch {name} row 0: {name}: (cannot|holds)"
        ):
            reader.read(np.array([0]))


@pytest.mark.parametrize("name", ["whole.h5", "chunks.h5"])
def test_a_row_that_is_not_there_is_refused(stack, name):
    reader = PatchReader([str(stack[0])], [name], [10], PX)
    with pytest.raises(SlideError, match=rf"patch {name} row 10: cannot be read"):
        reader.read(np.array([0]))
    reader.close()


def test_a_tile_reader_reads_patches_as_it_reads_slides(image, stack):
    root, images = stack
    save(root / "sub.png", image)
    save(root / "large.png", np.repeat(np.repeat(image, 2, axis=0), 2, axis=1))
    tiles = pd.DataFrame(
        {
            "slide_id": ["a", "b", "a"],
            "x_px0": 0,
            "y_px0": 0,
            "size_px0": [PX, PX, 2 * PX],
            "source": ["sub.png", "chunks.h5", "large.png"],
            "source_index": [-1, 4, -1],
        }
    )
    slides = pd.DataFrame(
        {"slide_id": ["a", "b"], "path": str(root), "mpp_used": float("nan")}
    )
    with TileReader(tiles, slides, PX) as reader:
        assert reader.n_tiles == 3
        got = reader.read(np.array([2, 1, 0, 2]))
    assert np.array_equal(got, np.stack([image, images[4], image, image]))
    # A path in full needs no root.
    whole = PatchReader(["/nowhere"], [str(root / "sub.png")], [-1], PX)
    assert np.array_equal(whole.read(np.array([0]))[0], image)


def test_a_jpeg_filled_up_by_its_decoder_is_refused(image, tmp_path, monkeypatch):
    path = save(tmp_path / "a.jpg", np.tile(image, (4, 4, 1)))
    path.write_bytes(path.read_bytes()[:-40])
    monkeypatch.setattr(module.cv2, "imdecode", lambda *_: image)
    with pytest.raises(SlideError, match="cut short"):
        read_image(path)


def test_a_header_that_claims_too_many_pixels_is_refused(tmp_path):
    header = struct.pack(">II5B", 1 << 20, 1 << 20, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    size, checksum = struct.pack(">I", 13), struct.pack(">I", zlib.crc32(chunk))
    data = b"\x89PNG\r\n\x1a\n" + size + chunk + checksum
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(SlideError, match="no image that can be read"):
        read_image(tmp_path / "a.png")


def test_an_error_of_the_decoder_is_one_of_the_patch(image, tmp_path, monkeypatch):
    def fail(*_):
        raise cv2.error("too large")

    path = save(tmp_path / "a.png", image)
    monkeypatch.setattr(module.cv2, "imdecode", fail)
    with pytest.raises(SlideError, match=r"no image that can be read \(too large"):
        read_image(path)
