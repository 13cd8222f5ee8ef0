"""Writing heatmaps and pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from eosin.core import Box, atomic_path
from eosin.heatmaps.colours import colourise
from eosin.heatmaps.rasters import MAX_CELLS, Heatmap
from eosin.slides import write_pyramid

_MAX_PARTS = 8
_IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")


def write_image(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write a picture, `(height, width, 3)` RGB, as JPEG or PNG by its suffix.

    Raises:
        ValueError: The suffix is another one.
        RunError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _IMAGE_SUFFIXES:
        raise ValueError(
            f"{path}: a picture's name must end in {', '.join(_IMAGE_SUFFIXES)}, "
            f"got {path.suffix or 'no suffix'}"
        )
    with atomic_path(path) as temporary:
        # Colour at full resolution: thin coloured lines and text would blur.
        Image.fromarray(image).save(temporary, quality=90, subsampling=0)


def write_heatmap(
    path: Path,
    heatmap: Heatmap,
    *,
    slide_size: tuple[int, int],
    mpp: float,
    quantity: str = "probability",
) -> None:
    """Write a heatmap as a tiled pyramidal TIFF of float32 values.

    The raster begins at the corner of level 0, as OpenSlide and ASAP count, so that a
    viewer lays it on the slide by its resolution alone; where the heatmap's cells begin
    elsewhere, the file's are a part of theirs. Where no tile was, the value is 0: NaN
    would spread over the smaller levels of the pyramid, and most viewers show it as
    black anyway.

    OpenSlide reads no 32-bit pixels; `write_heatmap_picture` is for its users.

    Args:
        path: Where to write.
        heatmap: Values of 0 to 1.
        slide_size: (width, height) of level 0.
        mpp: Micrometres per level-0 pixel.
        quantity: What the values are, in ASCII; it stands in the file.

    Raises:
        RunError: The file cannot be written.
    """
    values, cell = _fit_slide(heatmap, slide_size)
    write_pyramid(
        path,
        np.nan_to_num(values),
        mpp=mpp * cell,
        compression="zlib",
        description=f"eosin {quantity} heatmap, 0 to 1",
    )


def write_heatmap_picture(
    path: Path,
    heatmap: Heatmap,
    *,
    slide_size: tuple[int, int],
    mpp: float,
    bounds: Box | None = None,
) -> None:
    """Write a heatmap's colours, as `write_heatmap` does, for QuPath to show.

    QuPath shows of a slide its scanned `bounds`, if it has any, and counts from their
    corner; the picture begins and ends with them. White is where no tile was.
    """
    description = "eosin heatmap, colours of probabilities 0 to 1"
    if bounds is not None and bounds != Box(0, 0, *slide_size):
        x, y = heatmap.origin_px0
        heatmap = replace(heatmap, origin_px0=(x - bounds.x_px0, y - bounds.y_px0))
        slide_size = (bounds.width_px0, bounds.height_px0)
        description += (
            f", of the scanned part that begins at {bounds.x_px0}, {bounds.y_px0}"
        )
    values, cell = _fit_slide(heatmap, slide_size)
    write_pyramid(
        path,
        colourise(values),
        mpp=mpp * cell,
        compression="zlib",
        description=description,
    )


def _fit_slide(
    heatmap: Heatmap, slide_size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], float]:
    """Lay a heatmap on cells from (0, 0) over the slide; return them and their side."""
    cell = heatmap.cell_px0 / _count_parts(heatmap, slide_size)
    columns = max(1, int(np.ceil(slide_size[0] / cell)))
    rows = max(1, int(np.ceil(slide_size[1] / cell)))
    # Each of the file's cells takes the value at its own centre.
    x0, y0 = heatmap.origin_px0
    x = np.floor(((np.arange(columns) + 0.5) * cell - x0) / heatmap.cell_px0)
    y = np.floor(((np.arange(rows) + 0.5) * cell - y0) / heatmap.cell_px0)
    height, width = heatmap.values.shape
    in_x, in_y = (x >= 0) & (x < width), (y >= 0) & (y < height)
    raster = np.full((rows, columns), np.nan, np.float32)
    cells = np.ix_(y[in_y].astype(int), x[in_x].astype(int))
    raster[np.ix_(in_y, in_x)] = heatmap.values[cells]
    return raster, cell


def _count_parts(heatmap: Heatmap, slide_size: tuple[int, int]) -> int:
    """Count the parts of a cell that make its edges fall on a grid from (0, 0)."""
    cell = heatmap.cell_px0
    n_cells = slide_size[0] / cell * (slide_size[1] / cell)
    highest = int(np.clip(np.sqrt(MAX_CELLS / n_cells), 1, _MAX_PARTS))
    for parts in range(1, highest):
        offsets = [origin / cell * parts for origin in heatmap.origin_px0]
        if all(abs(offset - round(offset)) < 1e-6 for offset in offsets):
            return parts
    return highest
