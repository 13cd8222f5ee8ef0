import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from eosin.core import Box
from eosin.heatmaps import (
    Heatmap,
    colourise,
    rasterise_tiles,
    write_heatmap,
    write_heatmap_picture,
    write_image,
)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_picture_comes_back_and_thin_lines_keep_their_colour(tmp_path, suffix):
    image = np.full((40, 60, 3), 255, np.uint8)
    image[:, 20] = (213, 94, 0)
    path = tmp_path / f"é 1{suffix}"
    write_image(path, image)
    found = np.asarray(Image.open(path)).astype(int)
    assert np.abs(found - image).max() <= (0 if suffix == ".png" else 30)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_failed_picture_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.jpg"
    write_image(path, np.zeros((4, 4, 3), np.uint8))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_image(path, np.zeros((4, 4, 9), np.uint8))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def sample(path, slide_size, mpp, x_px0, y_px0):
    """Look a level-0 place up in the file by its resolution tag alone."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        count, per = page.tags["XResolution"].value
        cell = 10_000 / (count / per) / mpp
        raster = page.asarray()
    assert raster.shape[1] * cell >= slide_size[0]
    assert raster.shape[0] * cell >= slide_size[1]
    return raster[int(y_px0 / cell), int(x_px0 / cell)]


@pytest.mark.parametrize("origin", [(0, 0), (100, 50), (77, 131), (256, 512)])
@pytest.mark.parametrize("step", [256, 128, 192])
def test_the_file_lies_on_the_slide_by_its_resolution(tmp_path, origin, step):
    size = (4000, 3000)
    column, row = np.meshgrid(np.arange(6), np.arange(5))
    x, y = column.ravel() * step + origin[0], row.ravel() * step + origin[1]
    heatmap = rasterise_tiles(x, y, 256, np.linspace(0.1, 1, 30))
    path = tmp_path / "S.heatmap.tif"
    write_heatmap(path, heatmap, slide_size=size, mpp=0.5)
    # At each cell's own centre the file says what the cell does.
    cell = heatmap.cell_px0
    for i, j in np.ndindex(heatmap.values.shape):
        place = (origin[0] + (j + 0.5) * cell, origin[1] + (i + 0.5) * cell)
        found = sample(path, size, 0.5, *place)
        assert found == pytest.approx(heatmap.values[i, j])
    assert sample(path, size, 0.5, 3990, 2990) == 0


@pytest.mark.parametrize("corner", [(512, 256), (1024, 1280), (64, 32), (0, 640)])
def test_the_picture_lies_on_what_qupath_shows_of_the_slide(tmp_path, corner):
    # QuPath's pixel (x, y) is (x, y) + corner of level 0.
    bounds = Box(*corner, 2048, 1536)
    tile = (corner[0] + 768, corner[1] + 512)
    heatmap = Heatmap(np.ones((1, 1), np.float32), 256.0, tile)
    frame = {"slide_size": (4096, 3072), "mpp": 0.5}
    write_heatmap(tmp_path / "values.tif", heatmap, **frame)
    write_heatmap_picture(tmp_path / "picture.tif", heatmap, bounds=bounds, **frame)
    with openslide.OpenSlide(tmp_path / "picture.tif") as picture:
        cell = float(picture.properties["openslide.mpp-x"]) / 0.5
        width, height = picture.dimensions
        pixels = np.asarray(picture.read_region((0, 0), 0, picture.dimensions))
    assert (width * cell, height * cell) == (2048, 1536)
    y, x = np.nonzero((pixels[..., :3] != 255).any(axis=2))
    box = [x.min() * cell, y.min() * cell, (x.max() + 1) * cell, (y.max() + 1) * cell]
    assert box == pytest.approx([768, 512, 1024, 768])
    # The values lie on OpenSlide's level 0, as ASAP shows it.
    inside = (tile[0] + 128, tile[1] + 128)
    assert sample(tmp_path / "values.tif", (4096, 3072), 0.5, *inside) == 1
    outside = (tile[0] - 100, tile[1] + 128)
    assert sample(tmp_path / "values.tif", (4096, 3072), 0.5, *outside) == 0


def test_bounds_that_are_the_whole_slide_change_nothing(tmp_path):
    heatmap = Heatmap(np.ones((2, 3), np.float32), 100.0, (50, 0))
    frame = {"slide_size": (400, 300), "mpp": 0.5}
    write_heatmap_picture(tmp_path / "a.tif", heatmap, **frame)
    bounds = Box(0, 0, 400, 300)
    write_heatmap_picture(tmp_path / "b.tif", heatmap, bounds=bounds, **frame)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_cells_on_the_grid_are_written_once_each(tmp_path):
    heatmap = Heatmap(np.array([[0.25, np.nan]], np.float32), 100.0, (100, 0))
    write_heatmap(tmp_path / "a.tif", heatmap, slide_size=(350, 100), mpp=0.5)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].dtype == np.float32
        assert file.pages[0].is_tiled
        np.testing.assert_array_equal(file.asarray(), [[0, 0.25, 0, 0]])


def test_a_large_file_has_a_pyramid(tmp_path):
    heatmap = Heatmap(np.ones((600, 700), np.float32), 10.0)
    write_heatmap(tmp_path / "a.tif", heatmap, slide_size=(7000, 6000), mpp=0.5)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        shapes = [page.shape for page in file.pages]
    assert shapes[0] == (600, 700)
    assert len(shapes) == 3
    # A slide smaller than a cell has one.
    write_heatmap(tmp_path / "a.tif", heatmap, slide_size=(1, 1), mpp=0.5)
    assert tifffile.imread(tmp_path / "a.tif").shape == (1, 1)


@pytest.mark.parametrize("name", ["a.gif", "a"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.jpeg, \.jpg, \.png, got"):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_openslide_tells_the_place_of_a_heatmap_but_reads_no_floats(tmp_path):
    """Why `write_heatmap_picture` is there; it may go when OpenSlide can."""
    heatmap = Heatmap(np.float32([[0.5]]), 100.0)
    write_heatmap(tmp_path / "h.tif", heatmap, slide_size=(300, 200), mpp=0.5)
    with openslide.OpenSlide(tmp_path / "h.tif") as slide:
        assert slide.dimensions == (3, 2)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(50)
        with pytest.raises(openslide.OpenSlideError, match="32-bit"):
            slide.read_region((0, 0), 0, (1, 1))


def test_openslide_reads_the_picture_of_a_heatmap(tmp_path):
    values = np.float32([[0.0, np.nan], [0.5, 1.0]])
    heatmap = Heatmap(values, 100.0, (100, 0))
    write_heatmap_picture(tmp_path / "h.tif", heatmap, slide_size=(300, 200), mpp=0.5)
    expected = np.full((2, 3, 3), 255, np.uint8)
    expected[:, 1:] = colourise(values)
    with openslide.OpenSlide(tmp_path / "h.tif") as slide:
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(50)
        read = np.asarray(slide.read_region((0, 0), 0, (3, 2)))[..., :3]
    np.testing.assert_array_equal(read, expected)
