from pathlib import Path

import numpy as np
import pytest
import shapely

from eosin.core import Box
from eosin.heatmaps import Heatmap, picture_slide, rasterise_tiles
from eosin.heatmaps.canvas import SlideCanvas, iter_rings
from eosin.slides import Level, Resolution, Slide, open_slide, write_pyramid

RED = (255, 0, 0)


class FlatSlide(Slide):
    """A slide of one colour, in memory."""

    def __init__(self):
        self.path = Path("flat.tif")
        self.levels = (Level(3000, 1500, 1.0),)
        self.bounds = Box(0, 0, 3000, 1500)
        self.resolution = Resolution(0.5, "made")

    def close(self):
        pass

    def _read_level(self, level, x_px0, y_px0, width_px, height_px):
        del level, x_px0, y_px0
        return np.full((height_px, width_px, 3), 99, np.uint8)


def changed(canvas, picture):
    return (canvas.image != picture.image).any(axis=2)


def find_reds(canvas):
    """Red is red where green is not; white is all three."""
    return canvas.image[..., 1] < 100


def bounds_of(mask):
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_a_picture_tells_the_slides_size_and_resolution():
    picture = picture_slide(FlatSlide(), title="S1", max_px=300)
    assert picture.image.shape == (150, 300, 3)
    assert (picture.slide_size, picture.mpp, picture.title) == ((3000, 1500), 0.5, "S1")


def test_a_picture_at_hand_spares_reading_where_it_is_large_enough(monkeypatch):
    slide = FlatSlide()
    small = picture_slide(
        slide, title="S1", max_px=800, image=np.zeros((150, 300, 3), np.uint8)
    )
    # 3,000 px at a quarter, where 800 px and less are allowed.
    assert small.image.shape == (375, 750, 3)
    monkeypatch.setattr(FlatSlide, "read_image", None)
    for side, shown in ((450, (225, 450)), (1500, (400, 800))):
        image = np.zeros((side // 2, side, 3), np.uint8)
        made = picture_slide(slide, title="S1", max_px=800, image=image)
        assert made.image.shape == (*shown, 3)


def test_the_picture_itself_is_not_drawn_on(picture):
    canvas = SlideCanvas(picture)
    canvas.draw_outline(shapely.box(0, 0, 4000, 2000), RED)
    assert (picture.image == 230).all()
    assert changed(canvas, picture).any()


def test_an_outline_lies_on_its_places_with_its_hole_and_a_halo(picture):
    canvas = SlideCanvas(picture)
    hole = shapely.box(3000, 1500, 5000, 2500)
    canvas.draw_outline(shapely.box(1000, 500, 7000, 3500) - hole, RED)
    drawn = find_reds(canvas)
    assert bounds_of(drawn) == pytest.approx((99, 49, 701, 351), abs=1.5)
    inner = bounds_of(drawn[120:280, 220:580])
    assert inner == pytest.approx((79, 29, 281, 131), abs=1.5)
    assert not drawn[200, 400]
    assert not drawn[100, 200]
    across = canvas.image[200, 90:110].astype(int)
    reds = np.flatnonzero(drawn[200, 90:110])
    whites = np.flatnonzero(across.min(axis=1) > 245)
    assert whites.min() < reds.min()
    assert whites.max() > reds.max()


def test_rings_are_found_in_every_kind_of_area():
    square = shapely.box(0, 0, 1, 1)
    ring = shapely.box(4, 4, 9, 9) - shapely.box(5, 5, 6, 6)
    both = shapely.MultiPolygon([square, ring])
    mixed = shapely.GeometryCollection([both, shapely.LineString([(0, 0), (1, 1)])])
    assert len(list(iter_rings(square))) == 1
    assert len(list(iter_rings(both))) == 3
    assert len(list(iter_rings(mixed))) == 3
    assert list(iter_rings(shapely.Polygon())) == []


def test_a_heatmaps_cells_lie_where_their_tiles_were(picture):
    x, y = np.array([1000, 3000]), np.array([500, 1500])
    heatmap = rasterise_tiles(x, y, 1000, np.array([0.2, 0.9]))
    canvas = SlideCanvas(picture)
    colours = np.zeros((*heatmap.values.shape, 3), np.uint8)
    strength = np.isfinite(heatmap.values).astype(np.float32)
    canvas.blend_heatmap(heatmap, colours, strength)
    expected = np.zeros((400, 800), bool)
    expected[50:150, 100:200] = True
    expected[150:250, 300:400] = True
    np.testing.assert_array_equal(changed(canvas, picture), expected)
    assert (canvas.image[expected] == 0).all()


def test_blending_mixes_by_strength(picture):
    canvas = SlideCanvas(picture)
    heatmap = Heatmap(np.array([[1.0]], np.float32), 8000.0)
    colours = np.array([[[30, 130, 230]]], np.uint8)
    canvas.blend_heatmap(heatmap, colours, np.array([[0.25]], np.float32))
    np.testing.assert_array_equal(canvas.image[200, 400], [180, 205, 230])


def test_large_tiles_are_outlined_and_stay_clear(picture):
    canvas = SlideCanvas(picture)
    canvas.draw_tiles(np.array([[1000, 1000, 1000, 1000]]), RED)
    drawn = changed(canvas, picture)
    assert bounds_of(drawn) == (101, 101, 200, 200)
    inside, edge = canvas.image[150, 150], canvas.image[150, 101]
    assert 200 < inside[1] < 230
    assert edge[1] < 80


def test_small_tiles_are_filled(picture):
    canvas = SlideCanvas(picture)
    boxes = np.array([[x, 0, 50, 50] for x in range(0, 500, 50)])
    canvas.draw_tiles(boxes, RED)
    assert 120 < canvas.image[2, 23][1] < 180
    canvas.draw_tiles(boxes[:0], RED)


def test_masks_span_the_whole_slide(picture):
    mask = np.zeros((40, 80), bool)
    mask[10:20, 40:60] = True
    canvas = SlideCanvas(picture)
    canvas.tint_mask(mask, RED, 0.5)
    assert bounds_of(changed(canvas, picture)) == (400, 100, 600, 200)
    outlined = SlideCanvas(picture)
    outlined.draw_mask_outline(mask, RED)
    drawn = changed(outlined, picture)
    assert bounds_of(drawn) == pytest.approx((400, 100, 600, 200), abs=2)
    assert not drawn[150, 500]


@pytest.mark.parametrize(
    ("mpp", "mm"), [(0.5, 1.0), (0.25, 0.5), (8.0, 10.0), (0.0001, 0.01)]
)
def test_the_scale_bar_is_round_and_true(picture, mpp, mm):
    canvas = SlideCanvas(type(picture)(picture.image, (8000, 4000), mpp, "S"))
    found, length = canvas.find_scale_bar()
    assert found == mm
    assert length == pytest.approx(mm * 1000 / mpp / 10, abs=0.5)


@pytest.mark.parametrize("max_px", [512, 500, 333])
def test_a_heatmap_lies_on_the_tissue_of_a_file(tmp_path, max_px):
    image = np.full((1536, 2048, 3), 255, np.uint8)
    x, y, size = np.array([224, 1344, 896]), np.array([448, 672, 1120]), 224
    for left, top in zip(x, y, strict=True):
        image[top : top + size, left : left + size] = 0
    write_pyramid(tmp_path / "s.tif", image, mpp=0.5, compression="zlib")
    with open_slide(tmp_path / "s.tif") as slide:
        shown = picture_slide(slide, title="s", max_px=max_px)
    heatmap = rasterise_tiles(x, y, size, np.ones(3))
    red = np.zeros((*heatmap.values.shape, 3), np.uint8)
    red[..., 0] = 255
    canvas = SlideCanvas(shown)
    canvas.blend_heatmap(heatmap, red, np.nan_to_num(heatmap.values))
    covered = (canvas.image == RED).all(axis=2)
    brightness = shown.image[..., 1]
    # Tissue is covered and glass is not; only pixels that an edge runs through,
    # which are grey, may go either way.
    assert covered[brightness < 64].all()
    assert not covered[brightness > 192].any()
