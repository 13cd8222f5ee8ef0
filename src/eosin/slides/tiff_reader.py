"""Tiled TIFF slides read natively: Aperio SVS, generic tiled TIFF, OME-TIFF."""

from pathlib import Path

import tifffile

from eosin.slides.tiff_index import open_source, read_tiff_index
from eosin.slides.tile_codecs import Pixels, flatten_onto_white
from eosin.slides.tiled_reader import TiledSlide


class TIFFSlide(TiledSlide):
    """A slide of the tiled TIFF family, local or behind a URL that fsspec knows.

    Where another reader must serve it, it raises `NotTiledError`.
    """

    reader = "native"

    def __init__(self, path: str | Path, *, mpp: float | None = None) -> None:
        self._location = path
        source, opened = open_source(path)
        super().__init__(Path(path), read_tiff_index(source, opened, mpp))

    def _read_associated(self, name: str) -> Pixels:
        _, opened = open_source(self._location)
        with tifffile.TiffFile(opened) as file:
            image: Pixels = file.pages[self._associated[name]].asarray()
        return flatten_onto_white(image) if image.shape[-1] == 4 else image
