"""Held-out tiles as an encoder sees them: clusters, and a map."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import (
    Progress,
    SlideError,
    SlideFailure,
    hash_object,
    read_json,
    write_json,
)
from eosin.evaluation import (
    MapMethod,
    cluster_features,
    describe_clusters,
    measure_agreement,
    project_points,
    reduce_features,
)
from eosin.inference import Session, encode_tiles, open_session
from eosin.tiles import TileReader
from eosin.workflows.held_out_tiles import HeldOutTiles
from eosin.workflows.interpretation import FeatureSpace, Rows
from eosin.workflows.tile_features import read_tile_features

# Fewer tiles are no clusters.
MIN_TILES = 10
_COMPARED_TILES = 4
_GROUPS = ("scanner", "site")
_BLANK = 255
_UNREADABLE = "unreadable.json"


@dataclass(frozen=True, kw_only=True)
class SpaceOptions:
    """How the feature space is made.

    Attributes:
        features: A folder of `eosin embed` or a NumPy file; None takes the run's own
            encoder.
        sample: Tiles in it at most; 0 for all.
        clusters: How many; None chooses by the silhouette.
        most_clusters: The largest number that is tried.
        method: How the map is made.
        seed: Of everything random.
    """

    features: str | None
    sample: int
    clusters: int | None
    most_clusters: int
    method: MapMethod
    seed: int


class FeatureSpaceMaker:
    """Encodes held-out tiles, groups them and lays them out.

    Args:
        held_out: The tiles.
        options: How.
        state: Folder in which encoded tiles are kept until all is done.
        failures: Tiles that cannot be read are added to it.
    """

    def __init__(
        self,
        held_out: HeldOutTiles,
        options: SpaceOptions,
        state: Path,
        failures: list[SlideFailure],
    ) -> None:
        self._held_out, self._options = held_out, options
        self._state, self._failures = state, failures
        self.cautions: list[str] = []

    def make(self, progress: Progress) -> FeatureSpace | None:
        """Make the feature space; None with fewer than ten tiles.

        Raises:
            ManifestError: The features that were named are not of these tiles.
            MissingExtraError: umap-learn is asked for and not installed.
        """
        options, held_out = self._options, self._held_out
        rows = np.arange(len(held_out.rows))
        if options.features is None:
            rows, sessions = self._choose_encoder(rows)
        is_sample = 0 < options.sample < len(rows)
        if is_sample:
            rng = np.random.default_rng(options.seed)
            rows = np.sort(rng.choice(rows, options.sample, replace=False))
        if options.features is not None:
            place = Path(options.features)
            table = held_out.folder.tiles
            features = read_tile_features(place, table, held_out.rows[rows])
            source = f"features of {place}"
        else:
            rows, features = self._encode(rows, sessions, progress)
            source = f"{held_out.card.encoder} of {held_out.run.resolve().name}"
        if len(rows) < MIN_TILES:
            self.cautions.append(
                f"Clusters need {MIN_TILES} held-out tiles or more; there are "
                f"{len(rows)}."
            )
            return None
        points = reduce_features(features, seed=options.seed)
        with progress.task("Clustering", None):
            clustering = cluster_features(
                points,
                n_clusters=options.clusters,
                most=options.most_clusters,
                seed=options.seed,
            )
        with progress.task("Drawing the map", None):
            places = project_points(points, options.method, seed=options.seed)
        numbers = clustering.numbers
        return FeatureSpace(
            rows,
            clustering,
            places,
            describe_clusters(numbers, self._describe(rows)),
            {
                name: measure_agreement(numbers, groups)
                for name, groups in self._find_groups(rows).items()
            },
            source,
            int(features.shape[1]),
            is_sample=is_sample,
        )

    def _choose_encoder(self, rows: Rows) -> tuple[Rows, list[Session]]:
        """Choose the model, and the tiles that it has not seen.

        Folds of a frozen encoder have the same features; of others, only the first
        fold's encoder is taken, and the tiles that it was not trained on.
        """
        held_out = self._held_out
        sessions = [open_session(held_out.run / name) for name in held_out.card.models]
        if held_out.is_external or self._are_alike(sessions):
            return rows, sessions[:1]
        first = int(np.unique(held_out.folds)[0])
        own = rows[held_out.folds == first]
        self.cautions.append(
            f"Every fold has trained an encoder of its own; the feature space is that "
            f"of fold {first}, of the {len(own):,} tiles that it held out. Features of "
            "one encoder for all come from 'eosin embed' (--features)."
        )
        return own, [sessions[first]]

    def _are_alike(self, sessions: Sequence[Session]) -> bool:
        """Tell whether all models give a tile the same features."""
        if len(sessions) == 1:
            return True
        px = self._held_out.card.tile_px
        noise = np.random.default_rng(0).integers(
            0, 256, (_COMPARED_TILES, px, px, 3), dtype=np.uint8
        )
        found = [session.run(noise)["features"] for session in sessions]
        return all(np.allclose(found[0], other, atol=1e-5) for other in found[1:])

    def _encode(
        self, rows: Rows, sessions: Sequence[Session], progress: Progress
    ) -> tuple[Rows, npt.NDArray[np.float32]]:
        """Encode tiles, and leave out those that cannot be read."""
        held_out = self._held_out
        tiles = held_out.tiles.iloc[rows].reset_index(drop=True)
        key = hash_object(
            [held_out.inputs["model"], list(tiles["tile_id"]), held_out.folder.sha256]
        )
        with held_out.folder.open_reader(tiles) as reader:
            skipping = _SkippingReader(
                reader, held_out.folder.info.tile_px, self._state / _UNREADABLE, key
            )
            found = encode_tiles(
                skipping.read,
                len(tiles),
                sessions[0],
                self._state,
                key=key,
                progress=progress,
            )["features"][0]
        names = tiles["tile_id"].astype(str).to_numpy(object)
        for row, message in sorted(skipping.errors.items()):
            self._failures.append(SlideFailure(names[row], "interpret", message))
        is_read = ~np.isin(np.arange(len(rows)), list(skipping.errors))
        return rows[is_read], np.asarray(found[is_read], np.float32)

    def _describe(self, rows: Rows) -> pd.DataFrame:
        held_out = self._held_out
        columns = held_out.tiles[["slide_id", "patient_id"]]
        return pd.concat([columns, held_out.names], axis=1).iloc[rows]

    def _find_groups(self, rows: Rows) -> dict[str, pd.Series]:
        """Find by what tiles may be alike: class, scanner, site and slide."""
        held_out = self._held_out
        slides = held_out.folder.slides.drop_duplicates("slide_id")
        slides = slides.set_index("slide_id")
        own = held_out.tiles["slide_id"].iloc[rows]
        found = {"class": held_out.names["class_name"].iloc[rows]}
        for name in _GROUPS:
            if name in slides:
                found[name] = own.map(slides[name])
        if held_out.folder.info.grouping != "estimated":
            found["slide"] = own
        return found


class _SkippingReader:
    """Reads white for tiles that cannot be read, and remembers which they were.

    What an interrupted call has found of the same tiles is known again.
    """

    def __init__(self, reader: TileReader, tile_px: int, path: Path, key: str) -> None:
        self._reader, self._tile_px = reader, tile_px
        self._path, self._key = path, key
        self.errors: dict[int, str] = {}
        known = read_json(path) if path.exists() else {}
        if known.get("key") == key:
            self.errors = {int(row): text for row, text in known["errors"].items()}

    def read(self, rows: Rows) -> npt.NDArray[np.uint8]:
        try:
            return self._reader.read(rows)
        except SlideError:
            return np.stack([self._read_one(int(row)) for row in rows])

    def _read_one(self, row: int) -> npt.NDArray[np.uint8]:
        try:
            return np.asarray(self._reader.read(np.array([row]))[0])
        except SlideError as error:
            self.errors[row] = str(error)
            write_json(self._path, {"key": self._key, "errors": self.errors})
            return np.full((self._tile_px, self._tile_px, 3), _BLANK, np.uint8)
