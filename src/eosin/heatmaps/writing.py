"""Writing heatmaps and pictures."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from eosin.core import atomic_path
from eosin.heatmaps.rasters import Heatmap
from eosin.slides import write_pyramid


def write_image(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write a picture, `(height, width, 3)` RGB, as JPEG or PNG by its suffix.

    Raises:
        RunError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, quality=88)


def write_heatmap(
    path: Path,
    heatmap: Heatmap,
    *,
    slide_size: tuple[int, int],
    mpp: float,
) -> None:
    """Write a heatmap as a tiled pyramidal TIFF of float32 probabilities.

    The raster begins at the slide's corner, so that a viewer lays it on the slide
    by its resolution alone. Where no tile was, the value is 0: NaN would spread
    over the smaller levels of the pyramid, and viewers do not show it.

    Args:
        path: Where to write.
        heatmap: Probabilities.
        slide_size: (width, height) of level 0.
        mpp: Micrometres per level-0 pixel.

    Raises:
        RunError: The file cannot be written.
    """
    cell = heatmap.cell_px0
    columns = max(1, int(np.ceil(slide_size[0] / cell)))
    rows = max(1, int(np.ceil(slide_size[1] / cell)))
    raster = np.zeros((rows, columns), np.float32)
    # The grid may begin off the slide's corner; each cell of the file takes the
    # value at its own centre.
    x = np.floor(((np.arange(columns) + 0.5) * cell - heatmap.origin_px0[0]) / cell)
    y = np.floor(((np.arange(rows) + 0.5) * cell - heatmap.origin_px0[1]) / cell)
    height, width = heatmap.values.shape
    in_x, in_y = (x >= 0) & (x < width), (y >= 0) & (y < height)
    inner = heatmap.values[np.ix_(y[in_y].astype(int), x[in_x].astype(int))]
    raster[np.ix_(in_y, in_x)] = np.nan_to_num(inner)
    write_pyramid(
        path,
        raster,
        mpp=mpp * cell,
        compression="zlib",
        description="eosin probability heatmap, 0 to 1",
    )
