"""Where tiles come from: slides, feature files, drawn bags; opened one by one."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import FeatureArray, open_features
from eosin.cohorts import fingerprint_readable
from eosin.core import Box, ManifestError, SlideError, fingerprint_file
from eosin.inference import ReadTiles
from eosin.prediction.maps import Place
from eosin.runs.card import Sees
from eosin.runs.origin import read_attributes, see_features
from eosin.runs.run import Run
from eosin.slides import Slide, open_slide
from eosin.tiles import (
    TileReader,
    find_boxes,
    find_tissue,
    find_tissue_method,
    place_tiles,
)

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenSource:
    """The tiles of a slide or of a drawn bag, while they are worked on.

    Attributes:
        name: The slide or the bag.
        tiles: One row each: `x_px0`, `y_px0` and `size_px0`, as far as they are known.
        place: The slide's frame; None for what lies on no one slide, and where nothing
            says where its tiles lie.
        slide: The slide; None where it is not at hand.
        read: From rows to pixels `(rows, px, px, 3)`; None where there are features.
        features: `(tiles, dimension)`; None where there are pixels.
        facts: Columns of its row that come from opening it.
        problem: Why there can be no pictures; empty where there can.
    """

    name: str
    tiles: pd.DataFrame
    place: Place | None = None
    slide: Slide | None = None
    read: ReadTiles | None = None
    features: FeatureArray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def find_readable(self) -> Rows:
        """Find the tiles whose pixels can be read, one by one."""
        rows = [row for row in range(len(self.tiles)) if self._is_readable(row)]
        return np.array(rows, np.int64)

    def _is_readable(self, row: int) -> bool:
        try:
            if self.read is not None:
                self.read(np.array([row], np.int64))
        except SlideError:
            return False
        return True


class Source(Protocol):
    """Where an item's tiles come from; all of one slide, or of one drawn bag."""

    @property
    def name(self) -> str:
        """The slide or the bag; its files are named after it."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Columns of its row in the tables, whatever comes of it."""

    def fingerprint(self) -> object:
        """Give all that its result depends on, as JSON can write it."""

    def open(self) -> AbstractContextManager[OpenSource]:
        """Open it.

        Raises:
            SlideError: It cannot be read, has no mpp, or is too coarse.
            ManifestError: A feature file is missing, damaged, or of another kind.
            ModelError: It is not what the models learnt from.
        """


@dataclass(frozen=True)
class SlideSource:
    """A slide that is cut into tiles as those of the training were.

    Attributes:
        name: The slide.
        patient_id: Its patient, as far as anybody says.
        path: The file, or whatever else `open_slide` opens.
        mpp: Micrometres per level-0 pixel, where a slide table gives it.
        default_mpp: The same, for slides that say nothing themselves.
        sees: How they are cut.
    """

    name: str
    patient_id: str
    path: str
    mpp: float | None
    default_mpp: float | None
    sees: Sees

    @property
    def facts(self) -> Mapping[str, Any]:
        """Who it is, and where it lies."""
        ids = {"slide_id": self.name, "patient_id": self.patient_id}
        return {**ids, "path": self.path}

    def fingerprint(self) -> object:
        """Give what the file holds, and its resolution."""
        return [self.name, fingerprint_readable(self.path), self.mpp]

    @contextmanager
    def open(self) -> Iterator[OpenSource]:
        """Open the slide and lay the grid over its tissue."""
        sees = self.sees
        with open_slide(self.path, mpp=self.mpp or self._find_default()) as slide:
            tissue = find_tissue(slide, find_tissue_method(sees.tissue))
            tiles = place_tiles(slide, sees.spec, tissue, min_tissue=sees.min_tissue)
            boxes, px = find_boxes(tiles, sees.context), sees.spec.tile_px

            def read(rows: Rows) -> npt.NDArray[np.uint8]:
                out = np.empty((len(rows), px, px, 3), np.uint8)
                slide.read_tiles(boxes[rows], out)
                return out

            yield OpenSource(
                name=self.name,
                tiles=tiles,
                place=Place(slide.dimensions, slide.mpp, slide.bounds),
                slide=slide,
                read=read,
                facts={"mpp": slide.require_mpp(), "mpp_source": slide.mpp_source},
            )

    def _find_default(self) -> float | None:
        """Take the mpp for all only where the slide itself says nothing."""
        if self.default_mpp is None:
            return None
        with open_slide(self.path) as slide:
            return None if slide.mpp is not None else self.default_mpp


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """A slide's features, with the slide at hand or without.

    Attributes:
        name: The slide.
        patient_id: Its patient, as far as anybody says.
        file: The features; None where there are none.
        path: The slide; None where it is not at hand.
        mpp: Micrometres per level-0 pixel, where a table gives it.
        tile_px0: Side of a tile in level-0 pixels, for files that do not say it.
        run: The models.
    """

    name: str
    patient_id: str
    file: Path | None
    path: str | None
    mpp: float | None
    tile_px0: int | None
    run: Run

    @property
    def facts(self) -> Mapping[str, Any]:
        """Who it is, and where its features lie."""
        ids = {"slide_id": self.name, "patient_id": self.patient_id}
        return {**ids, "features": str(self.file or "")}

    def fingerprint(self) -> object:
        """Give what both files hold, as far as they can be read, and the resolution."""
        features = None if self.file is None else fingerprint_file(self.file)
        slide = None if self.path is None else fingerprint_readable(self.path)
        return [str(self.file), features, slide, self.mpp]

    @contextmanager
    def open(self) -> Iterator[OpenSource]:
        """Open the features, and the slide for its pictures."""
        if self.file is None:
            raise ManifestError(f"{self.name}: has no feature file; embed the slide")
        found = open_features(self.file, slide_mpp=self.mpp)
        self.run.require_like(
            see_features(self.file),
            where=str(self.file),
            advice="embed the slides as the training's were",
        )
        own: dict[str, Any] = {"name": self.name, "features": found.features}
        if found.coords is None:
            note = "no maps: the features do not say where tiles lie"
            tiles = pd.DataFrame(index=range(found.features.shape[0]))
            yield OpenSource(tiles=tiles, facts={"note": note}, **own)
            return
        known = read_attributes(self.file)
        mpp = self.mpp or find_slide_mpp(known)
        tiles = pd.DataFrame(found.coords, columns=["x_px0", "y_px0"])
        tiles["size_px0"] = self.tile_px0 or find_tile_size(known, found.coords, mpp)
        own |= {"tiles": tiles, "place": place_without_slide(known, tiles, mpp)}
        with ExitStack() as stack:
            try:
                own |= self._open_slide(stack)
            except SlideError as error:
                own["problem"] = f"the slide cannot be read ({error})"
            yield OpenSource(**own)

    def _open_slide(self, stack: ExitStack) -> dict[str, Any]:
        """Open the slide, whose frame is surer than that of the features."""
        if self.path is None:
            problem = "the slide is not at hand (name it by --cohort); places count "
            return {"problem": f"{problem}from the corner of the scan"}
        slide = stack.enter_context(open_slide(self.path, mpp=self.mpp))
        place = Place(slide.dimensions, slide.mpp, slide.bounds)
        return {"slide": slide, "place": place}


@dataclass(frozen=True, eq=False)
class DrawnSource:
    """A drawn bag of tiles of many slides.

    Attributes:
        drawn: Its rows in the bag table, with `place`, the row in the reader.
        facts: Columns of its row in the tables, whatever comes of it.
        reader: Of the tiles that bags were drawn from.
    """

    drawn: pd.DataFrame
    facts: Mapping[str, Any]
    reader: TileReader

    @property
    def name(self) -> str:
        """The bag."""
        return str(self.facts["bag_id"])

    def fingerprint(self) -> object:
        """Give its tiles."""
        return self.drawn["tile_id"].tolist()

    @contextmanager
    def open(self) -> Iterator[OpenSource]:
        """Give its tiles."""
        places = self.drawn["place"].to_numpy(np.int64)
        yield OpenSource(
            name=self.name,
            tiles=self.drawn,
            read=lambda rows: self.reader.read(places[rows]),
        )


def place_without_slide(
    attributes: Mapping[str, Any], tiles: pd.DataFrame, mpp: float | None
) -> Place:
    """Find a slide's frame by what its feature file says of it.

    Its scanned bounds are not known, and taken to be all of it.

    Args:
        attributes: Of the feature file.
        tiles: `x_px0`, `y_px0` and `size_px0`.
        mpp: Micrometres per level-0 pixel; None where nobody stated it.
    """
    width, height = (
        int(max(attributes.get(f"level0_{name}", 0), (start + tiles["size_px0"]).max()))
        for name, start in (("width", tiles["x_px0"]), ("height", tiles["y_px0"]))
    )
    return Place((width, height), mpp, Box(0, 0, width, height))


def find_slide_mpp(attributes: Mapping[str, Any]) -> float | None:
    """Return micrometres per level-0 pixel by a feature file; None if it is silent."""
    mpp = float(attributes.get("slide_mpp", np.nan))
    power = float(attributes.get("level0_magnification", np.nan))
    for found in (mpp, 10 / power if power > 0 else np.nan):
        if np.isfinite(found) and found > 0:
            return found
    return None


def find_tile_size(
    attributes: Mapping[str, Any],
    coords: npt.NDArray[np.int64],
    mpp: float | None,
) -> int:
    """Return the side of a feature file's tiles in level-0 pixels.

    Taken from the file (eosin, TRIDENT, CLAM's patch files, STAMP with an mpp); where
    it says nothing, from the smallest step between neighbours, which holds for tiles
    that do not overlap.

    Args:
        attributes: Of the file.
        coords: `(tiles, 2)`.
        mpp: Micrometres per level-0 pixel; None where nobody stated it.

    Raises:
        ManifestError: Nothing tells it.
    """
    for name in ("size_px0", "patch_size_level0"):
        if name in attributes:
            return int(attributes[name])
    if "patch_size" in attributes and "downsample" in attributes:
        downsample = float(np.ravel(attributes["downsample"])[0])
        return round(float(attributes["patch_size"]) * downsample)
    if "tile_size_um" in attributes and mpp:
        return round(float(attributes["tile_size_um"]) / mpp)
    steps = [np.diff(np.unique(coords[:, axis])) for axis in (0, 1)]
    found = [int(step.min()) for step in steps if len(step)]
    if not found:
        raise ManifestError(
            "does not say how large its tiles are; give their side in level-0 pixels "
            "by --set tile_px0=..."
        )
    return min(found)
