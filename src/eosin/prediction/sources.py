"""Where tiles come from: slides, feature files, drawn bags; opened one by one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import FeatureArray, open_features, read_attributes
from eosin.core import Box, ManifestError, SlideError, raising
from eosin.inference import ReadTiles
from eosin.prediction.maps import Place
from eosin.runs.card import Sees
from eosin.runs.origin import see_features
from eosin.runs.run import Run
from eosin.slides import Slide, open_slide, require_unchanged
from eosin.tiles import (
    FINGERPRINT,
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
        tiles: One row each: `x_px0`, `y_px0` and `size_px0`, as far as they are known;
            of a drawn bag also `tile_id`, `slide_id` and `is_witness`.
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

    @property
    def is_drawn(self) -> bool:
        """Whether it is a drawn bag, with tiles of many slides."""
        return "is_witness" in self.tiles

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


@dataclass(frozen=True, eq=False)
class Source:
    """Where an item's tiles come from: one slide, its features, or one drawn bag.

    Attributes:
        name: The slide or the bag; its files are named after it.
        facts: Columns of its row in the tables, whatever comes of it.
        content: All that its result depends on, as JSON can write it.
        open: Opens it; raises what the functions of this module do.
    """

    name: str
    facts: Mapping[str, Any]
    content: object
    open: Callable[[], AbstractContextManager[OpenSource]]


@contextmanager
def open_slide_tiles(
    name: str,
    path: str,
    mpp: float | None,
    *,
    default_mpp: float | None,
    sees: Sees,
    fingerprint: str = "",
) -> Iterator[OpenSource]:
    """Open a slide and lay the grid of the training's tiles over its tissue.

    `mpp`, in micrometres per level-0 pixel, is what a slide table gives, `default_mpp`
    is for slides that say nothing themselves. `fingerprint` is what the slide was when
    a tile folder was made of it.
    """
    require_unchanged(path, fingerprint)
    if mpp is None and default_mpp is not None:
        with open_slide(path) as slide:
            mpp = None if slide.mpp is not None else default_mpp
    with open_slide(path, mpp=mpp) as slide:
        # Not kept beside the tiles: a large slide's tissue is 75 MB with its picture.
        tiles = place_tiles(
            slide,
            sees.spec,
            find_tissue(slide, find_tissue_method(sees.tissue)),
            min_tissue=sees.min_tissue,
        )
        boxes, px = find_boxes(tiles, sees.context), sees.spec.tile_px

        def read(rows: Rows) -> npt.NDArray[np.uint8]:
            out = np.empty((len(rows), px, px, 3), np.uint8)
            slide.read_tiles(boxes[rows], out)
            return out

        yield OpenSource(
            name=name,
            tiles=tiles,
            place=Place.of_slide(slide),
            slide=slide,
            read=read,
            facts={"mpp": slide.require_mpp(), "mpp_source": slide.mpp_source},
        )


@contextmanager
def open_feature_tiles(
    name: str,
    file: Path | None,
    path: str | None,
    mpp: float | None,
    *,
    tile_px0: int | None,
    run: Run,
) -> Iterator[OpenSource]:
    """Open the features of a slide, if there are any, and the slide for its pictures.

    The slide's `path` is None where it is not at hand; `mpp` is what a table gives;
    `tile_px0` is for files that do not say how large their tiles are.
    """
    if file is None:
        raise ManifestError(f"{name}: has no feature file; embed the slide")
    bag = open_features(file, slide_mpp=mpp)
    advice = "embed the slides as the training's were"
    run.require_like(see_features(file), where=str(file), advice=advice)
    tiles = pd.DataFrame(index=range(bag.features.shape[0]))
    opened = OpenSource(name=name, tiles=tiles, features=bag.features)
    if bag.coords is None:
        note = "no maps: the features do not say where tiles lie"
        yield replace(opened, facts={"note": note})
        return
    known = read_attributes(file)
    tiles = pd.DataFrame(bag.coords, columns=["x_px0", "y_px0"])
    with raising(ManifestError, f"{file}: does not say rightly what its tiles are"):
        found_mpp = mpp or find_slide_mpp(known)
        tiles["size_px0"] = tile_px0 or find_tile_size(known, bag.coords, found_mpp)
        place = place_without_slide(known, tiles, found_mpp)
    opened = replace(
        opened,
        tiles=tiles,
        place=place,
        problem="the slide is not at hand (name it by --cohort); places count from the "
        "corner of the scan",
    )
    with ExitStack() as stack:
        if path is not None:
            try:
                require_unchanged(path, known.get(FINGERPRINT))
                slide = stack.enter_context(open_slide(path, mpp=mpp))
                _require_on(slide, bag.coords, file)
                # Its frame is surer than that of the features.
                place = Place.of_slide(slide)
                opened = replace(opened, slide=slide, place=place, problem="")
            except SlideError as error:
                problem = f"the slide cannot be read ({error})"
                opened = replace(opened, problem=problem)
        yield opened


def _require_on(slide: Slide, coords: npt.NDArray[np.int64], file: Path) -> None:
    """Stop where features have places that a slide has not: they are of another."""
    if (coords >= slide.dimensions).any():
        width, height = slide.dimensions
        raise SlideError(
            f"{file}: its tiles lie beyond the {width} x {height} px of {slide.path}; "
            "embed this slide, or name the slide that was embedded"
        )


@contextmanager
def open_drawn_tiles(
    name: str, drawn: pd.DataFrame, reader: TileReader
) -> Iterator[OpenSource]:
    """Open a drawn bag: its rows in the bag table, whose `place` is a reader's row."""
    places = drawn["place"].to_numpy(np.int64)
    yield OpenSource(
        name=name, tiles=drawn, read=lambda rows: reader.read(places[rows])
    )


def place_without_slide(
    attributes: Mapping[str, Any], tiles: pd.DataFrame, mpp: float | None
) -> Place:
    """Find a slide's frame by its feature file; all of it passes for scanned."""
    width, height = (
        int(max(attributes.get(f"level0_{name}", 0), (start + tiles["size_px0"]).max()))
        for name, start in (("width", tiles["x_px0"]), ("height", tiles["y_px0"]))
    )
    return Place((width, height), mpp, Box(0, 0, width, height))


def find_slide_mpp(attributes: Mapping[str, Any]) -> float | None:
    """Return micrometres per level-0 pixel by a feature file; None if it is silent."""
    mpp = float(attributes.get("slide_mpp", np.nan))
    power = float(attributes.get("level0_magnification", np.nan))
    for stated in (mpp, 10 / power if power > 0 else np.nan):
        if np.isfinite(stated) and stated > 0:
            return stated
    return None


def find_tile_size(
    attributes: Mapping[str, Any],
    coords: npt.NDArray[np.int64],
    mpp: float | None,
) -> int:
    """Return the side of a feature file's tiles in level-0 pixels.

    Taken from the file (eosin, TRIDENT, CLAM's patch files, STAMP with an mpp); where
    it says nothing, from the smallest step between neighbours, `(tiles, 2)`, which
    holds for tiles that do not overlap.
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
    smallest = [int(step.min()) for step in steps if len(step)]
    if not smallest:
        raise ManifestError(
            "does not say how large its tiles are; give their side in level-0 pixels "
            "by --set tile_px0=..."
        )
    return min(smallest)
