import numpy as np
import pandas as pd
from PIL import Image

from eosin.reports import GalleryTile
from eosin.slides import open_slide, write_pyramid
from eosin.workflows.mil_gallery import find_gallery, write_gallery, write_sheet
from eosin.workflows.mil_heatmaps import SlideAttention, rank_attention


def test_tiles_stand_in_the_order_of_their_attention(tmp_path):
    image = np.full((64, 256, 3), 255, np.uint8)
    for index, colour in enumerate(((200, 0, 0), (0, 200, 0), (0, 0, 200))):
        image[:, 64 * index : 64 * (index + 1)] = colour
    path = tmp_path / "s.tif"
    write_pyramid(path, image, mpp=1.0, compression="zlib")
    times = np.array([0.3, 0.6, 2.1])
    tiles = pd.DataFrame({"x_px0": [0, 64, 128], "y_px0": 0, "size_px0": 64})
    found = SlideAttention(tiles, times, rank_attention(times))
    with open_slide(path) as slide:
        words = write_gallery(tmp_path, slide, found, slide_id="s", n_tiles=2)
    assert words == ["2.1", "0.6"]
    assert find_gallery(tmp_path, "s").name == "s.gallery.png"
    sheet = np.asarray(Image.open(find_gallery(tmp_path, "s")))
    # Tiles of 128 px with 6 px between them.
    assert sheet.shape == (140, 274, 3)
    assert sheet[70, 70].tolist() == [0, 0, 200]
    assert sheet[70, 204].tolist() == [0, 200, 0]


def test_a_sheet_shows_tiles_of_any_size_side_by_side(tmp_path):
    small, large = (np.full((side, side, 3), side, np.uint8) for side in (32, 200))
    write_sheet(tmp_path, "a bag", [GalleryTile("", "", p) for p in (small, large)])
    sheet = np.asarray(Image.open(find_gallery(tmp_path, "a bag")))
    assert sheet.shape == (140, 274, 3)
    assert sheet[70, 70].tolist() == [32] * 3
    assert sheet[70, 204].tolist() == [200] * 3
