"""DICOM whole slide images read natively, from one file or many."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eosin.core import Box, SlideError
from eosin.slides.dicom_frames import unwrap
from eosin.slides.dicom_index import DICOMImage, read_dicom_index, read_image
from eosin.slides.resolution import Resolution
from eosin.slides.slide import Level
from eosin.slides.tiled_reader import TiledSlide

# A label or an overview has some millions; a damaged header must not ask for more
# than this.
_MAX_PICTURE_PIXELS = 100_000_000


class DICOMSlide(TiledSlide):
    """A DICOM slide, read from all files of its series.

    Args:
        path: One of the files, whose folder is searched for the others; or a folder
            that holds the files of one slide.
        mpp: Micrometres per level-0 pixel. None takes what the file says.

    Raises:
        SlideError: It is no DICOM slide, is damaged or incomplete, or is packed in a
            way that is not read here.
        ValueError: `mpp` is not a plausible resolution.
    """

    reader = "native"
    vendor = "dicom"

    def __init__(self, path: str | Path, *, mpp: float | None = None) -> None:
        self.path = Path(path)
        index = read_dicom_index(self.path, mpp)
        self.resolution = index.resolution
        self.properties = index.properties
        self._associated = index.associated
        self._set_images(index.levels)

    @property
    def associated_images(self) -> Mapping[str, npt.NDArray[np.uint8]]:  # noqa: D102
        images = {}
        for name, parts in self._associated.items():
            try:
                with _DICOMPicture(self.path, read_image(parts)) as picture:
                    images[name] = picture.read_whole()
            except SlideError as error:
                raise SlideError(
                    f"{self.path.name}: its image '{name}' cannot be read ({error}); "
                    "the file is damaged there"
                ) from error
        return images

    def read_native(self, level: int, column: int, row: int) -> bytes:  # noqa: D102
        data = super().read_native(level, column, row)
        if not data or not self._is_wrapped[level]:
            return data
        try:
            return unwrap(data)
        except ValueError as error:
            raise self._damaged(level, column, row, str(error)) from error

    def _set_images(self, images: tuple[DICOMImage, ...]) -> None:
        width, height = images[0].grid.width_px, images[0].grid.height_px
        self.bounds = Box(0, 0, width, height)
        self.levels = tuple(
            Level(
                image.grid.width_px,
                image.grid.height_px,
                (width / image.grid.width_px + height / image.grid.height_px) / 2,
            )
            for image in images
        )
        self._is_wrapped = tuple(image.is_wrapped for image in images)
        self._set_grids(
            [image.grid for image in images],
            [source for image in images for source in image.sources],
        )


class _DICOMPicture(DICOMSlide):
    """An image beside the pyramid, which is made of tiles like a level."""

    def __init__(self, path: Path, image: DICOMImage) -> None:
        self.path = path
        self.resolution = Resolution(None, "none")
        self.properties = {}
        self._associated = {}
        self._set_images((image,))

    def read_whole(self) -> npt.NDArray[np.uint8]:
        """Read it as it is."""
        width, height = self.dimensions
        if width * height > _MAX_PICTURE_PIXELS:
            raise SlideError(f"it would have {width} x {height} px")
        return self.read(0, 0, width, height)
