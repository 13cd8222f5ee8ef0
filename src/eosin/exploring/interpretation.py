"""What an interpretation of a model found, before it is put into words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.exploring.clusters import Clustering
from eosin.exploring.examples import ExampleKind
from eosin.exploring.held_out_tiles import HeldOutTiles
from eosin.exploring.label_errors import LabelErrors
from eosin.heatmaps import colourise, find_strength
from eosin.settings import InterpretSettings

Rows = npt.NDArray[np.int64]
Maps = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClassMap:
    """How strongly each place of a tile speaks for a class.

    Attributes:
        kind: Why the tile is shown.
        row: Its place among the held-out tiles.
        label: Its label.
        asked: The class that the map is of.
        pixels: `(height, width, 3)`, RGB.
        strength: `(height, width)`, 0 to 1; None where no model could be asked.
        layer: Name of the layer whose map it is; empty without a map.
        n_cells: Places of that layer along a side; 0 without a map.
    """

    kind: ExampleKind
    row: int
    label: int
    asked: int
    pixels: npt.NDArray[np.uint8]
    strength: Maps | None
    layer: str
    n_cells: int

    def find_centre_share(self, mark_px: int) -> float | None:
        """Find the share of the map's sum in the central square; None without any."""
        if self.strength is None or not mark_px or self.strength.sum() <= 0:
            return None
        height, width = self.strength.shape
        top, left = (height - mark_px) // 2, (width - mark_px) // 2
        inner = self.strength[top : top + mark_px, left : left + mark_px]
        return float(inner.sum() / self.strength.sum())


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Held-out tiles as an encoder sees them.

    Attributes:
        rows: Places among the held-out tiles of those that are in it, `(tiles,)`.
        clustering: Their clusters.
        places: On the map, `(tiles, 2)`; NaN where there is none.
        clusters: From `describe_clusters`.
        agreement: How far clusters follow classes, slides and other groups.
        source: What the features are of, in words.
        dimension: Features per tile.
        is_sample: Whether not all held-out tiles were to be in it.
    """

    rows: Rows
    clustering: Clustering
    places: npt.NDArray[np.float64]
    clusters: pd.DataFrame
    agreement: Mapping[str, float | None]
    source: str
    dimension: int
    is_sample: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Interpretation:
    """What was found of a model.

    Attributes:
        held_out: The tiles and what the model says of them.
        settings: How it was looked into.
        mark_px: Side of the central square that decides the label; 0 for none.
        maps: The tiles that are shown with their maps.
        space: The feature space; None where there are too few tiles.
        errors: Suspected label errors, by place in `labelled`; None without
            predictions.
        labelled: Places among the held-out tiles of those with a label.
        n_unreadable: Tiles that could not be read.
        cautions: What must be known, as sentences.
    """

    held_out: HeldOutTiles
    settings: InterpretSettings
    mark_px: int
    maps: tuple[ClassMap, ...]
    space: FeatureSpace | None
    errors: LabelErrors | None
    labelled: Rows
    n_unreadable: int
    cautions: tuple[str, ...]

    @property
    def noun(self) -> str:
        """What a tile is called."""
        return "patch" if self.held_out.folder.has_patches else "tile"

    def list_suspects(self) -> pd.DataFrame:
        """List suspected label errors, the surest first.

        Returns:
            `rank, tile_id, slide_id, patient_id, split, x_px0, y_px0, class_name,
            suggested, probability_class, probability_suggested, margin`, for patches
            `source` and `source_index` besides; the index is the place among the
            held-out tiles.
        """
        found, held_out = self.errors, self.held_out
        if found is None or held_out.probabilities is None:
            return pd.DataFrame(columns=["rank", "tile_id"])
        rows = self.labelled[found.rows]
        probabilities = held_out.probabilities[rows]
        names, every = np.array(held_out.class_names, object), np.arange(len(rows))
        labels = held_out.labels[rows]
        columns = ["tile_id", "slide_id", "patient_id", "split", "x_px0", "y_px0"]
        if held_out.folder.has_patches:
            columns += ["source", "source_index"]
        table = held_out.tiles.loc[rows, columns]
        table.insert(0, "rank", every + 1)
        return table.assign(
            class_name=names[labels],
            suggested=names[found.suggested],
            probability_class=probabilities[every, labels].round(6),
            probability_suggested=probabilities[every, found.suggested].round(6),
            margin=found.margins.round(6),
        )


def draw_class_map(found: ClassMap) -> npt.NDArray[np.uint8]:
    """Draw a map over its tile, `(height, width, 3)`; the tile alone without a map."""
    if found.strength is None:
        return found.pixels
    strength = find_strength(found.strength)[..., None]
    mixed = found.pixels * (1 - strength) + colourise(found.strength) * strength
    return np.asarray(np.rint(mixed), np.uint8)
