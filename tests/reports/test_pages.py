import jinja2
import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from matplotlib.figure import Figure
from PIL import Image

from eosin.core import RunError
from eosin.reports.galleries import Gallery, GalleryTile
from eosin.reports.pages import FigureSlot, render_page, write_galleries, write_slots


@pytest.fixture
def slot():
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [0, 1])
    numbers = pd.DataFrame({"x": [0, 1]})
    return FigureSlot("line", "A <line>", "Words.", figure, numbers)


def make_gallery(name, n_tiles):
    tiles = tuple(
        GalleryTile(f"t{i}", f"P = 0.{i}", np.full((16, 16, 3), 40 * i, np.uint8))
        for i in range(n_tiles)
    )
    return Gallery(name, "Tiles", "Text.", (tiles[:1], tiles[1:]))


def test_figures_become_pictures_with_their_numbers_beside(slot, tmp_path):
    bare = FigureSlot("bare", "", "", slot.figure)
    write_slots(tmp_path, [slot, bare])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bare.png",
        "line.csv",
        "line.png",
    ]
    with Image.open(tmp_path / "line.png") as image:
        assert image.width > image.height > 50
    assert pd.read_csv(tmp_path / "line.csv").x.tolist() == [0, 1]


def test_galleries_become_sheets_that_name_their_tiles(tmp_path):
    write_galleries(tmp_path, [make_gallery("best", 3), make_gallery("none", 0)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.csv", "best.png"]
    table = pd.read_csv(tmp_path / "best.csv")
    assert table.group.tolist() == [0, 1, 1]
    assert table.tile_id.tolist() == ["t0", "t1", "t2"]
    assert table.caption[1] == "P = 0.1"


def test_a_drawing_stands_in_a_page_as_it_is(slot):
    assert str(escape(slot.svg)).lstrip().startswith("<svg")


def test_a_value_that_a_page_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        render_page("exploration.html.j2")


def test_a_folder_that_cannot_be_written_is_named(slot, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="file"):
        write_slots(tmp_path / "file", [slot])
