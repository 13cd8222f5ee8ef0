"""DICOM whole slide images read natively, from one file or many."""

from pathlib import Path

from eosin.core import SlideError
from eosin.slides.dicom_frames import unwrap
from eosin.slides.dicom_index import read_dicom_index, read_image
from eosin.slides.tile_codecs import Pixels
from eosin.slides.tiled_reader import TiledSlide, TileIndex

# A label or an overview has some millions; a damaged header must not ask for more
# than this.
_MAX_PICTURE_PIXELS = 100_000_000


class _DICOMTiles(TiledSlide):
    """Grids of tiles that lie in items."""

    reader = "native"

    def read_native(self, level: int, column: int, row: int) -> bytes:
        data = super().read_native(level, column, row)
        if not data or not self.grids[level].is_wrapped:
            return data
        try:
            return unwrap(data)
        except ValueError as error:
            raise self._damaged(level, column, row, str(error)) from error


class DICOMSlide(_DICOMTiles):
    """A DICOM slide, read from all files of its series.

    `path` is one of the files, whose folder is searched for the others; or a folder
    that holds the files of one slide.
    """

    def __init__(self, path: str | Path, *, mpp: float | None = None) -> None:
        super().__init__(Path(path), read_dicom_index(Path(path), mpp))

    def _read_associated(self, name: str) -> Pixels:
        # It is made of tiles, like a level.
        image = read_image(self._associated[name])
        index = TileIndex(grids=(image.grid,), sources=image.sources, vendor="dicom")
        with _DICOMTiles(self.path, index) as picture:
            width, height = picture.dimensions
            if width * height > _MAX_PICTURE_PIXELS:
                raise SlideError(f"it would have {width} x {height} px")
            return picture.read(0, 0, width, height)
