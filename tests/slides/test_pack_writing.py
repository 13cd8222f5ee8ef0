import numpy as np

from eosin.slides import PackWriter, describe_slide, find_cells, open_slide
from eosin.slides import pack_writing as module


def test_the_tiles_under_the_boxes_and_all_coarser_ones_are_found(make_tiled):
    # 900 x 700 px in tiles of 256: 3 rows of 4, and one tile of level 1.
    with open_slide(make_tiled("svs-jpeg")) as slide:
        cells = find_cells(slide, np.array([(10, 10, 200, 200)]), 200)
        assert cells[0].tolist() == [[True] + [False] * 3] + [[False] * 4] * 2
        assert cells[1].tolist() == [[True]]
        # A box on a border takes the neighbours too, as places are rounded.
        cells = find_cells(slide, np.array([(256, 256, 256, 256)]), 256)
        assert cells[0].sum() == 9
        # Asked for at level 1, level 0 is not needed.
        assert list(find_cells(slide, np.array([(0, 0, 800, 800)]), 200)) == [1]
        assert list(find_cells(slide, np.empty((0, 4), np.int64), 256)) == [0, 1]


def test_many_batches_are_written(make_tiled, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BATCH_BYTES", 1)
    with open_slide(make_tiled("lzw")) as slide:
        told = {"a": describe_slide(slide)}
        with PackWriter(tmp_path / "a.arrow", told, "x") as writer:
            n_tiles = writer.write(
                "a", slide, find_cells(slide, np.array([(0, 0, 900, 700)]), 700)
            )
    assert n_tiles == 13
