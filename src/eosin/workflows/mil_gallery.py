"""The tiles that a MIL model attended to most, as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import to_file_name
from eosin.heatmaps import write_image
from eosin.reports import Gallery, GalleryTile, draw_sheet
from eosin.slides import Slide
from eosin.tiles import find_boxes
from eosin.workflows.mil_heatmaps import SlideAttention, list_most_attended

_SIDE_PX = 128
_SUFFIX = ".gallery.png"


def write_gallery(
    out: Path, slide: Slide, found: SlideAttention, *, slide_id: str, n_tiles: int
) -> list[str]:
    """Write a slide's most attended tiles as one picture, the most attended first.

    Tiles are read from the slide at their own places, as they lie there, whatever the
    encoder was shown around them.

    Args:
        out: The folder to write to.
        slide: The slide.
        found: Its attention.
        slide_id: The file is named after it.
        n_tiles: How many tiles are shown at most.

    Returns:
        A few words on each tile that is shown, in order.

    Raises:
        SlideError: The slide is damaged there.
        RunError: The file cannot be written.
    """
    rows = list_most_attended(found.times, n_tiles)
    pixels = _read_tiles(slide, found.tiles.iloc[rows])
    words = [_say(found, int(row)) for row in rows]
    tiles = [
        GalleryTile(f"{slide_id}, tile {row}", text, own)
        for row, text, own in zip(rows, words, pixels, strict=True)
    ]
    write_sheet(out, slide_id, tiles)
    return words


def write_sheet(out: Path, name: str, tiles: Sequence[GalleryTile]) -> None:
    """Write tiles side by side as the gallery of a slide or of a bag.

    Args:
        out: The folder to write to.
        name: The slide or the bag; the file is named after it.
        tiles: In the order to be shown.

    Raises:
        RunError: The file cannot be written.
    """
    gallery = Gallery("attended", name, "", (tuple(tiles),), side_px=_SIDE_PX)
    write_image(find_gallery(out, name), draw_sheet(gallery))


def find_gallery(out: Path, slide_id: str) -> Path:
    """Return where a slide's gallery is."""
    return out / (to_file_name(slide_id) + _SUFFIX)


def _read_tiles(slide: Slide, tiles: pd.DataFrame) -> npt.NDArray[np.uint8]:
    boxes = find_boxes(tiles)
    side = min(_SIDE_PX, int(boxes[:, 2].min()))
    out = np.empty((len(boxes), side, side, 3), np.uint8)
    slide.read_tiles(boxes, out)
    return out


def _say(found: SlideAttention, row: int) -> str:
    return f"{found.times[row]:.2g}"
