"""Tiled TIFF slides read natively: Aperio SVS, generic tiled TIFF, OME-TIFF."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from eosin.core import Box, SlideError
from eosin.slides.slide import Level
from eosin.slides.tiff_index import open_source, read_tiff_index
from eosin.slides.tile_codecs import flatten_onto_white
from eosin.slides.tiled_reader import TiledSlide


class TIFFSlide(TiledSlide):
    """A slide of the tiled TIFF family, local or behind a URL.

    Args:
        path: The file, or a URL that fsspec knows.
        mpp: Micrometres per level-0 pixel. None takes what the file says.

    Raises:
        NotTiledError: Another reader must serve this TIFF.
        SlideError: It is missing or damaged.
        ValueError: `mpp` is not a plausible resolution.
    """

    reader = "native"

    def __init__(self, path: str | Path, *, mpp: float | None = None) -> None:
        self.path = Path(path)
        self._location = path
        source, opened = open_source(path)
        index = read_tiff_index(source, opened, mpp)
        self.vendor = index.vendor
        self.resolution = index.resolution
        self.properties = index.properties
        self._associated = index.associated
        width, height = index.grids[0].width_px, index.grids[0].height_px
        self.bounds = Box(0, 0, width, height)
        self.levels = tuple(
            Level(
                grid.width_px,
                grid.height_px,
                (width / grid.width_px + height / grid.height_px) / 2,
            )
            for grid in index.grids
        )
        self._set_grids(index.grids, (source,))

    @property
    def associated_images(self) -> Mapping[str, npt.NDArray[np.uint8]]:  # noqa: D102
        _, opened = open_source(self._location)
        images = {}
        with tifffile.TiffFile(opened) as file:
            for name, number in self._associated.items():
                try:
                    image = file.pages[number].asarray()
                except Exception as error:
                    raise SlideError(
                        f"{self.path.name}: its image '{name}' cannot be read "
                        f"({error}); the file is damaged there"
                    ) from error
                images[name] = (
                    flatten_onto_white(image) if image.shape[-1] == 4 else image
                )
        return images
