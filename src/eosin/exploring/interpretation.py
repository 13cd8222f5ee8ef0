"""What an interpretation of a model found, before it is put into words."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.exploring.examples import ExampleKind
from eosin.exploring.feature_space import FeatureSpace
from eosin.exploring.held_out_tiles import HeldOutTiles, Rows
from eosin.exploring.label_errors import LabelErrors
from eosin.heatmaps import colourise, find_strength
from eosin.settings import InterpretSettings


@dataclass(frozen=True, eq=False)
class ClassMap:
    """How strongly each place of a tile speaks for a class.

    Attributes:
        row: Its place among the held-out tiles.
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
    strength: npt.NDArray[np.float32] | None
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Interpretation:
    """What was found of a model.

    Attributes:
        mark_px: Side of the central square that decides the label; 0 for none.
        maps: The tiles that are shown with their maps.
        space: None where there are too few tiles.
        errors: Suspected label errors, by place in `labelled`; None without
            predictions.
        labelled: Places among the held-out tiles of those with a label.
    """

    held_out: HeldOutTiles
    settings: InterpretSettings
    mark_px: int
    maps: tuple[ClassMap, ...]
    space: FeatureSpace | None
    errors: LabelErrors | None
    labelled: Rows
    cautions: tuple[str, ...]

    def list_suspects(self) -> pd.DataFrame:
        """List suspects, the surest first, as `label_errors.csv` has them.

        The index is the place among the held-out tiles.
        """
        errors, held_out = self.errors, self.held_out
        if errors is None or held_out.probabilities is None:
            return pd.DataFrame(columns=["rank", "tile_id"])
        rows = self.labelled[errors.rows]
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
            suggested=names[errors.suggested],
            probability_class=probabilities[every, labels].round(6),
            probability_suggested=probabilities[every, errors.suggested].round(6),
            margin=errors.margins.round(6),
        )


def draw_class_map(found: ClassMap) -> npt.NDArray[np.uint8]:
    """Draw a map over its tile, `(height, width, 3)`; the tile alone without a map."""
    if found.strength is None:
        return found.pixels
    strength = find_strength(found.strength)[..., None]
    mixed = found.pixels * (1 - strength) + colourise(found.strength) * strength
    return np.asarray(np.rint(mixed), np.uint8)
