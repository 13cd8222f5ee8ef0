"""What a prediction writes of a slide: one function a kind of file, in `OUTPUTS`."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from eosin import heatmaps
from eosin.annotations import Feature, write_geojson
from eosin.core import CohortError, SlideError, to_file_name
from eosin.heatmaps import GalleryTile, SlidePicture, picture_slide
from eosin.prediction.maps import LaidLayer, TileValues, lay_layers
from eosin.prediction.sources import OpenSource
from eosin.tiles import find_boxes

OVERLAY, GALLERY = ".overlay.jpg", ".gallery.png"

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
        gallery: The pixels of its gallery's tiles, `(tiles, px, px, 3)`, RGB; None
            for none.
        spelling: Of classes in QuPath, where it is another than their own.
    """

    out: Path
    source: OpenSource
    tiles: pd.DataFrame
    layers: Sequence[LaidLayer] = ()
    picture: SlidePicture | None = None
    gallery: npt.NDArray[np.uint8] | None = None
    spelling: Mapping[str, str] = field(default_factory=dict)

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


def _write_annotations(shown: Shown, suffix: str) -> None:
    """Write outlines and tiles for QuPath, by `Layer.file`; empty without a layer."""
    if shown.source.place is None:
        return
    for file in dict.fromkeys(laid.layer.file for laid in shown.layers) or [""]:
        features = [
            feature
            for laid in shown.layers
            if laid.layer.file == file
            for feature in _iter_features(laid, shown)
        ]
        bounds = shown.source.place.bounds
        write_geojson(shown.find(suffix, file), features, slide_bounds=bounds)


def _iter_features(laid: LaidLayer, shown: Shown) -> Iterator[Feature]:
    """Yield outlines, without areas where the resolution is not known, and tiles."""
    layer, place = laid.layer, shown.source.place
    name = shown.spelling.get(layer.class_name, layer.class_name)
    kind: dict[str, Any] = {"class_name": name, "colour": layer.colour}
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
        square = shapely.box(x, y, x + size, y + size)
        feature = Feature(square, object_type="tile", measurements=values, **kind)
        is_over = layer.outlined[row] >= layer.threshold
        yield feature if is_over else replace(feature, class_name=None)


def _write_rasters(shown: Shown, suffix: str) -> None:
    """Write the values themselves, where the resolution is known."""
    for path, laid, frame in shown.iter_rasters(suffix):
        words = laid.layer.raster
        heatmaps.write_heatmap(path, laid.heatmap, quantity=words, **frame)


def _write_colour_rasters(shown: Shown, suffix: str) -> None:
    """Write pictures for viewers that show no floating-point values."""
    for path, laid, frame in shown.iter_rasters(suffix):
        bounds = None if shown.source.place is None else shown.source.place.bounds
        heatmaps.write_heatmap_picture(path, laid.heatmap, bounds=bounds, **frame)


def _write_overlays(shown: Shown, suffix: str) -> None:
    """Write the values on the slide's picture."""
    for path, laid, _ in shown.iter_rasters(suffix):
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


def _write_gallery(shown: Shown, suffix: str) -> None:
    """Write tiles as pictures, side by side."""
    if shown.gallery is not None:
        tiles = tuple(GalleryTile("", "", pixels) for pixels in shown.gallery)
        sheet = heatmaps.Gallery("", "", "", (tiles,), side_px=_GALLERY_PX)
        heatmaps.write_image(shown.find(suffix), heatmaps.draw_sheet(sheet))


OUTPUTS: Mapping[str, Callable[[Shown, str], None]] = {
    ".geojson": _write_annotations,
    ".heatmap.tif": _write_rasters,
    ".heatmap-colour.tif": _write_colour_rasters,
    OVERLAY: _write_overlays,
    GALLERY: _write_gallery,
}
"""All that is written of a slide, by suffix; what does not apply writes nothing."""


def find_output(out: Path, name: str, suffix: str, layer: str = "") -> Path:
    """Return where a file of a slide or a bag lies."""
    stem = f"{name}.{layer}" if layer else name
    return out / (to_file_name(stem) + suffix)


def require_own_outputs(names: Collection[str], layers: Collection[str]) -> None:
    """Stop where a slide's files would be those of another slide's layer.

    Raises:
        CohortError: A slide is called like another with the name of a class behind it.
    """
    known = set(names)
    for name in names:
        for layer in layers:
            if f"{name}.{layer}" in known:
                raise CohortError(
                    f"the files of slide '{name}.{layer}' would be those of slide "
                    f"'{name}' for {layer}; give one of them another slide_id"
                )


def remove_outputs(out: Path, name: str, layers: Collection[str] = ()) -> None:
    """Remove what was written of a slide or a bag before, of these layers too."""
    for suffix in OUTPUTS:
        for layer in ("", *layers):
            find_output(out, name, suffix, layer).unlink(missing_ok=True)


def write_outputs(
    out: Path,
    source: OpenSource,
    values: TileValues,
    spelling: Mapping[str, str] | None = None,
) -> tuple[list[LaidLayer], str]:
    """Write all files of a slide or a bag; damage costs its pictures only.

    Without a slide there are no overlays, without an mpp neither rasters nor overlays,
    and of what lies on no one slide there is a gallery alone. Gives the layers as they
    lie, and why the slide cannot be read; empty where it can. `spelling` is that of
    classes in QuPath, where it is another than their own.
    """
    slide, place = source.slide, source.place
    layers = [] if place is None else lay_layers(values, place)
    shown = Shown(out, source, values.tiles, layers, spelling=spelling or {})
    problem = ""
    try:
        if slide is not None and place is not None and place.mpp is not None and layers:
            shown = replace(shown, picture=picture_slide(slide, title=source.name))
        shown = replace(shown, gallery=_read_gallery(source, values))
    except SlideError as error:
        shown, problem = replace(shown, picture=None), str(error)
    for suffix, write in OUTPUTS.items():
        write(shown, suffix)
    return layers, problem


def _read_gallery(
    source: OpenSource, values: TileValues
) -> npt.NDArray[np.uint8] | None:
    """Read tiles of a slide at their own places; those of a bag as they were shown."""
    tiles = values.tiles.iloc[list(values.captions)]
    if tiles.empty:
        return None
    if source.slide is None:
        rows = tiles.index.to_numpy(np.int64)
        return None if source.read is None else source.read(rows)
    boxes = find_boxes(tiles)
    side = min(_GALLERY_PX, int(boxes[:, 2].min()))
    pixels = np.empty((len(boxes), side, side, 3), np.uint8)
    source.slide.read_tiles(boxes, pixels)
    return pixels
