"""The sides of a limit study: whose tiles train, validate and test, and their bags."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import (
    Bag,
    DrawnFeatures,
    draw_bags,
    find_witnesses,
    read_tile_features,
)
from eosin.core import ManifestError
from eosin.settings import BagDraw, LimitSettings
from eosin.studies.splits import split_tiles
from eosin.tiles import TileFolder

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

SIDES = ("train", "val", "test")
_COUNTED = [
    *("fold", "side", "patients", "patients_with_witnesses", "slides"),
    *("witness_tiles", "other_tiles"),
]
# A share of a side's seeds, so that no two draws are the same.
_SEEDS = {"train": 1, "val": 2, "test": 3, "resample": 4}


@dataclass(frozen=True, eq=False)
class StudyTiles:
    """The labelled tiles of a study with their features.

    Attributes:
        table: `tile_id, slide_id, patient_id, x_px0, y_px0`, and what else the tile
            table holds.
        is_witness: `(tiles,)`.
        features: `(tiles, features)`.
        splits: `fold, slide_id, patient_id, label, split` of every slide.
        class_names: The negative class, then the positive one.
        knows_patients: Whether a patient is more than a slide.
        sha256: Hash of the features and of which tile is a witness.
    """

    table: pd.DataFrame
    is_witness: npt.NDArray[np.bool_]
    features: Floats
    splits: pd.DataFrame
    class_names: tuple[str, str]
    knows_patients: bool
    sha256: str

    def find_rows(self, fold: int, side: str) -> Rows:
        """Find the tiles of a side."""
        is_own = (self.splits["fold"] == fold) & (self.splits["split"] == side)
        slides = set(self.splits.loc[is_own, "slide_id"])
        return np.flatnonzero(self.table["slide_id"].isin(slides))

    def count_sources(self) -> pd.DataFrame:
        """Count what each side of each fold draws from, a row each."""
        counts = []
        for fold in sorted(self.splits["fold"].unique().tolist()):
            for side in SIDES:
                rows = self.find_rows(fold, side)
                tiles, is_witness = self.table.iloc[rows], self.is_witness[rows]
                patients = tiles["patient_id"].nunique()
                positive = tiles.loc[is_witness, "patient_id"].nunique()
                slides = tiles["slide_id"].nunique()
                n_tiles = is_witness.sum(), (~is_witness).sum()
                counts.append((fold, side, patients, positive, slides, *n_tiles))
        return pd.DataFrame(counts, columns=_COUNTED)


def read_study_tiles(
    features: Path, folder: TileFolder, config: LimitSettings
) -> StudyTiles:
    """Read labelled tiles and their features, and share the patients out."""
    tiles = folder.tiles[folder.tiles["label"].notna()]
    chosen = find_witnesses(
        tiles["label"].to_numpy(np.int64), folder.info.class_names, config.witness_class
    )
    names = chosen.class_names
    tiles = tiles[chosen.is_kept].reset_index(drop=True)
    is_witness = chosen.is_witness[chosen.is_kept]
    if is_witness.all() or not is_witness.any():
        raise ManifestError(
            f"{folder.path}: tiles of {names[0]} and of {names[1]} are needed, got "
            f"{int((~is_witness).sum()):,} and {int(is_witness.sum()):,}; label them "
            "by annotations"
        )
    values = read_tile_features(features, tiles, np.arange(len(tiles)), folder=folder)
    has_tiles = folder.slides["slide_id"].isin(set(tiles["slide_id"]))
    digest = hashlib.sha256(values.tobytes())
    digest.update(is_witness.tobytes())
    return StudyTiles(
        table=tiles,
        is_witness=is_witness,
        features=values,
        splits=split_tiles(replace(folder, slides=folder.slides[has_tiles]), config),
        class_names=names,
        knows_patients=folder.knows_patients,
        sha256=digest.hexdigest(),
    )


class FoldBags:
    """The bags of one fold, drawn by number from features in memory.

    Features are reduced to the main components of the training side's, turned at
    random: scaling by deviation, which comes later, would blow up the weakest of the
    components as they are.
    """

    def __init__(self, tiles: StudyTiles, fold: int, config: LimitSettings) -> None:
        self.fold = fold
        self._tiles, self._config = tiles, config
        self._rows = {side: tiles.find_rows(fold, side) for side in SIDES}
        self.features = reduce_features(
            tiles.features, self._rows["train"], config.components, seed=config.seed
        )

    def list_instances(self, side: str) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """Return the tiles of a side and which of them are witnesses."""
        rows = self._rows[side]
        return rows, self._tiles.is_witness[rows]

    def draw(
        self, side: str, n_bags: int, witnesses: Sequence[int], *, seed: int = 0
    ) -> list[Bag]:
        """Draw bags of a side, positive and negative in turn.

        Bag number i depends on the seed, the fold and on i, so that fewer bags are
        the beginning of more, and negative ones are the same whatever the witnesses.
        """
        rows, is_witness = self.list_instances(side)
        draw = BagDraw(
            n_bags=n_bags, size=self._config.bag_size, witnesses=tuple(witnesses)
        )
        table = draw_bags(
            self._tiles.table.iloc[rows],
            is_witness,
            draw,
            split=f"fold {self.fold}, {side}",
            seed=(self._config.seed, self.fold, _SEEDS[side], seed),
        )
        places = pd.Index(self._tiles.table["tile_id"]).get_indexer(table["tile_id"])
        return [
            self._make_bag(f"{side}-{i}", own)
            for i, own in enumerate(places.reshape(n_bags, -1).astype(np.int64))
        ]

    def draw_resampled(
        self, resample: int, n_bags: int, witnesses: Sequence[int]
    ) -> tuple[list[Bag], list[list[Bag]]]:
        """Draw test bags from the tiles of test patients drawn with replacement.

        Patients with witnesses and those without are drawn apart, so that both kinds
        stay as many; a patient drawn twice has its tiles twice. Where the drawn
        patients have fewer tiles than a bag takes, tiles are drawn with replacement.
        Gives negative bags, and positive ones for each number of witnesses.
        """
        rng = np.random.default_rng(
            (self._config.seed, self.fold, _SEEDS["resample"], resample)
        )
        others, own = self._resample_pools(rng)
        kinds = []
        for n in (0, *witnesses):
            bags = []
            for i in range(n_bags):
                rows = np.concatenate(
                    [
                        rng.choice(pool, k, replace=len(pool) < k)
                        for pool, k in ((others, self._config.bag_size - n), (own, n))
                    ]
                )
                name = f"resample-{resample}-{n}-{i}"
                bags.append(self._make_bag(name, rng.permutation(rows)))
            kinds.append(bags)
        return kinds[0], kinds[1:]

    def _resample_pools(self, rng: np.random.Generator) -> tuple[Rows, Rows]:
        rows, is_witness = self.list_instances("test")
        patients = self._tiles.table["patient_id"].astype(str).to_numpy()[rows]
        positive = np.unique(patients[is_witness])
        kinds = positive, np.setdiff1d(patients, positive)
        drawn = [rng.choice(names, len(names)) for names in kinds if len(names)]
        places = [np.flatnonzero(patients == name) for name in np.concatenate(drawn)]
        pool = np.concatenate(places)
        shown = is_witness[pool]
        # Of patients with nothing but witnesses there may be no other tile.
        others = rows[pool[~shown]] if (~shown).any() else rows[~is_witness]
        return others, rows[pool[shown]]

    def _make_bag(self, bag_id: str, rows: Rows) -> Bag:
        is_witness = self._tiles.is_witness[rows]
        return Bag(
            bag_id=bag_id,
            features=DrawnFeatures(self.features, rows),
            label=int(is_witness.any()),
            instance_labels=is_witness.astype(np.int64),
            slide_ids=tuple(self._tiles.table["slide_id"].iloc[rows].unique()),
        )


def reduce_features(
    features: Floats, train_rows: Rows, components: int | None, *, seed: int
) -> Floats:
    """Reduce features to the main components of the training tiles', turned at random.

    Each feature is centred and scaled by the training tiles' mean and deviation first.
    `(tiles, components)`, float32; without components, or with as many as there are,
    the features as they are.
    """
    if components is None or components >= features.shape[1]:
        return features
    train = features[train_rows].astype(np.float64)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation[deviation <= 1e-6 * np.maximum(np.abs(mean), 1.0)] = 1.0
    covariance = np.cov((train - mean) / deviation, rowvar=False)
    _, vectors = np.linalg.eigh(covariance)
    noise = np.random.default_rng(seed).normal(size=(components, components))
    turn, _ = np.linalg.qr(noise)
    basis = vectors[:, : -components - 1 : -1] @ turn
    reduced: Floats = (((features - mean) / deviation) @ basis).astype(np.float32)
    return reduced
