"""What mean colour alone can tell: the score that a model has to beat.

Staining and scanner often differ between classes by accident, and tumour is
darker than stroma. A model that is no better than three numbers for each tile
has not learnt what tissue looks like.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ManifestError
from eosin.evaluation.predictions import build_predictions
from eosin.evaluation.targets import Classes

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

COLOUR_COLUMNS = ("mean_red", "mean_green", "mean_blue")


@dataclass(frozen=True)
class ColourBaseline:
    """Logistic regression, classes balanced, on tiles' mean colour, standardised."""

    pipeline: "Pipeline"
    target: Classes

    def predict(self, tiles: pd.DataFrame) -> pd.DataFrame:
        """Score tiles of a manifest and return them as tile rows of a prediction table.

        Raises:
            ManifestError: A colour column is missing or has a gap.
        """
        known = self.pipeline.predict_proba(_take_colours(tiles))
        # A class that no training tile had gets probability 0, not a missing column.
        probabilities = np.zeros((len(tiles), len(self.target.class_names)))
        probabilities[:, self.pipeline.classes_] = known
        return build_predictions(tiles, probabilities, self.target, unit="tile")


def fit_colour_baseline(tiles: pd.DataFrame, *, target: Classes) -> ColourBaseline:
    """Fit the baseline on the labelled tiles of split `train`; others are not read.

    Raises:
        ManifestError: A column is missing or has a gap, or the labelled training
            tiles do not hold two classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _require(tiles, ("split", "label"))
    train = tiles[(tiles["split"] == "train") & tiles["label"].notna()]
    labels = train["label"].to_numpy(dtype=np.int64)
    if len(np.unique(labels)) < 2:
        raise ManifestError(
            f"the colour baseline needs training tiles of two classes; split train "
            f"has {len(labels)} labelled tile(s) of {len(np.unique(labels))} class(es)"
        )
    # Balanced, because a threshold of 0.5 should mean something here as well.
    pipeline = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    )
    pipeline.fit(_take_colours(train), labels)
    return ColourBaseline(pipeline, target)


def _take_colours(tiles: pd.DataFrame) -> npt.NDArray[np.float64]:
    _require(tiles, COLOUR_COLUMNS)
    colours = tiles[list(COLOUR_COLUMNS)].to_numpy(dtype=np.float64)
    if not np.isfinite(colours).all():
        n_bad = int((~np.isfinite(colours)).any(axis=1).sum())
        raise ManifestError(f"mean colours must be numbers; {n_bad} tile(s) have none")
    return colours


def _require(tiles: pd.DataFrame, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in tiles.columns]:
        raise ManifestError(
            f"the tile table must have the column(s) {', '.join(missing)}; tile the "
            f"slides again with this version of eosin"
        )
