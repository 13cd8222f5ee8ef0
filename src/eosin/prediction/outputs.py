"""What a prediction writes of a slide: a class for each kind of file, in `OUTPUTS`."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from eosin import heatmaps
from eosin.annotations import Feature, write_geojson
from eosin.core import SlideError, to_file_name
from eosin.heatmaps import GalleryTile, SlidePicture, picture_slide
from eosin.prediction.maps import LaidLayer, TileValues, lay_layers
from eosin.prediction.sources import OpenSource
from eosin.tiles import find_boxes

_GALLERY_PX = 128


@dataclass(frozen=True, eq=False)
class Shown:
    """A slide or a bag as its files show it.

    Attributes:
        out: The folder of the files.
        source: The slide or the bag; the files are named after it.
        tiles: `x_px0`, `y_px0` and `size_px0` of those that a model scored.
        layers: What was found on it; none of what lies on no one slide.
        picture: To draw on; None leaves out what needs it.
        gallery: The pixels of its gallery's tiles.
    """

    out: Path
    source: OpenSource
    tiles: pd.DataFrame
    layers: Sequence[LaidLayer] = ()
    picture: SlidePicture | None = None
    gallery: Sequence[npt.NDArray[np.uint8]] = ()

    def find(self, suffix: str, layer: str = "") -> Path:
        """Return where one of the files lies."""
        return find_output(self.out, self.source.name, suffix, layer)

    def iter_rasters(self, suffix: str) -> Iterator[tuple[Path, LaidLayer, Any]]:
        """Yield each layer with its file and its frame, if the resolution is known."""
        place = self.source.place
        if place is not None and place.mpp is not None:
            frame = {"slide_size": place.dimensions, "mpp": place.mpp}
            for laid in self.layers:
                yield self.find(suffix, laid.layer.name), laid, frame


class Output(Protocol):
    """One kind of file."""

    suffix: str

    def write(self, shown: Shown) -> None:
        """Write it, where there is what it needs.

        Raises:
            RunError: It cannot be written.
        """


class Annotations:
    """Outlines and tiles for QuPath: a file for each `Layer.file`.

    It is empty where a slide has no layer.
    """

    suffix = ".geojson"

    def write(self, shown: Shown) -> None:
        """Write them, without areas where the resolution is not known."""
        if shown.source.place is None:
            return
        for file in dict.fromkeys(laid.layer.file for laid in shown.layers) or [""]:
            features = [
                feature
                for laid in shown.layers
                if laid.layer.file == file
                for feature in self._iter_features(laid, shown)
            ]
            bounds = shown.source.place.bounds
            path = shown.find(self.suffix, file)
            write_geojson(path, features, slide_bounds=bounds)

    def _iter_features(self, laid: LaidLayer, shown: Shown) -> Iterator[Feature]:
        layer, place = laid.layer, shown.source.place
        kind: dict[str, Any] = {"class_name": layer.class_name, "colour": layer.colour}
        for index, region in enumerate(laid.regions, 1):
            measurements = {
                f"Mean {layer.measured}": region.mean_probability,
                f"Max {layer.measured}": region.max_probability,
            }
            if place is not None and place.mpp is not None:
                measurements["Area mm^2"] = region.area_mm2
            name = layer.title.replace("{}", str(index))
            yield Feature(region.geometry, name=name, measurements=measurements, **kind)
        boxes = find_boxes(shown.tiles)
        for row in layer.objects:
            x, y, size, _ = boxes[row].tolist()
            values = {k: float(v[row]) for k, v in layer.measurements.items()}
            feature = Feature(
                shapely.box(x, y, x + size, y + size),
                object_type="tile",
                measurements=values,
                **kind,
            )
            is_over = layer.outlined[row] >= layer.threshold
            yield feature if is_over else replace(feature, class_name=None)


class Raster:
    """The values themselves, where the resolution is known: a file for each layer."""

    suffix = ".heatmap.tif"

    def write(self, shown: Shown) -> None:
        """Write them."""
        for path, laid, frame in shown.iter_rasters(self.suffix):
            words = laid.layer.raster
            heatmaps.write_heatmap(path, laid.heatmap, quantity=words, **frame)


class ColourRaster:
    """The values as pictures, for viewers that show no floating-point values."""

    suffix = ".heatmap-colour.tif"

    def write(self, shown: Shown) -> None:
        """Write them."""
        for path, laid, frame in shown.iter_rasters(self.suffix):
            heatmaps.write_heatmap_picture(path, laid.heatmap, **frame)


class Overlay:
    """The values on the slide's picture: a file for each layer."""

    suffix = ".overlay.jpg"

    def write(self, shown: Shown) -> None:
        """Write them."""
        for path, laid, _ in shown.iter_rasters(self.suffix):
            if shown.picture is not None:
                overlay = heatmaps.draw_overlay(
                    shown.picture,
                    laid.heatmap,
                    subtitle=laid.layer.subtitle,
                    threshold=laid.layer.mark,
                    regions=laid.regions,
                    words=laid.layer.overlay,
                )
                heatmaps.write_image(path, overlay)


class Gallery:
    """Tiles as pictures, side by side."""

    suffix = ".gallery.png"

    def write(self, shown: Shown) -> None:
        """Write one file."""
        if len(shown.gallery):
            tiles = tuple(GalleryTile("", "", pixels) for pixels in shown.gallery)
            sheet = heatmaps.Gallery("", "", "", (tiles,), side_px=_GALLERY_PX)
            heatmaps.write_image(shown.find(self.suffix), heatmaps.draw_sheet(sheet))


OUTPUTS: tuple[Output, ...] = (
    Annotations(),
    Raster(),
    ColourRaster(),
    Overlay(),
    Gallery(),
)
"""All that is written of a slide; those that do not apply write nothing."""


def find_output(out: Path, name: str, suffix: str, layer: str = "") -> Path:
    """Return where a file of a slide or a bag lies."""
    stem = f"{name}.{layer}" if layer else name
    return out / (to_file_name(stem) + suffix)


def remove_outputs(out: Path, name: str, layers: Collection[str] = ()) -> None:
    """Remove what was written of a slide or a bag before, of these layers too."""
    for output in OUTPUTS:
        for layer in ("", *layers):
            find_output(out, name, output.suffix, layer).unlink(missing_ok=True)


def write_outputs(
    out: Path, source: OpenSource, values: TileValues
) -> tuple[list[LaidLayer], str]:
    """Write all files of a slide or a bag; damage costs its pictures only.

    Without a slide there are no overlays, without an mpp neither rasters nor overlays,
    and of what lies on no one slide there is a gallery alone.

    Args:
        out: The folder to write to.
        source: The slide or the bag; the files are named after it.
        values: What was found.

    Returns:
        The layers as they lie, and why the slide cannot be read; empty where it can.

    Raises:
        RunError: A file cannot be written.
    """
    slide, place = source.slide, source.place
    layers = [] if place is None else lay_layers(values, place)
    shown, problem = Shown(out, source, values.tiles, layers), ""
    try:
        if slide is not None and place is not None and place.mpp is not None and layers:
            shown = replace(shown, picture=picture_slide(slide, title=source.name))
        shown = replace(shown, gallery=_read_gallery(source, values))
    except SlideError as error:
        shown, problem = replace(shown, picture=None), str(error)
    for output in OUTPUTS:
        output.write(shown)
    return layers, problem


def _read_gallery(
    source: OpenSource, values: TileValues
) -> Sequence[npt.NDArray[np.uint8]]:
    """Read tiles of a slide at their own places; those of a bag as they were shown."""
    tiles = values.tiles.iloc[list(values.captions)]
    if tiles.empty:
        return ()
    if source.slide is not None:
        boxes = find_boxes(tiles)
        side = min(_GALLERY_PX, int(boxes[:, 2].min()))
        pixels = np.empty((len(boxes), side, side, 3), np.uint8)
        source.slide.read_tiles(boxes, pixels)
        return pixels
    return () if source.read is None else source.read(tiles.index.to_numpy(np.int64))
