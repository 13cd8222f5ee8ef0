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
from eosin.heatmaps import GalleryTile, SlidePicture, draw_overlay, picture_slide
from eosin.prediction.maps import LaidLayer, Place, TileValues, lay_layers
from eosin.slides import Slide
from eosin.tiles import find_boxes

_GALLERY_PX = 128


@dataclass(frozen=True, eq=False)
class Shown:
    """A slide or a bag as its files show it.

    Attributes:
        out: The folder of the files.
        name: The slide or the bag; the files are named after it.
        tiles: `x_px0`, `y_px0` and `size_px0`.
        place: The slide's frame; None for what lies on no one slide.
        layers: What was found on it.
        picture: To draw on; None leaves out what needs it.
        gallery: The tiles of its gallery.
    """

    out: Path
    name: str
    tiles: pd.DataFrame
    place: Place | None = None
    layers: Sequence[LaidLayer] = ()
    picture: SlidePicture | None = None
    gallery: Sequence[GalleryTile] = ()

    def iter_rasters(self, suffix: str) -> Iterator[tuple[Path, LaidLayer, Any]]:
        """Yield each layer with its file and its frame, if the resolution is known."""
        if self.place is None or self.place.mpp is None:
            return
        frame = {"slide_size": self.place.dimensions, "mpp": self.place.mpp}
        for laid in self.layers:
            yield find_output(self.out, self.name, suffix, laid.layer.name), laid, frame


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
        if shown.place is None:
            return
        for file in dict.fromkeys(laid.layer.file for laid in shown.layers) or [""]:
            features = [
                feature
                for laid in shown.layers
                if laid.layer.file == file
                for feature in self._iter_features(laid, shown)
            ]
            path = find_output(shown.out, shown.name, self.suffix, file)
            write_geojson(path, features, slide_bounds=shown.place.bounds)

    def _iter_features(self, laid: LaidLayer, shown: Shown) -> Iterator[Feature]:
        layer = laid.layer
        own: dict[str, Any] = {"class_name": layer.class_name, "colour": layer.colour}
        for index, region in enumerate(laid.regions, 1):
            measurements = {
                f"Mean {layer.measured}": region.mean_probability,
                f"Max {layer.measured}": region.max_probability,
            }
            if shown.place is not None and shown.place.mpp is not None:
                measurements["Area mm^2"] = region.area_mm2
            yield Feature(
                region.geometry,
                name=layer.title.replace("{}", str(index)),
                measurements=measurements,
                **own,
            )
        boxes = shown.tiles[["x_px0", "y_px0", "size_px0"]].to_numpy(np.int64)
        for row in layer.objects:
            x, y, size = boxes[row].tolist()
            values = {k: float(v[row]) for k, v in layer.measurements.items()}
            feature = Feature(
                shapely.box(x, y, x + size, y + size),
                object_type="tile",
                measurements=values,
                **own,
            )
            is_over = layer.outlined[row] >= layer.threshold
            yield feature if is_over else replace(feature, class_name=None)


class Raster:
    """The values themselves, where the resolution is known."""

    suffix = ".heatmap.tif"

    def write(self, shown: Shown) -> None:
        """Write a file for each layer."""
        for path, laid, frame in shown.iter_rasters(self.suffix):
            words = laid.layer.raster
            heatmaps.write_heatmap(path, laid.heatmap, quantity=words, **frame)


class ColourRaster:
    """The values as a picture, for viewers that show no floating-point values."""

    suffix = ".heatmap-colour.tif"

    def write(self, shown: Shown) -> None:
        """Write a file for each layer."""
        for path, laid, frame in shown.iter_rasters(self.suffix):
            heatmaps.write_heatmap_picture(path, laid.heatmap, **frame)


class Overlay:
    """The values on the slide's picture."""

    suffix = ".overlay.jpg"

    def write(self, shown: Shown) -> None:
        """Write a file for each layer."""
        for path, laid, _ in shown.iter_rasters(self.suffix):
            if shown.picture is not None:
                heatmaps.write_image(path, draw_layer(shown.picture, laid))


class Gallery:
    """Tiles as pictures, side by side."""

    suffix = ".gallery.png"

    def write(self, shown: Shown) -> None:
        """Write one file."""
        if shown.gallery:
            tiles = (tuple(shown.gallery),)
            sheet = heatmaps.Gallery("", shown.name, "", tiles, side_px=_GALLERY_PX)
            path = find_output(shown.out, shown.name, self.suffix)
            heatmaps.write_image(path, heatmaps.draw_sheet(sheet))


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
    """Remove what was written of a slide or a bag before.

    Args:
        out: The folder of the files.
        name: The slide or the bag.
        layers: What its layers may be called, beside those without a name.
    """
    for output in OUTPUTS:
        for layer in ("", *layers):
            find_output(out, name, output.suffix, layer).unlink(missing_ok=True)


def write_outputs(
    out: Path, name: str, slide: Slide | None, place: Place, values: TileValues
) -> tuple[list[LaidLayer], str]:
    """Write all files of a slide; one that is damaged costs its pictures only.

    Args:
        out: The folder to write to.
        name: The files are named after it.
        slide: To draw on; None leaves out pictures.
        place: Its frame. Without an mpp there are neither rasters nor overlays.
        values: What was found.

    Returns:
        The layers as they lie, and why the slide cannot be read; empty where it can.

    Raises:
        RunError: A file cannot be written.
    """
    layers = lay_layers(values, place)
    shown, problem = Shown(out, name, values.tiles, place, layers), ""
    if slide is not None and layers:
        try:
            picture = None if place.mpp is None else picture_slide(slide, title=name)
            gallery = _read_gallery(slide, name, values)
            shown = replace(shown, picture=picture, gallery=gallery)
        except SlideError as error:
            problem = str(error)
    for output in OUTPUTS:
        output.write(shown)
    return layers, problem


def draw_layer(picture: SlidePicture, laid: LaidLayer) -> npt.NDArray[np.uint8]:
    """Draw a layer on its slide, `(height, width, 3)`, RGB."""
    return draw_overlay(
        picture,
        laid.heatmap,
        subtitle=laid.layer.subtitle,
        threshold=laid.layer.mark,
        regions=laid.regions,
        words=laid.layer.overlay,
    )


def _read_gallery(slide: Slide, name: str, values: TileValues) -> list[GalleryTile]:
    """Read tiles at their own places, whatever the model was shown around them."""
    if not values.captions:
        return []
    boxes = find_boxes(values.tiles.iloc[list(values.captions)])
    side = min(_GALLERY_PX, int(boxes[:, 2].min()))
    pixels = np.empty((len(boxes), side, side, 3), np.uint8)
    slide.read_tiles(boxes, pixels)
    return [
        GalleryTile(f"{name}, tile {row}", caption, own)
        for (row, caption), own in zip(values.captions.items(), pixels, strict=True)
    ]
