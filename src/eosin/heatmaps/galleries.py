"""Tiles beside each other, in a page and as a picture of its own."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from eosin.core import SlideError, to_file_name
from eosin.tiles import TileFolder, TileReader, read_tile_settings

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

# Patches whose label is that of their central square alone.
_CENTRE_LAYOUTS = ("kaggle", "pcam")
_CENTRE_PX, _CENTRE_TILE_PX = 32, 96

_THUMBNAIL_PX = 108
_GAP_PX = 6
_COLUMNS = 12


@dataclass(frozen=True, eq=False)
class GalleryTile:
    """One tile in a gallery.

    Attributes:
        tile_id: Its name in the tile table.
        caption: A few words below it; may be empty.
        pixels: `(height, width, 3)`, RGB.
    """

    tile_id: str
    caption: str
    pixels: Pixels


@dataclass(frozen=True, eq=False)
class Gallery:
    """Tiles that are shown together.

    Attributes:
        name: File name of its picture, without suffix.
        title: Heading.
        text: What is shown, and how many there are of it.
        groups: The tiles; those of one group stand in one frame.
        mark_px: Side of the central square that is marked, in the tile's own pixels;
            0 marks none.
        side_px: Side of a tile as shown.
    """

    name: str
    title: str
    text: str
    groups: tuple[tuple[GalleryTile, ...], ...]
    mark_px: int = 0
    side_px: int = _THUMBNAIL_PX

    @property
    def tiles(self) -> tuple[GalleryTile, ...]:
        """All tiles, group by group."""
        return tuple(tile for group in self.groups for tile in group)


class GalleryMaker:
    """Reads tiles, of these names, and puts them into galleries.

    `mark_px` is the side of the central square that is marked; 0 marks none.
    """

    def __init__(
        self, reader: TileReader, tile_ids: Sequence[str], mark_px: int
    ) -> None:
        self._reader, self._names, self._mark_px = reader, tile_ids, mark_px

    def make(
        self,
        name: str,
        title: str,
        text: str,
        groups: Sequence[Rows],
        *,
        captions: Mapping[int, str] | None = None,
        side_px: int = _THUMBNAIL_PX,
    ) -> Gallery:
        """Make a gallery of rows of the reader; tiles that cannot be read are left out.

        `captions` are a few words by row; what file names cannot hold is replaced in
        `name`, and all else is as for `Gallery`.
        """
        shown = []
        for group in groups:
            tiles = []
            for row in group.tolist():
                try:
                    pixels = self._reader.read(np.array([row]))[0]
                except SlideError:
                    continue
                caption = (captions or {}).get(row, "")
                tiles.append(GalleryTile(self._names[row], caption, pixels))
            if tiles:
                shown.append(tuple(tiles))
        return Gallery(
            to_file_name(name), title, text, tuple(shown), self._mark_px, side_px
        )


def choose_mark(folder: TileFolder, mark_px: int | None) -> int:
    """Choose the side of the central square that is marked, in a tile's own pixels.

    It is what was asked for; None decides by where the tiles are from.
    """
    if mark_px is not None:
        return mark_px
    is_centre = read_tile_settings(folder.path).get("layout") in _CENTRE_LAYOUTS
    return _CENTRE_PX if is_centre and folder.info.tile_px == _CENTRE_TILE_PX else 0


def make_thumbnail(
    pixels: Pixels, mark_px: int = 0, side_px: int = _THUMBNAIL_PX
) -> Pixels:
    """Bring a tile, `(side, side, 3)`, to `side_px`, with its centre marked if asked.

    `mark_px` is the side of the central square in the tile's own pixels; 0 marks none.
    """
    side = pixels.shape[0]
    way = cv2.INTER_AREA if side > side_px else cv2.INTER_LINEAR
    small = cv2.resize(pixels, (side_px, side_px), interpolation=way)
    if mark_px:
        half = mark_px * side_px / side / 2
        low = round(side_px / 2 - half)
        high = round(side_px / 2 + half) - 1
        # White on black, so that it is seen on any tissue.
        for grow, grey in ((1, 0), (0, 255)):
            corners = (low - grow, low - grow), (high + grow, high + grow)
            cv2.rectangle(small, *corners, color=(grey, grey, grey), thickness=1)
    return np.asarray(small, np.uint8)


def embed_thumbnail(
    tile: GalleryTile, mark_px: int = 0, side_px: int = _THUMBNAIL_PX
) -> str:
    """Return a tile's thumbnail as a data address."""
    buffer = io.BytesIO()
    picture = Image.fromarray(make_thumbnail(tile.pixels, mark_px, side_px))
    picture.save(buffer, format="JPEG", quality=85, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def draw_sheet(gallery: Gallery) -> Pixels:
    """Draw a gallery on white, a new line for each group that has no room.

    Returns:
        `(height, width, 3)`, RGB.
    """
    side = gallery.side_px
    step = side + _GAP_PX
    # Numbers of the places, line by line.
    places: list[int] = []
    for group in gallery.groups:
        start = places[-1] + 1 if places else 0
        if start % _COLUMNS + len(group) > _COLUMNS:
            start = -(-start // _COLUMNS) * _COLUMNS
        places += range(start, start + len(group))
    lines, columns = np.divmod(np.array(places or [0]), _COLUMNS)
    height, width = (_GAP_PX + (1 + n.max()) * step for n in (lines, columns))
    sheet = np.full((height, width, 3), 255, "u1")
    for tile, line, column in zip(gallery.tiles, lines, columns, strict=False):
        y, x = _GAP_PX + line * step, _GAP_PX + column * step
        thumbnail = make_thumbnail(tile.pixels, gallery.mark_px, side)
        sheet[y : y + side, x : x + side] = thumbnail
    return sheet
