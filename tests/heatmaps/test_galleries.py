import base64
import io

import numpy as np
from PIL import Image

from eosin.heatmaps.galleries import (
    Gallery,
    GalleryTile,
    draw_sheet,
    embed_thumbnail,
    make_thumbnail,
)


def make_tile(grey, side=96):
    return GalleryTile(f"t{grey}", "", np.full((side, side, 3), grey, np.uint8))


def test_the_central_square_is_framed_and_its_inside_left_alone():
    small = make_thumbnail(make_tile(128).pixels, mark_px=32)
    assert small.shape == (108, 108, 3)
    # 32 of 96 px are 36 of 108, from 36 to 72.
    line = small[54, :, 0].tolist()
    assert line[:35] == [128] * 35
    assert line[35:37] == [0, 255]
    assert line[37:71] == [128] * 34
    assert line[71:73] == [255, 0]
    assert line[73:] == [128] * 35


def test_tiles_of_any_size_fit_and_stay_as_they_are():
    for side in (16, 108, 300):
        tile = make_tile(77, side)
        assert (make_thumbnail(tile.pixels, mark_px=8).shape) == (108, 108, 3)
        assert (tile.pixels == 77).all()


def test_a_thumbnail_is_a_picture_in_the_page():
    head, data = embed_thumbnail(make_tile(90)).split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (108, 108)
        assert abs(image.getpixel((5, 5))[0] - 90) <= 2


def test_a_sheet_keeps_groups_together():
    tiles = [make_tile(10 * i) for i in range(1, 15)]
    groups = (tuple(tiles[:11]), tuple(tiles[11:]))
    gallery = Gallery("name", "Title", "Text", groups)
    assert gallery.tiles == tuple(tiles)
    sheet = draw_sheet(gallery)
    # Eleven and three do not fit beside each other.
    assert sheet.shape == (6 + 2 * 114, 6 + 11 * 114, 3)
    assert sheet[60, 60, 0] == 10
    assert sheet[60 + 114, 60, 0] == 120
    assert sheet[60 + 114, 60 + 3 * 114, 0] == 255
    # A long group takes several lines, and the next one goes on where it has room.
    groups = (tuple(tiles[:13]), tuple(tiles[13:]))
    sheet = draw_sheet(Gallery("n", "", "", groups))
    assert sheet.shape == (6 + 2 * 114, 6 + 12 * 114, 3)
    assert sheet[60 + 114, [60, 60 + 114, 60 + 2 * 114], 0].tolist() == [130, 140, 255]
