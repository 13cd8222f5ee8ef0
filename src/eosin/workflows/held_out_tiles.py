"""Tiles that a model did not train on, with what it says of them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ManifestError, ModelError, hash_file, read_json
from eosin.evaluation import (
    Threshold,
    call_classes,
    measure_confidence,
    probabilities_of,
    read_predictions,
    select_level,
)
from eosin.inference import ModelCard, hash_models, read_card
from eosin.workflows.tile_folder import TileFolder, open_tile_folder

Rows = npt.NDArray[np.int64]
# Of tiles of another cohort, which no fold has seen.
EVERY_FOLD = -1
_PREDICTIONS = "predictions.parquet"
_HELD_OUT = ("test", "external")


@dataclass(frozen=True, eq=False)
class HeldOutTiles:
    """Tiles of a folder that a run's model did not train on.

    Attributes:
        run: The run folder.
        card: Its card.
        folder: The tiles.
        rows: Rows of the held-out tiles in the folder's table, `(tiles,)`.
        folds: Model that held each one out; `EVERY_FOLD` of another cohort.
        probabilities: `(tiles, classes)`; None without predictions.
        inputs: Hash of what this was read from, by name.
    """

    run: Path
    card: ModelCard
    folder: TileFolder
    rows: Rows
    folds: Rows
    probabilities: npt.NDArray[np.float64] | None
    inputs: dict[str, str]

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
        return call_classes(self.probabilities, self._threshold)

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
        threshold = self._threshold
        if threshold is None:
            return None
        return float(np.broadcast_to(threshold, len(self.rows))[row])

    @property
    def _threshold(self) -> Threshold:
        """The threshold of each tile: that of the fold that held it out."""
        card = self.card
        if len(card.class_names) > 2:
            return None
        if self.is_external or not card.fold_choices:
            return card.tile_threshold
        by_fold = [float(chosen["tile_threshold"]) for chosen in card.fold_choices]
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
        ModelError: `run` holds no finished model, or another one was scored.
        ManifestError: The tiles are gone or are others, no tile was held out, or
            `evaluation` has no predictions.
    """
    run = Path(run)
    card = read_card(run)
    place = run / "evaluation" if evaluation is None else Path(evaluation)
    inputs = {"model": hash_models(run, card)}
    if not (place / _PREDICTIONS).exists():
        if evaluation is not None:
            raise ManifestError(
                f"{place}: has no {_PREDICTIONS}; name a folder of 'eosin evaluate'"
            )
        folder = _open_folder(run, tiles, None)
        inputs["tiles.parquet"] = folder.sha256
        is_other = folder.sha256 != card.training_data.get("tiles_sha256")
        folds = _find_folds(run, folder.tiles["slide_id"], is_external=is_other)
        return _choose(run, card, folder, folds, None, inputs)
    record = read_json(place / "run.json")
    if record["inputs"].get("model") != inputs["model"]:
        raise ModelError(
            f"{place}: was scored by another model than {run} holds now; run 'eosin "
            f"evaluate {run}' again"
        )
    folder = _open_folder(run, tiles, record["settings"].get("on"))
    if record["inputs"].get("tiles.parquet") != folder.sha256:
        raise ManifestError(
            f"{folder.path}: its tiles are not those that were scored in {place}; name "
            "the folder of those, or run 'eosin evaluate' again"
        )
    inputs["tiles.parquet"] = folder.sha256
    inputs[_PREDICTIONS] = hash_file(place / _PREDICTIONS)
    return _join(run, card, folder, place / _PREDICTIONS, inputs)


def _open_folder(run: Path, tiles: Path | None, on: str | None) -> TileFolder:
    if tiles is not None:
        return open_tile_folder(Path(tiles))
    path = Path(on or read_json(run / "run.json")["notes"]["tiles"])
    if not path.exists():
        raise ManifestError(
            f"{run}: its tiles are no longer in {path}; name the folder that they are "
            "in now, behind the run"
        )
    return open_tile_folder(path)


def _join(
    run: Path, card: ModelCard, folder: TileFolder, path: Path, inputs: dict[str, str]
) -> HeldOutTiles:
    """Bring predictions into the order of the tile table."""
    table, names = read_predictions(path)
    if tuple(names) != tuple(card.class_names):
        raise ModelError(
            f"{path}: is of the classes {', '.join(names)}, the model of "
            f"{', '.join(card.class_names)}"
        )
    table = select_level(table, "tile")
    table = table[table["split"].isin(_HELD_OUT)]
    place = pd.Series(range(len(table)), index=table["id"].astype(str))
    found = place.reindex(folder.tiles["tile_id"].astype(str)).to_numpy(np.float64)
    rows = np.flatnonzero(np.isfinite(found))
    own = table.iloc[found[rows].astype(np.int64)]
    folds = np.full(len(folder.tiles), EVERY_FOLD - 1, np.int64)
    folds[rows] = _find_folds(
        run, own["slide_id"], is_external=bool((own["split"] == "external").any())
    )
    probabilities = probabilities_of(own, card.class_names)
    return _choose(run, card, folder, folds, probabilities, inputs)


def _choose(
    run: Path,
    card: ModelCard,
    folder: TileFolder,
    folds: Rows,
    probabilities: npt.NDArray[np.float64] | None,
    inputs: dict[str, str],
) -> HeldOutTiles:
    """Keep the tiles that a fold held out, or that all did.

    Raises:
        ManifestError: There is none.
    """
    rows = np.flatnonzero(folds >= EVERY_FOLD)
    if not len(rows):
        raise ManifestError(
            f"{folder.path}: holds no tile that {run} held out; name tiles of another "
            "cohort, behind the run"
        )
    return HeldOutTiles(run, card, folder, rows, folds[rows], probabilities, inputs)


def _find_folds(run: Path, slide_ids: pd.Series, *, is_external: bool) -> Rows:
    """Find the fold that held each slide out; below `EVERY_FOLD` where none did."""
    if is_external:
        return np.full(len(slide_ids), EVERY_FOLD, np.int64)
    splits = pd.read_csv(run / "splits.csv", dtype={"slide_id": str})
    test = splits[splits["split"] == "test"].drop_duplicates("slide_id")
    fold_of = test.set_index("slide_id")["fold"]
    found = slide_ids.astype(str).map(fold_of).fillna(EVERY_FOLD - 1)
    return found.to_numpy(np.int64)
