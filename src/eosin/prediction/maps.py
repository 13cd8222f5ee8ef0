"""What a model says of a slide's tiles: layers of values that maps are drawn of.

Attention sums to 1 over a bag, so that its size depends on how many tiles there are.
Two scales make it comparable: `times`, attention over 1/n, which is 1 where every tile
is attended alike; and `rank`, the share of the bag's tiles that have no more of it.
Pictures show the rank; outlines and calls rest on `times`.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import Box
from eosin.heatmaps import (
    CLASS_COLOURS,
    Heatmap,
    OverlayWords,
    PredictedRegion,
    find_regions,
    rasterise_tiles,
)
from eosin.slides import Slide

Floats = npt.NDArray[np.floating[Any]]

INSTANCES = "instances"
"""What files of the tiles' own scores are called, behind the slide's name."""


@dataclass(frozen=True)
class Place:
    """The level-0 frame of a slide.

    Attributes:
        dimensions: (width, height).
        mpp: Micrometres per pixel; None where nobody stated it.
        bounds: The scanned part, whose corner is QuPath's origin.
    """

    dimensions: tuple[int, int]
    mpp: float | None
    bounds: Box

    @classmethod
    def of_slide(cls, slide: Slide) -> "Place":
        """Take what the slide itself says."""
        return cls(slide.dimensions, slide.mpp, slide.bounds)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One quantity of a slide's tiles.

    Attributes:
        name: Of its files, behind the slide's; empty for the slide's own.
        file: Of the GeoJSON that its outlines are in, likewise.
        class_name: Of what reaches the threshold.
        colour: Of its outlines.
        drawn: `(tiles,)`, 0 to 1, what is shown; NaN where a tile could not be read.
        outlined: `(tiles,)`, what is outlined from the threshold up.
        threshold: Of `outlined`.
        mark: Threshold on the scale of `drawn`; None marks none.
        classes: `(tiles, classes)` with `outlined` at `label`: a place belongs to the
            class that is highest there. None for a quantity by itself.
        label: Of the class.
        min_area_mm2: Smaller outlines are left out; None is one tile.
        objects: Rows of the tiles that the GeoJSON holds as objects, in its order.
        measurements: Of such tiles, `(tiles,)` by name.
        measured: What is measured of an outline, behind `Mean` and `Max`.
        title: Of an outline, with its number at `{}`.
        raster: What the values are, in the raster's file.
        overlay: What the colours and the outlines of the picture are.
        subtitle: Of the picture: score and call of the slide.
    """

    name: str = ""
    file: str = ""
    class_name: str
    colour: tuple[int, int, int]
    drawn: Floats
    outlined: Floats
    threshold: float
    mark: float | None = None
    classes: Floats | None = None
    label: int = 0
    min_area_mm2: float | None = None
    objects: Sequence[int] = ()
    measurements: Mapping[str, Floats]
    measured: str = "probability"
    title: str
    raster: str = "probability"
    overlay: OverlayWords
    subtitle: str


@dataclass(frozen=True, eq=False)
class LaidLayer:
    """A layer that lies on its slide, with what it shows and what it outlines."""

    layer: Layer
    heatmap: Heatmap
    regions: Sequence[PredictedRegion]

    @property
    def area_mm2(self) -> float:
        """Of all its outlines."""
        return sum(region.area_mm2 for region in self.regions)


@dataclass(frozen=True)
class Call:
    """How a slide, a patient or a bag is called, by the score of each class.

    The negative class comes first.
    """

    label: str
    scores: Mapping[str, float]

    @property
    def positive(self) -> str:
        """The positive class that scores highest."""
        return max(list(self.scores)[1:], key=lambda name: self.scores[name])


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention of some tiles, of one slide or of several.

    Attributes:
        times: Attention over 1/n, n the tiles of the bag, `(tiles,)`.
        rank: Share of the bag's tiles with no more attention, `(tiles,)`.
        instances: Probabilities of the tiles by themselves, `(tiles, classes)`; None
            where the method has none.
    """

    times: Floats
    rank: Floats
    instances: Floats | None = None

    @classmethod
    def rank_tiles(cls, times: Floats, instances: Floats | None = None) -> "Attention":
        """Rank the tiles of a whole bag, or of a slide, among each other."""
        return cls(times, rank_attention(times), instances)

    def take(self, rows: slice) -> "Attention":
        """Take those of some tiles; their ranks stay those in the bag."""
        instances = None if self.instances is None else self.instances[rows]
        return Attention(self.times[rows], self.rank[rows], instances)

    def list_most(self, n: int) -> list[int]:
        """List the rows of the `n` most attended tiles, the first one most."""
        rows: list[int] = np.argsort(-self.times, kind="stable")[:n].tolist()
        return rows

    def measure(self) -> dict[str, float]:
        """Give the highest attention, and how many tiles of most of it hold half.

        Both are 0 where there is none, as on a slide beside another of a patient's.
        """
        falling = np.sort(self.times)[::-1]
        if not falling.sum():
            return {"highest_attention": 0.0, "tiles_with_half": 0}
        share = np.cumsum(falling) / falling.sum()
        half = int(np.searchsorted(share, 0.5)) + 1
        return {"highest_attention": float(falling[0]), "tiles_with_half": half}


@dataclass(frozen=True, eq=False)
class TileValues:
    """What a model says of the tiles of a slide, or of a drawn bag.

    Attributes:
        tiles: `x_px0`, `y_px0` and `size_px0`; the index is their row in the source.
        layers: One or more; none where there is no tile.
        captions: A few words on each tile that the gallery shows, by its position in
            `tiles`, in the gallery's order.
        facts: Columns of the slide's row.
        attention: Of the tiles; None of models that have none.
    """

    tiles: pd.DataFrame
    layers: Sequence[Layer] = ()
    captions: Mapping[int, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    attention: Attention | None = None


def rank_attention(times: Floats) -> Floats:
    """Return the share of tiles with no more attention, above 0 and up to 1.

    Equal ones share the middle of their ranks; what differs by less than rounding is
    equal, so that a method which attends to all alike gives one rank to all.
    """
    from scipy.stats import rankdata

    rounded = np.round(np.asarray(times, np.float64), 4)
    return np.asarray(rankdata(rounded, method="average") / len(rounded))


def layer_classes(
    probabilities: Floats,
    call: Call,
    *,
    threshold: float | None,
    min_area_mm2: float | None = None,
    has_objects: bool = False,
    source: str = "",
) -> list[Layer]:
    """Make a layer of each positive class.

    With two classes the positive one is found where its probability reaches the
    threshold. With more, each place belongs to the class that is most probable there,
    and the files of each positive class bear its name.

    Args:
        probabilities: `(tiles, classes)`; NaN where a tile could not be read.
        call: Of the slide.
        threshold: Probability from which an area or a tile counts; None is 0.5 with
            two classes, and 0 with more.
        min_area_mm2: As for `Layer`.
        has_objects: Whether the GeoJSON also holds every tile that counts.
        source: Of scores of tiles by themselves beside attention: whose they are.
    """
    names, file = list(call.scores), INSTANCES if source else ""
    is_binary = len(names) == 2
    mark = 0.5 if threshold is None and is_binary else threshold
    layers = []
    for label, name in enumerate(names[1:], start=1):
        values, score = probabilities[:, label], f"{call.scores[name]:.3f}"
        counts = values >= (mark or 0.0)
        if not is_binary:
            # A row of NaN has no class; it counts nowhere.
            counts &= np.argmax(probabilities, axis=1) == label
        overlay = OverlayWords(f"probability of {name}", f"predicted {name}")
        if source:
            reach = "the likeliest" if mark is None else f"score {mark:.2f} or more"
            quantity = f"score of a tile by itself, {source}, for {name}"
            overlay = OverlayWords(quantity, f"{name}, {reach}")
        layer = Layer(
            name=file if is_binary else f"{file}.{name}".strip("."),
            file=file,
            class_name=name,
            colour=CLASS_COLOURS[label % len(CLASS_COLOURS)],
            drawn=values,
            outlined=values,
            threshold=mark or 0.0,
            mark=mark,
            classes=None if is_binary else probabilities,
            label=label,
            min_area_mm2=min_area_mm2,
            objects=np.flatnonzero(counts).tolist() if has_objects else (),
            measurements={"Probability": values},
            title=f"{name} {{}}, predicted",
            overlay=overlay,
            subtitle=f"{call.label}, score {score}"
            if is_binary
            else f"called {call.label}; {name} scores {score}",
        )
        layers.append(layer)
    return layers


def layer_attention(
    attention: Attention,
    class_names: Sequence[str],
    *,
    outline_from: float,
    n_objects: int,
    source: str,
    subtitle: str,
) -> Layer:
    """Make the layer of attention: its ranks are shown, and `times` outlined.

    The GeoJSON holds the `n_objects` most attended tiles. Only those that outlines
    would hold are of their class: among few tiles, or where all are attended alike,
    some of the most attended have little. `source` says whose attention it is, such as
    `mean of 5 folds`.
    """
    measurements = {
        "Attention over 1/n": attention.times,
        "Attention rank": attention.rank,
    }
    if attention.instances is not None:
        for name, scores in zip(class_names, attention.instances.T, strict=True):
            measurements[f"Tile probability of {name}"] = scores
    return Layer(
        class_name="High attention",
        colour=CLASS_COLOURS[1],
        drawn=attention.rank,
        outlined=attention.times,
        threshold=outline_from,
        min_area_mm2=0.0,
        objects=attention.list_most(n_objects),
        measurements=measurements,
        measured="attention over 1/n",
        title=f"Attention {{}}, {source}",
        raster=f"attention (rank among the tiles, {source})",
        overlay=OverlayWords(
            f"rank of attention among the slide's tiles, {source}",
            f"attention {outline_from:g} x 1/n or more",
        ),
        subtitle=subtitle,
    )


def lay_layers(values: TileValues, place: Place) -> list[LaidLayer]:
    """Lay layers on their slide and outline them; without an mpp a pixel is 1 um."""
    if not values.layers:
        return []
    names = ["x_px0", "y_px0", "size_px0"]
    x, y, sizes = values.tiles[names].to_numpy(np.int64).T
    size_px0, mpp = int(sizes[0]), place.mpp or 1.0
    rasterise = functools.partial(rasterise_tiles, x, y, size_px0)
    laid = []
    for layer in values.layers:
        shown = outlined = rasterise(layer.drawn)
        if layer.outlined is not layer.drawn:
            outlined = rasterise(layer.outlined)
        if layer.classes is not None:
            rivals = [rasterise(scores) for scores in layer.classes.T]
            cells = [rival.values for rival in rivals]  # noqa: PD011 - no pandas
            is_own = np.argmax(cells, axis=0) == layer.label
            called = np.where(is_own, cells[layer.label], np.nan)
            outlined = replace(shown, values=called)
        least = layer.min_area_mm2
        if least is None:
            # A hair less than a tile, because areas are sums of floats.
            least = (size_px0 * mpp / 1000) ** 2 * 0.999
        regions = find_regions(
            outlined,
            layer.threshold,
            mpp=mpp,
            slide_size=place.dimensions,
            min_area_mm2=least,
        )
        laid.append(LaidLayer(layer, shown, regions))
    return laid
