import numpy as np
import pytest
import tifffile
from tests.slides.tiff_files import write_sparse

from eosin.core import SlideError
from eosin.slides import bounds, open_slide, write_pyramid
from eosin.slides.slide import DamagedTileError
from eosin.slides.tiff_reader import TIFFSlide
from eosin.slides.tile_codecs import JPEGTiles
from eosin.slides.tiled_reader import TileCache, TileGrid, check_grid


@pytest.fixture
def path(make_tiled):
    return make_tiled("svs-jpeg", size=(1100, 1300))


def scan(step, *, start=0, side=256):
    return np.array(
        [
            (x, y, side, side)
            for y in range(start, 1100 - side, step)
            for x in range(start, 1300 - side, step)
        ]
    )


def count_decodes(monkeypatch):
    seen = []
    decode = JPEGTiles.decode

    def counted(self, data, out, scale=1):
        seen.append(scale)
        decode(self, data, out, scale)

    monkeypatch.setattr(JPEGTiles, "decode", counted)
    return seen


@pytest.mark.parametrize("start", [0, 100])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_is_the_same_as_tile_by_tile(path, start, threads):
    boxes = scan(256, start=start)
    rng = np.random.default_rng(0)
    boxes = boxes[rng.permutation(len(boxes))]
    out = np.empty((len(boxes), 256, 256, 3), np.uint8)
    with TIFFSlide(path) as slide:
        slide.read_tiles(boxes, out, threads=threads)
        for box, found in zip(boxes.tolist(), out, strict=True):
            assert np.array_equal(found, slide.read(*box))


def test_a_scan_off_the_grid_decodes_each_native_tile_once(path, monkeypatch):
    seen = count_decodes(monkeypatch)
    boxes = scan(256, start=100)
    out = np.empty((len(boxes), 256, 256, 3), np.uint8)
    with TIFFSlide(path) as slide:
        for first in range(0, len(boxes), 3):
            slide.read_tiles(boxes[first : first + 3], out[first : first + 3])
    # 4 x 3 boxes touch 5 x 4 native tiles.
    assert (len(boxes), len(seen)) == (12, 20)


def test_native_tiles_are_decoded_in_place(path, monkeypatch):
    boxes = scan(256)
    with TIFFSlide(path) as slide:
        monkeypatch.setattr(slide, "_find_tile", None)
        slide.read_tiles(boxes, np.empty((len(boxes), 256, 256, 3), np.uint8))


def test_a_missing_magnification_is_decoded_small(path, monkeypatch):
    seen = count_decodes(monkeypatch)
    with TIFFSlide(path) as slide:
        out = np.empty((1, 256, 256, 3), np.uint8)
        slide.read_tiles(np.array([[0, 0, 512, 512]]), out)
        assert slide.find_resampling(2) == "dct 1/2"
        assert slide.find_resampling(3) == "dct 1/2 + area"
        assert slide.find_resampling(1) == "none"
        assert slide.find_resampling(1.5) == "area"
        assert slide.find_resampling(4) == "none"
        assert slide.find_resampling(8) == "dct 1/2"
    assert set(seen) == {2}


def test_damage_is_white_and_flagged_where_it_is(path, tmp_path):
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        # The second tile of the second row: x and y from 256 to 512 ... 511.
        number = 6 + 1
        start = file.pages[0].dataoffsets[number]
        count = file.pages[0].databytecounts[number]
    content[start + 20 : start + count] = bytes(count - 20)
    (tmp_path / "damaged.svs").write_bytes(bytes(content))
    boxes = np.array([(0, 0, 256, 256), (300, 300, 256, 256), (200, 200, 300, 300)])
    out = np.zeros((3, 256, 256, 3), np.uint8)
    damaged = np.ones(3, bool)
    with TIFFSlide(tmp_path / "damaged.svs") as slide, TIFFSlide(path) as whole:
        with pytest.raises(DamagedTileError, match="x=256, y=256, level 0"):
            slide.read_tiles(boxes, out)
        slide.read_tiles(boxes, out, damaged=damaged)
        assert damaged.tolist() == [False, True, True]
        assert (out[1, :212, :212] == 255).all()
        # What lies beside the damaged tile is there.
        assert np.array_equal(out[1, 212:], whole.read(300, 512, 256, 44))
        assert np.array_equal(out[0], whole.read(0, 0, 256, 256))


@pytest.mark.parametrize(("n_damaged", "is_told"), [(1, False), (20, True)])
def test_a_small_picture_has_holes_until_most_is_damaged(
    path, tmp_path, n_damaged, is_told
):
    (tmp_path / "a.svs").write_bytes(path.read_bytes())
    with TIFFSlide(tmp_path / "a.svs") as slide, TIFFSlide(path) as whole:
        slide.grids, slide.levels = slide.grids[:1], slide.levels[:1]
        whole.grids, whole.levels = whole.grids[:1], whole.levels[:1]
        slide.grids[0].offsets.ravel()[:n_damaged] = 10**9
        if is_told:
            with pytest.raises(DamagedTileError, match="as most of its tiles"):
                slide.read_image(downsample=8)
            return
        found, expected = (each.read_image(downsample=8) for each in (slide, whole))
    # The first native tile is 256 px, 32 here.
    assert (found[:32, :32] == 255).all()
    assert np.array_equal(found[32:], expected[32:])
    assert np.array_equal(found[:, 32:], expected[:, 32:])


def test_bytes_beyond_the_file_are_damage(path, tmp_path):
    size = path.stat().st_size
    (tmp_path / "cut.svs").write_bytes(path.read_bytes())
    with TIFFSlide(tmp_path / "cut.svs") as slide:
        slide.grids[0].offsets[0, 0] = 1 << 60
        slide.grids[0].offsets[0, 1] = size - 1
        for x in (0, 256):
            with pytest.raises(DamagedTileError, match="beyond the file"):
                slide.read(x, 0, 256, 256)


def test_the_cache_lets_go_of_what_was_not_used():
    cache = TileCache(3 * 300)
    tiles = {(i,): np.full((10, 10, 3), i, np.uint8) for i in range(4)}
    for key in ((0,), (1,), (2,)):
        cache.keep(key, tiles[key])
    cache.keep((0,), tiles[0,])
    assert cache.find((0,)) is tiles[0,]
    cache.keep((3,), tiles[3,])
    assert cache.find((1,)) is None
    assert cache.find((0,)) is tiles[0,]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile_width_px": 0}, "1 to 8192 px a side"),
        ({"tile_height_px": 10_000}, "1 to 8192 px a side"),
    ],
)
def test_a_grids_size_must_make_sense(change, message):
    places = np.zeros((2, 2), np.int64)
    grid = {
        "width_px": 512,
        "height_px": 512,
        "tile_width_px": 256,
        "tile_height_px": 256,
        "offsets": places,
        "byte_counts": places,
        "codec": JPEGTiles(None, "ycbcr"),
    }
    check_grid("a", TileGrid(**grid))
    with pytest.raises(SlideError, match=message):
        check_grid("a", TileGrid(**grid | change))


def test_padding_is_not_mixed_into_the_last_pixels(tmp_path):
    # 513 px: one column of the third native tile, and 255 of whatever pads it.
    image = np.full((513, 513, 3), 240, np.uint8)
    write_pyramid(tmp_path / "odd.tif", image, mpp=0.5, downsample=None)
    with TIFFSlide(tmp_path / "odd.tif") as slide:
        assert slide.find_resampling(8) == "dct 1/8"
        shrunk = slide.read_image(downsample=8)
        tiles = np.empty((1, 80, 80, 3), np.uint8)
        slide.read_tiles(np.array([[0, 0, 640, 640]]), tiles)
    assert shrunk.shape == (65, 65, 3)
    # The last pixel is one part of eight slide, the rest beyond its edge, white.
    assert np.abs(shrunk[:64, :64].astype(int) - 240).max() <= 1
    assert np.abs(shrunk[:64, 64].astype(int) - (240 + 7 * 255) / 8).max() <= 1
    assert (tiles[0, :65, :65] == shrunk).all()
    assert (tiles[0, 65:] == 255).all()


def test_a_byte_count_of_gigabytes_is_damage(path, tmp_path):
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags["TileByteCounts"]
        size = {"SHORT": 2, "LONG": 4, "LONG8": 8}[tag.dtype.name]
    data[tag.valueoffset : tag.valueoffset + size] = b"\xff" * size
    damaged = tmp_path / "damaged.svs"
    damaged.write_bytes(data)
    with damaged.open("r+b") as stream:
        stream.truncate(1 << 33)  # a sparse file: the count would be there
    flags = np.zeros(1, bool)
    out = np.empty((1, 64, 64, 3), np.uint8)
    with TIFFSlide(damaged) as slide:
        slide.read_tiles(np.array([[0, 0, 64, 64]]), out, damaged=flags)
        assert flags.all() == (size > 2)


@pytest.mark.parametrize(
    ("size", "side"), [((600_000, 600_000), 4096), ((1_900_000, 300_000), 2048)]
)
def test_a_vast_slide_without_data_costs_nothing(tmp_path, size, side, monkeypatch):
    monkeypatch.setattr(TIFFSlide, "_read_scaled", lambda *_: pytest.fail("was read"))
    with TIFFSlide(write_sparse(tmp_path / "a.tif", size, side, {})) as slide:
        assert (slide.dimensions, slide.mpp) == (size, 0.5)
        assert (slide.thumbnail(300) == 255).all()


def test_what_is_stored_on_a_sparse_slide_lies_where_it_is(tmp_path):
    # 20 x 20 tiles of 2048 px; the fourth of the third row, and the very last.
    colours = {2 * 20 + 3: (200, 10, 90), 399: (9, 90, 200)}
    path = write_sparse(tmp_path / "a.tif", (40_960, 40_960), 2048, colours)
    with TIFFSlide(path) as slide:
        image = slide.read_image(downsample=512)
    expected = np.full((80, 80, 3), 255, np.uint8)
    expected[8:12, 12:16] = colours[43]
    expected[76:, 76:] = colours[399]
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("size", [(4_000_000, 4_000_000), (2_100_000, 300)])
def test_what_is_larger_than_glass_is_refused(tmp_path, size):
    path = write_sparse(tmp_path / "a.tif", size, 8192, {})
    with pytest.raises(SlideError, match=rf"this one says {size[0]} x {size[1]}"):
        open_slide(path)


def test_a_picture_that_would_take_hours_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "_MOST_DECODED_PIXELS", 2 * 256**2)
    path = tmp_path / "a.tif"
    for n_stored in (2, 3):
        write_sparse(path, (2560, 2560), 256, dict.fromkeys(range(n_stored), (9, 9, 9)))
        with TIFFSlide(path) as slide:
            if n_stored == 2:
                assert slide.thumbnail(10).shape == (10, 10, 3)
                continue
            with pytest.raises(SlideError, match="a picture of the whole slide"):
                slide.thumbnail(10)
