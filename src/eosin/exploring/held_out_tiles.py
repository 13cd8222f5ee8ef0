"""Tiles that a model did not train on, with what it says of them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ManifestError, ModelError, hash_file, read_record
from eosin.evaluation import Threshold, read_predictions, select_level
from eosin.exploring.examples import measure_confidence
from eosin.runs.card import Card
from eosin.runs.run import Run, read_run
from eosin.tiles import TileFolder, open_tile_folder

Rows = npt.NDArray[np.int64]
# Of tiles of another cohort, which no fold has seen.
EVERY_FOLD = -1
_PREDICTIONS = "predictions.parquet"
_HELD_OUT = ("test", "external")


@dataclass(frozen=True, eq=False)
class HeldOutTiles:
    """Tiles of a folder that a run's model did not train on.

    Attributes:
        rows: Rows of the held-out tiles in the folder's table, `(tiles,)`.
        folds: Model that held each one out; `EVERY_FOLD` of another cohort.
        probabilities: `(tiles, classes)`; None without predictions.
        inputs: Hash of what this was read from, by name.
    """

    model: Run
    folder: TileFolder
    rows: Rows
    folds: Rows
    probabilities: npt.NDArray[np.float64] | None
    inputs: dict[str, str]

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.model.path

    @property
    def card(self) -> Card:
        """The run's card."""
        return self.model.card

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""
        return self.card.class_names

    @cached_property
    def tiles(self) -> pd.DataFrame:
        """Their rows of the tile table, numbered anew."""
        return self.folder.tiles.iloc[self.rows].reset_index(drop=True)

    @cached_property
    def labels(self) -> Rows:
        """Label of each, -1 without one."""
        return self.tiles["label"].fillna(-1).to_numpy(np.int64)

    @cached_property
    def called(self) -> Rows:
        """Class that each is called; -1 without predictions."""
        if self.probabilities is None:
            return np.full(len(self.rows), -1, np.int64)
        return self.card.target.call(self.probabilities, self._threshold)

    @cached_property
    def confidence(self) -> npt.NDArray[np.float64]:
        """How far each is from being called otherwise; NaN without predictions."""
        if self.probabilities is None:
            return np.full(len(self.rows), np.nan)
        return measure_confidence(self.probabilities, self._threshold)

    @cached_property
    def names(self) -> pd.DataFrame:
        """`class_name` and `called` as text, None where there is none."""
        names = np.array([*self.class_names, None], object)
        return pd.DataFrame(
            {"class_name": names[self.labels], "called": names[self.called]}
        )

    @property
    def is_external(self) -> bool:
        """Whether they are of another cohort."""
        return bool((self.folds == EVERY_FOLD).any())

    def find_threshold(self, row: int) -> float | None:
        """Return the probability of class 1 from which a tile is called so.

        None with more than two classes.
        """
        if (threshold := self._threshold) is None:
            return None
        return float(np.broadcast_to(threshold, len(self.rows))[row])

    @property
    def _threshold(self) -> Threshold:
        """The threshold of each tile: that of the fold that held it out."""
        if len(self.class_names) > 2:
            return None
        if self.is_external or not self.card.is_cross_validated:
            return self.card.together.tile_threshold
        by_fold = [float(fold.tile_threshold or 0.0) for fold in self.card.folds]
        return np.array(by_fold)[self.folds]


def open_held_out_tiles(
    run: Path, *, tiles: Path | None = None, evaluation: Path | None = None
) -> HeldOutTiles:
    """Find the tiles that a run held out, or another cohort's, and their predictions.

    Args:
        run: A folder of `eosin train`.
        tiles: Where the tiles lie now; None takes them from where they were scored or
            trained on.
        evaluation: A folder of `eosin evaluate`; None takes `evaluation` in the run
            folder, and goes without predictions where there is none.

    Raises:
        ModelError: `run` holds no finished tile classifier, or another one was scored.
        ManifestError: The tiles are gone or are others, no tile was held out, or
            `evaluation` has no predictions.
    """
    model = read_run(run)
    if model.card.learner != "tiles":
        raise ModelError(
            f"{model.path}: interpret takes tile classifiers, and this run holds bag "
            "models; 'eosin predict' shows what those attend to (attention.html)"
        )
    place = model.path / "evaluation" if evaluation is None else Path(evaluation)
    predictions = place / _PREDICTIONS
    is_scored = predictions.exists()
    if not is_scored and evaluation is not None:
        raise ManifestError(
            f"{place}: has no {_PREDICTIONS}; name a folder of 'eosin evaluate'"
        )
    record = read_record(place)
    if is_scored and record["inputs"].get("model") != model.sha256:
        raise ModelError(
            f"{place}: was scored by another model than {model.path} holds now; run "
            f"'eosin evaluate {model.path}' again"
        )
    scored_on = record["settings"].get("on") if is_scored else None
    folder = open_tile_folder(tiles or _find_tiles(model, scored_on))
    inputs = {"model": model.sha256, "tiles.parquet": folder.sha256}
    rows, probabilities = np.arange(len(folder.tiles)), None
    is_external = folder.sha256 != model.card.training_data.get("tiles_sha256")
    if is_scored:
        if record["inputs"].get("tiles.parquet") != folder.sha256:
            raise ManifestError(
                f"{folder.path}: its tiles are not those that were scored in {place}; "
                "name the folder of those, or run 'eosin evaluate' again"
            )
        inputs[_PREDICTIONS] = hash_file(predictions)
        rows, table = _find_predictions(model, folder, predictions)
        probabilities = model.card.target.take(table)
        is_external = bool((table["split"] == "external").any())
    folds = np.full(len(rows), EVERY_FOLD, np.int64)
    if not is_external:
        folds = _find_folds(model, folder.tiles["slide_id"].iloc[rows])
    is_held_out = folds >= EVERY_FOLD
    if not is_held_out.any():
        raise ManifestError(
            f"{folder.path}: holds no tile that {model.path} held out; name tiles of "
            "another cohort, behind the run"
        )
    if probabilities is not None:
        probabilities = probabilities[is_held_out]
    return HeldOutTiles(
        model, folder, rows[is_held_out], folds[is_held_out], probabilities, inputs
    )


def _find_tiles(run: Run, on: str | None) -> Path:
    """Find the tiles that were scored, or else trained on, where they were."""
    path = Path(on or run.notes["tiles"])
    if not path.exists():
        raise ManifestError(
            f"{run.path}: its tiles are no longer in {path}; name the folder that they "
            "are in now, behind the run"
        )
    return path


def _find_predictions(
    run: Run, folder: TileFolder, path: Path
) -> tuple[Rows, pd.DataFrame]:
    """Find the tiles with held-out predictions, and these in the tiles' order."""
    table, target = read_predictions(path)
    if target != run.card.target:
        raise ModelError(
            f"{path}: is of the classes {', '.join(target.class_names)}, the model of "
            f"{', '.join(run.card.class_names)}"
        )
    table = select_level(table, "tile")
    table = table[table["split"].isin(_HELD_OUT)]
    place = pd.Series(range(len(table)), index=table["id"].astype(str))
    places = place.reindex(folder.tiles["tile_id"].astype(str)).to_numpy(np.float64)
    rows = np.flatnonzero(np.isfinite(places))
    return rows, table.iloc[places[rows].astype(np.int64)]


def _find_folds(run: Run, slide_ids: pd.Series) -> Rows:
    """Find the fold that held each slide out; below `EVERY_FOLD` where none did."""
    splits = run.splits
    test = splits[splits["split"] == "test"].drop_duplicates("slide_id")
    fold_of = test.set_index("slide_id")["fold"]
    folds = slide_ids.astype(str).map(fold_of).fillna(EVERY_FOLD - 1)
    return folds.to_numpy(np.int64)
