"""Held-out tiles as an encoder sees them: clusters, and a map."""

from collections.abc import Sequence
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
from eosin.exploring.clusters import (
    cluster_features,
    describe_clusters,
    measure_agreement,
    project_points,
    reduce_features,
)
from eosin.exploring.held_out_tiles import HeldOutTiles, Rows
from eosin.exploring.interpretation import FeatureSpace
from eosin.exploring.tile_features import read_tile_features
from eosin.inference import Session, encode_tiles, open_session
from eosin.settings import InterpretSettings

# Fewer tiles are no clusters.
MIN_TILES = 10
_COMPARED_TILES = 4
_GROUPS = ("scanner", "site")
_BLANK = 255
_UNREADABLE = "unreadable.json"


class FeatureSpaceMaker:
    """Encodes held-out tiles, groups them and lays them out.

    Args:
        held_out: The tiles.
        settings: How.
        state: Folder in which encoded tiles are kept until all is done.
        failures: Tiles that cannot be read are added to it.
    """

    def __init__(
        self,
        held_out: HeldOutTiles,
        settings: InterpretSettings,
        state: Path,
        failures: list[SlideFailure],
    ) -> None:
        self._held_out, self._settings = held_out, settings
        self._state, self._failures = state, failures
        self.cautions: list[str] = []

    def make(self, progress: Progress) -> FeatureSpace | None:
        """Make the feature space; None with fewer than ten tiles.

        Raises:
            ManifestError: The features that were named are not of these tiles.
            MissingExtraError: umap-learn is asked for and not installed.
        """
        settings, held_out = self._settings, self._held_out
        seed = settings.seed
        rows = np.arange(len(held_out.rows))
        if settings.features is None:
            rows, session = self._choose_encoder(rows)
        is_sample = 0 < settings.sample < len(rows)
        if is_sample:
            rng = np.random.default_rng(seed)
            rows = np.sort(rng.choice(rows, settings.sample, replace=False))
        if settings.features is not None:
            place = Path(settings.features)
            table = held_out.folder.tiles
            features = read_tile_features(place, table, held_out.rows[rows])
            source = f"features of {place}"
        else:
            rows, features = self._encode(rows, session, progress)
            source = f"{held_out.card.sees.encoder} of {held_out.run.resolve().name}"
        if len(rows) < MIN_TILES:
            self.cautions.append(
                f"Clusters need {MIN_TILES} held-out tiles or more; there are "
                f"{len(rows)}."
            )
            return None
        points = reduce_features(features, seed=seed)
        with progress.task("Clustering", None):
            clustering = cluster_features(
                points,
                n_clusters=settings.clusters,
                most=settings.most_clusters,
                seed=seed,
            )
        with progress.task("Drawing the map", None):
            places = project_points(points, settings.map, seed=seed)
        owners = held_out.tiles[["slide_id", "patient_id"]]
        tiles = pd.concat([owners, held_out.names], axis=1).iloc[rows]
        return FeatureSpace(
            rows,
            clustering,
            places,
            describe_clusters(clustering.numbers, tiles),
            {
                name: measure_agreement(clustering.numbers, groups)
                for name, groups in self._find_groups(tiles).items()
            },
            source,
            int(features.shape[1]),
            is_sample=is_sample,
        )

    def _choose_encoder(self, rows: Rows) -> tuple[Rows, Session]:
        """Choose the model, and the tiles that it has not seen.

        Folds of a frozen encoder have the same features; of others, only the first
        fold's encoder is taken, and the tiles that it was not trained on.
        """
        held_out = self._held_out
        sessions = [open_session(held_out.run / name) for name in held_out.card.models]
        if held_out.is_external or self._are_alike(sessions):
            return rows, sessions[0]
        first = int(np.unique(held_out.folds)[0])
        own = rows[held_out.folds == first]
        self.cautions.append(
            f"Every fold has trained an encoder of its own; the feature space is that "
            f"of fold {first}, of the {len(own):,} tiles that it held out. Features of "
            "one encoder for all come from 'eosin embed' (--features)."
        )
        return own, sessions[first]

    def _are_alike(self, sessions: Sequence[Session]) -> bool:
        """Tell whether all models give a tile the same features."""
        px = self._held_out.folder.info.tile_px
        noise = np.random.default_rng(0).integers(
            0, 256, (_COMPARED_TILES, px, px, 3), dtype=np.uint8
        )
        found = [session.run(noise)["features"] for session in sessions]
        return all(np.allclose(found[0], other, atol=1e-5) for other in found[1:])

    def _encode(
        self, rows: Rows, session: Session, progress: Progress
    ) -> tuple[Rows, npt.NDArray[np.float32]]:
        """Encode tiles, and leave out those that cannot be read.

        White is encoded in their place. Which they are is kept as well, so that an
        interrupted call knows them again.
        """
        held_out = self._held_out
        tiles = held_out.tiles.iloc[rows].reset_index(drop=True)
        key = hash_object(
            [held_out.inputs["model"], list(tiles["tile_id"]), held_out.folder.sha256]
        )
        path = self._state / _UNREADABLE
        known = read_json(path) if path.exists() else {}
        errors: dict[str, str] = known["errors"] if known.get("key") == key else {}
        px = held_out.folder.info.tile_px
        with held_out.folder.open_reader(tiles) as reader:

            def read(places: Rows) -> npt.NDArray[np.uint8]:
                out = np.full((len(places), px, px, 3), _BLANK, np.uint8)
                found = reader.read_each(places)
                for place, target, tile in zip(places, out, found, strict=True):
                    if isinstance(tile, SlideError):
                        errors[str(place)] = str(tile)
                        write_json(path, {"key": key, "errors": errors})
                    else:
                        target[:] = tile.pixels
                return out

            encoded = encode_tiles(
                read, len(tiles), session, self._state, key=key, progress=progress
            )["features"][0]
        bad = sorted(map(int, errors))
        for place in bad:
            name = str(tiles["tile_id"].iloc[place])
            self._failures.append(SlideFailure(name, "interpret", errors[str(place)]))
        is_read = ~np.isin(np.arange(len(rows)), bad)
        return rows[is_read], np.asarray(encoded[is_read], np.float32)

    def _find_groups(self, tiles: pd.DataFrame) -> dict[str, pd.Series]:
        """Find by what tiles may be alike: class, scanner, site and slide."""
        folder = self._held_out.folder
        slides = folder.slides.drop_duplicates("slide_id").set_index("slide_id")
        groups = {"class": tiles["class_name"]}
        for name in _GROUPS:
            if name in slides:
                groups[name] = tiles["slide_id"].map(slides[name])
        if folder.info.grouping != "estimated":
            groups["slide"] = tiles["slide_id"]
        return groups
