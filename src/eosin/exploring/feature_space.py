"""Held-out tiles as an encoder sees them: clusters, and a map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import read_tile_features
from eosin.core import (
    Progress,
    SlideError,
    SlideFailure,
    hash_object,
    read_json,
    write_json,
)
from eosin.exploring.clusters import (
    Clustering,
    cluster_features,
    describe_clusters,
    measure_agreement,
    project_points,
    reduce_features,
)
from eosin.exploring.held_out_tiles import HeldOutTiles, Rows
from eosin.inference import Session, encode_tiles, open_session
from eosin.settings import InterpretSettings

# Fewer tiles are no clusters.
MIN_TILES = 10
_COMPARED_TILES = 4
_BLANK = 255
_UNREADABLE = "unreadable.json"


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Held-out tiles as an encoder sees them.

    Attributes:
        rows: Places among the held-out tiles of those that are in it, `(tiles,)`.
        places: On the map, `(tiles, 2)`; NaN where there is none.
        clusters: From `describe_clusters`.
        agreement: How far clusters follow classes, slides and other groups.
        source: What the features are of, in words.
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

    def list_tiles(self, held_out: HeldOutTiles) -> pd.DataFrame:
        """List its tiles with their cluster and place on the map."""
        columns = ["tile_id", "slide_id", "patient_id"]
        table = pd.concat([held_out.tiles[columns], held_out.names], axis=1)
        table = table.iloc[self.rows].reset_index(drop=True)
        return table.assign(
            confidence=held_out.confidence[self.rows].round(6),
            cluster=self.clustering.numbers + 1,
            distance=self.clustering.distances.round(6),
            map_x=self.places[:, 0].round(4),
            map_y=self.places[:, 1].round(4),
        )


def make_feature_space(
    held_out: HeldOutTiles,
    settings: InterpretSettings,
    state: Path,
    *,
    failures: list[SlideFailure],
    cautions: list[str],
    progress: Progress,
) -> FeatureSpace | None:
    """Encode held-out tiles, group them and lay them out; None with fewer than ten.

    Encoded tiles are kept in the folder `state` until all is done. Tiles that cannot
    be read are added to `failures`, what must be known to `cautions`.

    Raises:
        ManifestError: The features that were named are not of these tiles.
        MissingExtraError: umap-learn is asked for and not installed.
    """
    rows, seed = np.arange(len(held_out.rows)), settings.seed
    if settings.features is None:
        rows, session = _choose_encoder(held_out, cautions)
    is_sample = 0 < settings.sample < len(rows)
    if is_sample:
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(rows, settings.sample, replace=False))
    if settings.features is not None:
        place = Path(settings.features)
        folder = held_out.folder
        wanted = held_out.rows[rows]
        features = read_tile_features(place, folder.tiles, wanted, folder=folder)
        source = f"features of {place}"
    else:
        rows, features = _encode(held_out, rows, session, state, failures, progress)
        source = f"{held_out.card.sees.encoder} of {held_out.run.resolve().name}"
    if len(rows) < MIN_TILES:
        cautions.append(
            f"Clusters need {MIN_TILES} held-out tiles or more; there are {len(rows)}."
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
    tiles = pd.concat([held_out.tiles, held_out.names], axis=1).iloc[rows]
    groups = {"class": tiles["class_name"], **held_out.folder.group_tiles(tiles)}
    return FeatureSpace(
        rows,
        clustering,
        places,
        describe_clusters(clustering.numbers, tiles),
        {k: measure_agreement(clustering.numbers, own) for k, own in groups.items()},
        source,
        int(features.shape[1]),
        is_sample=is_sample,
    )


def _choose_encoder(
    held_out: HeldOutTiles, cautions: list[str]
) -> tuple[Rows, Session]:
    """Choose the model, and the tiles that it has not seen.

    Folds of a frozen encoder have the same features; of others, only the first
    fold's encoder is taken, and the tiles that it was not trained on.
    """
    sessions = [open_session(held_out.run / name) for name in held_out.card.models]
    px = held_out.folder.info.tile_px
    if held_out.is_external or are_alike(sessions, px):
        return np.arange(len(held_out.rows)), sessions[0]
    first = int(held_out.folds.min())
    rows = np.flatnonzero(held_out.folds == first)
    cautions.append(
        f"Every fold has trained an encoder of its own; the feature space is that "
        f"of fold {first}, of the {len(rows):,} tiles that it held out. Features of "
        "one encoder for all come from 'eosin embed' (--features)."
    )
    return rows, sessions[first]


def are_alike(sessions: Sequence[Session], tile_px: int) -> bool:
    """Tell whether all models give a tile the same features."""
    noise = np.random.default_rng(0).integers(
        0, 256, (_COMPARED_TILES, tile_px, tile_px, 3), dtype=np.uint8
    )
    first, *others = (session.run(noise)["features"] for session in sessions)
    return all(np.allclose(first, other, atol=1e-5) for other in others)


def _encode(
    held_out: HeldOutTiles,
    rows: Rows,
    session: Session,
    state: Path,
    failures: list[SlideFailure],
    progress: Progress,
) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Encode tiles, and leave out those that cannot be read.

    White is encoded in their place. Which they are is kept as well, so that an
    interrupted call knows them again.
    """
    tiles = held_out.tiles.iloc[rows].reset_index(drop=True)
    key = hash_object(
        [held_out.inputs["model"], list(tiles["tile_id"]), held_out.folder.sha256]
    )
    path = state / _UNREADABLE
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
            read, len(tiles), session, state, key=key, progress=progress
        )["features"][0]
    bad = sorted(map(int, errors))
    failures += [
        SlideFailure(str(tiles["tile_id"][place]), "interpret", errors[str(place)])
        for place in bad
    ]
    is_read = ~np.isin(np.arange(len(rows)), bad)
    return rows[is_read], np.asarray(encoded[is_read], np.float32)
