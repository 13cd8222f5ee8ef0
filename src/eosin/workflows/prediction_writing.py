"""What `predict` writes of one slide: heatmaps, overlays, QuPath annotations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from eosin.annotations import Feature, write_geojson
from eosin.core import Box, to_file_name
from eosin.heatmaps import (
    CLASS_COLOURS,
    Heatmap,
    OverlayWords,
    PredictedRegion,
    SlidePicture,
    draw_overlay,
    find_regions,
    picture_slide,
    rasterise_tiles,
    write_heatmap,
    write_heatmap_picture,
    write_image,
)
from eosin.slides import Slide

Probabilities = npt.NDArray[np.floating[Any]]

_DEFAULT_THRESHOLD = 0.5
_SUFFIXES = (".geojson", ".heatmap.tif", ".heatmap-colour.tif", ".overlay.jpg")


class PlacedSlide(Protocol):
    """What places level-0 coordinates: a slide, or what is known of one."""

    @property
    def dimensions(self) -> tuple[int, int]:
        """(width, height) of level 0."""
        ...

    @property
    def bounds(self) -> Box:
        """The scanned part of the level-0 frame."""
        ...

    def require_mpp(self) -> float:
        """Return micrometres per level-0 pixel."""
        ...


@dataclass(frozen=True, eq=False)
class _ClassFindings:
    """What was found of one positive class on a slide.

    Attributes:
        label: The class.
        heatmap: Its probability everywhere.
        regions: Where it was found.
        tile_rows: Tiles that were called so.
    """

    label: int
    heatmap: Heatmap
    regions: Sequence[PredictedRegion]
    tile_rows: npt.NDArray[np.intp]


class PredictionWriter:
    """Writes the files of slides, one call each; safe on many threads.

    With two classes the positive one is found where its probability reaches the
    threshold. With more, each place belongs to the class that is most probable
    there, and the files of each positive class bear its name.

    Args:
        out: The folder to write to.
        class_names: In the order of their labels; label 0 is the negative class.
        threshold: Probability from which an area or a tile counts; None is 0.5 with
            two classes, and 0 with more.
        min_area_mm2: Smaller areas are left out; None is one tile.
        has_tile_objects: Whether the GeoJSON also holds every tile that counts.
        quantity: What overlays call the values, before the class; empty is a
            probability.
    """

    def __init__(
        self,
        out: Path,
        class_names: Sequence[str],
        *,
        threshold: float | None,
        min_area_mm2: float | None,
        has_tile_objects: bool,
        quantity: str = "",
    ) -> None:
        self._out = out
        self._names = tuple(class_names)
        self._is_binary = len(self._names) == 2
        self._threshold = threshold
        if threshold is None and self._is_binary:
            self._threshold = _DEFAULT_THRESHOLD
        self._min_area_mm2 = min_area_mm2
        self._has_tile_objects = has_tile_objects
        self._quantity = quantity

    def write(
        self,
        slide: Slide,
        tiles: pd.DataFrame,
        probabilities: Probabilities,
        *,
        slide_id: str,
        called: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write a slide's files on its own picture; see `write_on`."""
        picture = picture_slide(slide, title=slide_id) if len(tiles) else None
        return self.write_on(
            slide, picture, tiles, probabilities, slide_id=slide_id, called=called
        )

    def write_on(
        self,
        slide: PlacedSlide,
        picture: SlidePicture | None,
        tiles: pd.DataFrame,
        probabilities: Probabilities,
        *,
        slide_id: str,
        called: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write a slide's files; a slide without tiles has an empty GeoJSON only.

        Args:
            slide: The slide, or what is known of one that is not at hand.
            picture: To draw the overlays on; None leaves them out.
            tiles: Columns `x_px0`, `y_px0` and `size_px0`.
            probabilities: `(tiles, classes)`; NaN where a tile could not be read.
            slide_id: The files are named after it.
            called: The slide's own `label` and `score`, and with more than two
                classes `probability_<class>`.

        Returns:
            `tumour_mm2` and `regions`, of all positive classes together, and with
            more than two classes `area_<class>_mm2` of each. Empty without tiles.

        Raises:
            RunError: A file cannot be written.
        """
        if not len(tiles):
            write_geojson(self._path(slide_id, ".geojson"), [])
            return {}
        findings = self._find(slide, tiles, probabilities)
        for found in findings:
            self._write_pictures(slide, found, picture, slide_id, called)
        features = [
            feature
            for found in findings
            for feature in self._iter_features(found, tiles, probabilities)
        ]
        write_geojson(
            self._path(slide_id, ".geojson"), features, slide_bounds=slide.bounds
        )
        areas = [sum(r.area_mm2 for r in found.regions) for found in findings]
        facts: dict[str, Any] = {
            "tumour_mm2": round(sum(areas), 4),
            "regions": sum(len(found.regions) for found in findings),
        }
        if not self._is_binary:
            for name, area in zip(self._names[1:], areas, strict=True):
                facts[f"area_{name}_mm2"] = round(area, 4)
        return facts

    def remove(self, slide_id: str) -> None:
        """Remove what was written for a slide before."""
        stems = [slide_id, *(f"{slide_id}.{name}" for name in self._names[1:])]
        for stem in stems:
            for suffix in _SUFFIXES:
                self._path(stem, suffix).unlink(missing_ok=True)

    def _find(
        self, slide: PlacedSlide, tiles: pd.DataFrame, probabilities: Probabilities
    ) -> list[_ClassFindings]:
        """Find every positive class on a slide."""
        size_px0 = int(tiles["size_px0"].iloc[0])
        x, y = (tiles[name].to_numpy(np.int64) for name in ("x_px0", "y_px0"))
        heatmaps = [
            rasterise_tiles(x, y, size_px0, probabilities[:, label])
            for label in range(len(self._names))
        ]
        threshold = self._threshold or 0.0
        layers = [heatmap.values for heatmap in heatmaps]  # noqa: PD011 - no pandas
        likeliest = np.argmax(layers, axis=0)
        mpp = slide.require_mpp()
        tile_mm2 = (size_px0 * mpp / 1000) ** 2
        least = self._min_area_mm2
        findings = []
        for label, heatmap in enumerate(heatmaps[1:], start=1):
            own, rows = heatmap, probabilities[:, label] >= threshold
            if not self._is_binary:
                own = replace(
                    heatmap, values=np.where(likeliest == label, heatmap.values, np.nan)
                )
                rows &= np.argmax(probabilities, axis=1) == label
            regions = find_regions(
                own,
                threshold,
                mpp=mpp,
                slide_size=slide.dimensions,
                # A hair less, because areas are sums of floats.
                min_area_mm2=tile_mm2 * 0.999 if least is None else least,
            )
            findings.append(
                _ClassFindings(label, heatmap, regions, np.flatnonzero(rows))
            )
        return findings

    def _write_pictures(
        self,
        slide: PlacedSlide,
        found: _ClassFindings,
        picture: SlidePicture | None,
        slide_id: str,
        called: Mapping[str, Any],
    ) -> None:
        """Write the heatmaps and the overlay of one class."""
        name = self._names[found.label]
        place: dict[str, Any] = {
            "slide_size": slide.dimensions,
            "mpp": slide.require_mpp(),
        }
        stem = slide_id if self._is_binary else f"{slide_id}.{name}"
        write_heatmap(self._path(stem, ".heatmap.tif"), found.heatmap, **place)
        write_heatmap_picture(
            self._path(stem, ".heatmap-colour.tif"), found.heatmap, **place
        )
        if picture is None:
            return
        subtitle = f"{called['label']}, score {called['score']:.3f}"
        if not self._is_binary:
            probability = called[f"probability_{name}"]
            subtitle = f"called {called['label']}; {name} scores {probability:.3f}"
        image = draw_overlay(
            picture,
            found.heatmap,
            subtitle=subtitle,
            threshold=self._threshold,
            regions=found.regions,
            class_name=name,
            words=OverlayWords(
                f"{self._quantity} {name}",
                f"{name}, score {self._threshold:.2f} or more",
            )
            if self._quantity
            else None,
        )
        write_image(self._path(stem, ".overlay.jpg"), image)

    def _iter_features(
        self,
        found: _ClassFindings,
        tiles: pd.DataFrame,
        probabilities: Probabilities,
    ) -> Iterator[Feature]:
        name = self._names[found.label]
        colour = CLASS_COLOURS[found.label % len(CLASS_COLOURS)]
        for index, region in enumerate(found.regions, 1):
            yield Feature(
                region.geometry,
                class_name=name,
                colour=colour,
                name=f"{name} {index}, predicted",
                measurements={
                    "Mean probability": region.mean_probability,
                    "Max probability": region.max_probability,
                    "Area mm^2": region.area_mm2,
                },
            )
        if not self._has_tile_objects:
            return
        boxes = tiles[["x_px0", "y_px0", "size_px0"]].to_numpy(np.int64)
        for row in found.tile_rows:
            x, y, size = (int(value) for value in boxes[row])
            yield Feature(
                shapely.box(x, y, x + size, y + size),
                class_name=name,
                colour=colour,
                object_type="tile",
                measurements={"Probability": float(probabilities[row, found.label])},
            )

    def _path(self, stem: str, suffix: str) -> Path:
        return self._out / (to_file_name(stem) + suffix)
