"""A slide's attention as heatmap, overlay and QuPath objects, on a stated scale.

Attention sums to 1 over a bag, so that its size depends on how many tiles there are.
Two scales make it comparable: `times`, attention over 1/n, which is 1 where every tile
is attended alike; and `rank`, the share of the bag's tiles that have no more of it.
Pictures show the rank; outlines and calls rest on `times`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from scipy.stats import rankdata

from eosin.annotations import Feature, write_geojson
from eosin.core import to_file_name
from eosin.heatmaps import (
    CLASS_COLOURS,
    Heatmap,
    OverlayWords,
    PredictedRegion,
    SlidePicture,
    draw_overlay,
    find_regions,
    rasterise_tiles,
    write_heatmap,
    write_heatmap_picture,
    write_image,
)
from eosin.workflows.mil_slides import SlidePlace

Floats = npt.NDArray[np.floating[Any]]

CLASS_NAME = "High attention"
_COLOUR = CLASS_COLOURS[1]
_SUFFIXES = (".geojson", ".heatmap.tif", ".heatmap-colour.tif", ".overlay.jpg")


@dataclass(frozen=True, eq=False)
class SlideAttention:
    """The attention of one slide's tiles.

    Attributes:
        tiles: `x_px0`, `y_px0` and `size_px0`.
        times: Attention over 1/n, n the tiles of the bag, `(tiles,)`.
        rank: Share of the bag's tiles with no more attention, `(tiles,)`.
        instance_probabilities: `(tiles, classes)`; None where the method has none.
    """

    tiles: pd.DataFrame
    times: Floats
    rank: Floats
    instance_probabilities: Floats | None = None


def rank_attention(times: Floats) -> Floats:
    """Return the share of tiles with no more attention, above 0 and up to 1.

    Equal ones share the middle of their ranks; what differs by less than rounding is
    equal, so that a method which attends to all alike gives one rank to all.

    Args:
        times: Attention over 1/n, `(tiles,)`.
    """
    rounded = np.round(np.asarray(times, np.float64), 4)
    return np.asarray(rankdata(rounded, method="average") / len(rounded))


def draw_attention(
    picture: SlidePicture,
    heatmap: Heatmap,
    *,
    subtitle: str = "",
    regions: Sequence[PredictedRegion] = (),
    outline_from: float = 0.0,
    source: str = "",
) -> npt.NDArray[np.uint8]:
    """Draw the ranks of attention on a slide.

    Args:
        picture: The slide.
        heatmap: Ranks, 0 to 1.
        subtitle: The slide's probability and call in words.
        regions: Outlined.
        outline_from: From which attention over 1/n they are.
        source: Whose attention it is, such as `mean of 5 folds`.
    """
    of = f", {source}" if source else ""
    return draw_overlay(
        picture,
        heatmap,
        subtitle=subtitle,
        regions=regions,
        words=OverlayWords(
            f"rank of attention among the slide's tiles{of}",
            f"attention {outline_from:g} x 1/n or more",
        ),
    )


class AttentionWriter:
    """Writes the attention of slides, one call each.

    Args:
        out: The folder to write to.
        outline_from: Attention over 1/n from which an area is outlined.
        tile_objects: How many of the most attended tiles the GeoJSON holds.
        source: Whose attention it is, in words.
        class_names: For the instances' probabilities.
    """

    def __init__(
        self,
        out: Path,
        *,
        outline_from: float,
        tile_objects: int,
        source: str,
        class_names: Sequence[str],
    ) -> None:
        self._out, self._outline_from = out, outline_from
        self._tile_objects, self._source = tile_objects, source
        self._names = tuple(class_names)

    def write(
        self,
        place: SlidePlace,
        picture: SlidePicture | None,
        found: SlideAttention,
        *,
        slide_id: str,
        subtitle: str,
    ) -> dict[str, Any]:
        """Write a slide's files.

        Args:
            place: Its frame. Without an mpp there is no TIFF.
            picture: To draw the overlay on; None leaves it out.
            found: Its attention.
            slide_id: The files are named after it.
            subtitle: The slide's probability and call in words.

        Returns:
            `attended_mm2`, the outlined area (None without an mpp), and
            `attended_regions`.

        Raises:
            RunError: A file cannot be written.
        """
        heatmap, regions = self._find(place, found)
        self._write_rasters(place, heatmap, slide_id)
        if picture is not None:
            image = draw_attention(
                picture,
                heatmap,
                subtitle=subtitle,
                regions=regions,
                outline_from=self._outline_from,
                source=self._source,
            )
            write_image(self._path(slide_id, ".overlay.jpg"), image)
        features = [
            *self._iter_regions(regions, has_mpp=place.mpp is not None),
            *self._iter_tiles(found),
        ]
        path = self._path(slide_id, ".geojson")
        write_geojson(path, features, slide_bounds=place.bounds)
        area = sum(region.area_mm2 for region in regions)
        return {
            "attended_mm2": None if place.mpp is None else round(area, 4),
            "attended_regions": len(regions),
        }

    def remove(self, slide_id: str) -> None:
        """Remove what was written for a slide before."""
        for suffix in _SUFFIXES:
            self._path(slide_id, suffix).unlink(missing_ok=True)

    def _find(
        self, place: SlidePlace, found: SlideAttention
    ) -> tuple[Heatmap, list[PredictedRegion]]:
        size_px0 = int(found.tiles["size_px0"].iloc[0])
        x, y = (found.tiles[name].to_numpy(np.int64) for name in ("x_px0", "y_px0"))
        # Areas need a resolution; without one they are not told.
        mpp = place.mpp or 1.0
        regions = find_regions(
            rasterise_tiles(x, y, size_px0, found.times),
            self._outline_from,
            mpp=mpp,
            slide_size=place.dimensions,
        )
        return rasterise_tiles(x, y, size_px0, found.rank), regions

    def _write_rasters(
        self, place: SlidePlace, heatmap: Heatmap, slide_id: str
    ) -> None:
        if place.mpp is None:
            return
        where: dict[str, Any] = {"slide_size": place.dimensions, "mpp": place.mpp}
        write_heatmap(
            self._path(slide_id, ".heatmap.tif"),
            heatmap,
            quantity=f"attention (rank among the tiles, {self._source})",
            **where,
        )
        path = self._path(slide_id, ".heatmap-colour.tif")
        write_heatmap_picture(path, heatmap, **where)

    def _iter_regions(
        self, regions: Sequence[PredictedRegion], *, has_mpp: bool
    ) -> Iterator[Feature]:
        for index, region in enumerate(regions, 1):
            measurements = {
                "Mean attention over 1/n": region.mean_probability,
                "Max attention over 1/n": region.max_probability,
            }
            if has_mpp:
                measurements["Area mm^2"] = region.area_mm2
            yield Feature(
                region.geometry,
                class_name=CLASS_NAME,
                colour=_COLOUR,
                name=f"Attention {index}, {self._source}",
                measurements=measurements,
            )

    def _iter_tiles(self, found: SlideAttention) -> Iterator[Feature]:
        """Yield the most attended tiles, the first one most.

        Only those that outlines would hold are of their class: among few tiles, or
        where all are attended alike, some of the most attended have little.
        """
        boxes = found.tiles[["x_px0", "y_px0", "size_px0"]].to_numpy(np.int64)
        for row in list_most_attended(found.times, self._tile_objects):
            x, y, size = (int(value) for value in boxes[row])
            measurements = {
                "Attention over 1/n": float(found.times[row]),
                "Attention rank": float(found.rank[row]),
            }
            if found.instance_probabilities is not None:
                measurements |= {
                    f"Tile probability of {name}": float(value)
                    for name, value in zip(
                        self._names, found.instance_probabilities[row], strict=True
                    )
                }
            is_high = found.times[row] >= self._outline_from
            yield Feature(
                shapely.box(x, y, x + size, y + size),
                class_name=CLASS_NAME if is_high else None,
                colour=_COLOUR,
                object_type="tile",
                measurements=measurements,
            )

    def _path(self, stem: str, suffix: str) -> Path:
        return self._out / (to_file_name(stem) + suffix)


def list_most_attended(times: Floats, n: int) -> npt.NDArray[np.intp]:
    """List the rows of the `n` most attended tiles, the first one most."""
    return np.argsort(-np.asarray(times), kind="stable")[:n]
