"""What a training is given: tiles, features or drawn bags, and the learner of each."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import BAG_TABLE, BagTableInfo, find_feature_files, read_bag_table
from eosin.core import (
    ConfigError,
    ManifestError,
    Progress,
    atomic_path,
    hash_file,
    require_free_space,
)
from eosin.models import find_encoder
from eosin.runs.card import Sees
from eosin.runs.origin import find_tile_folder, hash_features, see_features, see_tiles
from eosin.runs.run import ENCODER_FILE
from eosin.settings import BagTraining, PixelTraining, TileTraining
from eosin.studies.bag_learner import BagLearner, PixelLearner
from eosin.studies.encoders import encode_folder
from eosin.studies.folds import Learner
from eosin.studies.labelled_bags import check_features, label_encoded, read_labelled
from eosin.studies.study import Study, study_bags, study_drawn, study_tiles
from eosin.studies.tile_learner import TileLearner
from eosin.tiles import TileFolder, open_tile_folder

TrainSettings = TileTraining | BagTraining | PixelTraining

_TILES_PER_READ = 256


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """What is learnt from.

    Attributes:
        settings: How.
        inputs: Hash of what is read, by name.
        places: Where it lies, for `run.json`.
        folder: The tiles; None for features alone.
        features: The folder of feature files.
        cohort: The slide table of features.
        bags: The bag table and what is the same for all bags.
    """

    settings: TrainSettings
    inputs: dict[str, str]
    places: dict[str, str]
    folder: TileFolder | None = None
    features: Path | None = None
    cohort: Path | None = None
    bags: tuple[Path, pd.DataFrame, BagTableInfo] | None = None


def open_source(
    data: Path, cohort: Path | None, tiles: Path | None, settings: TrainSettings | None
) -> Source:
    """Find out what was given, and stop where the settings are of another kind.

    Args:
        data: A tile folder, a folder of feature files, or one of drawn bags.
        cohort: The slide table, with features.
        tiles: The tile folder that bags were drawn from, if it has moved.
        settings: How to train; None takes the defaults of what was given.

    Raises:
        ManifestError: It is none of these, or its parts do not fit together.
        ConfigError: The settings are of another kind of model.
    """
    path = data / BAG_TABLE if data.is_dir() else data
    if path.is_file():
        if cohort is not None:
            raise ConfigError(
                f"{path}: drawn bags have labels of their own; leave the slide table "
                f"{cohort} out (--cohort)"
            )
        return _open_bags(path, tiles, settings or BagTraining())
    if cohort is not None:
        if settings is not None and not isinstance(settings, BagTraining):
            raise ConfigError(
                f"{data}: features train a bag model, whose settings are BagTraining; "
                f"got {type(settings).__name__}"
            )
        return Source(
            settings=settings or BagTraining(),
            inputs={"cohort": hash_file(cohort), "features": hash_features(data)},
            places={"features": str(data.resolve())},
            features=data,
            cohort=cohort,
        )
    if not (data / "tiles.parquet").exists() and _has_features(data):
        raise ConfigError(
            f"{data}: holds features; give the slide table with the slides' labels too "
            "(--cohort slides.csv)"
        )
    folder = open_tile_folder(data)
    settings = settings or TileTraining()
    if isinstance(settings, PixelTraining):
        raise ConfigError(
            f"{data}: a model from pixels learns from drawn bags; draw them by 'eosin "
            "bags' and give their folder"
        )
    inputs = {"tiles.parquet": folder.sha256}
    if isinstance(settings, BagTraining):
        inputs["slides.csv"] = folder.hash_labels(*settings.columns)
    return Source(
        settings=settings,
        inputs=inputs,
        places={"tiles": str(folder.path.resolve())},
        folder=folder,
    )


def _open_bags(path: Path, tiles: Path | None, settings: TrainSettings) -> Source:
    if isinstance(settings, TileTraining):
        raise ConfigError(
            f"{path}: drawn bags train a bag model, whose settings are BagTraining or "
            "PixelTraining; got TileTraining"
        )
    table, info = read_bag_table(path)
    place = tiles or find_tile_folder(path.parent)
    if place is None:
        raise ManifestError(
            f"{path}: does not say which tiles its bags were drawn from; name their "
            "folder (--tiles)"
        )
    folder = open_tile_folder(place)
    info.require_drawn_from(folder.sha256, bags=path, tiles=folder.path)
    return Source(
        settings=settings,
        inputs={"bags": hash_file(path), "tiles": folder.sha256},
        places={"tiles": str(folder.path.resolve()), "bags": str(path.resolve())},
        folder=folder,
        bags=(path, table, info),
    )


def _has_features(path: Path) -> bool:
    try:
        return bool(find_feature_files(path))
    except ManifestError:
        return False


def prepare(
    source: Source, out: Path, progress: Progress
) -> tuple[Study, Learner, Sees]:
    """Make the study, its learner, and say what the models will see.

    Raises:
        CohortError: Patients cannot be split, or slides have no label.
        ManifestError: Data do not fit together, or say nothing.
        ModelError: An encoder's weights cannot be had.
    """
    settings = source.settings
    if isinstance(settings, TileTraining):
        return _prepare_tiles(source, settings, out, progress)
    if isinstance(settings, PixelTraining):
        return _prepare_pixels(source, settings, out, progress)
    return _prepare_bags(source, settings, out, progress)


def _prepare_tiles(
    source: Source, settings: TileTraining, out: Path, progress: Progress
) -> tuple[Study, Learner, Sees]:
    folder = _require_folder(source)
    study = study_tiles(folder, settings)
    spec = find_encoder(settings.encoder)
    is_file = settings.weights not in ("imagenet", "none")
    licence = spec.imagenet_licence if settings.weights == "imagenet" else None
    sees = replace(
        see_tiles(folder),
        encoder=settings.encoder,
        weights=Path(settings.weights).name if is_file else settings.weights,
        licence=licence or ("as its file's owner states" if is_file else "own"),
    )
    return study, TileLearner(folder, study, settings, out, progress), sees


def _prepare_bags(
    source: Source,
    settings: BagTraining,
    out: Path,
    progress: Progress,
) -> tuple[Study, Learner, Sees]:
    if source.features is not None and source.cohort is not None:
        labelled = read_labelled(source.features, source.cohort, settings)
        study = study_bags(labelled, settings, where=str(source.cohort))
        sees = see_features(next(iter(find_feature_files(source.features).values())))
        encoder = source.features / ENCODER_FILE
    else:
        folder = _require_folder(source)
        encoded = encode_folder(
            folder,
            settings.encoder,
            weights=settings.weights,
            device=settings.device,
            place=out,
            rows=_find_drawn_rows(source, folder),
            progress=progress,
        )
        encoder, sees = out / ENCODER_FILE, encoded.sees
        if source.bags is None:
            labelled = label_encoded(folder, encoded.features, settings)
            study = study_bags(labelled, settings, where=str(folder.path))
        else:
            path, table, info = source.bags
            study = study_drawn(
                table,
                info,
                folder.tiles["tile_id"].tolist(),
                encoded.features,
                where=str(path),
            )
    study = replace(
        study, cautions=(*study.cautions, *check_features(study.bags, progress))
    )
    sees = replace(sees, dimension=study.bags[0].n_features)
    if encoder.is_file() and encoder.parent != out:
        with atomic_path(out / ENCODER_FILE) as temporary:
            shutil.copyfile(encoder, temporary)
    return study, BagLearner(study, settings, out, progress), sees


def _find_drawn_rows(
    source: Source, folder: TileFolder
) -> npt.NDArray[np.int64] | None:
    """Find the rows of the tile table that bags were drawn from; None for all."""
    if source.bags is None:
        return None
    drawn = set(source.bags[1]["tile_id"])
    return np.flatnonzero(folder.tiles["tile_id"].isin(drawn))


def _prepare_pixels(
    source: Source, settings: PixelTraining, out: Path, progress: Progress
) -> tuple[Study, Learner, Sees]:
    folder = _require_folder(source)
    if source.bags is None:
        raise ConfigError("a model from pixels learns from drawn bags")
    path, table, info = source.bags
    drawn = folder.tiles[folder.tiles["tile_id"].isin(set(table["tile_id"]))]
    drawn = drawn.reset_index(drop=True)
    pixels = _read_pixels(drawn, folder, out / "state" / "tiles.npy", progress)
    study = study_drawn(table, info, drawn["tile_id"].tolist(), pixels, where=str(path))
    sees = replace(
        see_tiles(folder),
        encoder=settings.encoder,
        weights=Path(settings.weights).name,
    )
    learner = PixelLearner(study, settings, folder.info.tile_px, out, progress)
    return study, learner, sees


def _read_pixels(
    tiles: pd.DataFrame, folder: TileFolder, path: Path, progress: Progress
) -> npt.NDArray[np.uint8]:
    """Read tiles, each once, into a file that all bags share.

    Memory is bounded by a few hundred tiles; the file takes `px * px * 3` bytes for
    each tile, and one that is there is used as it is.

    Returns:
        `(tiles, px * px * 3)`, a map of the file.
    """
    shape = (len(tiles), 3 * folder.info.tile_px**2)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        require_free_space(
            path.parent, int(np.prod(shape)), f"a copy of {len(tiles):,} tiles"
        )
        with atomic_path(path) as temporary, folder.open_reader(tiles) as reader:
            kept = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.uint8, shape=shape
            )
            with progress.task("Reading tiles", len(tiles)) as task:
                for start in range(0, len(tiles), _TILES_PER_READ):
                    rows = np.arange(start, min(start + _TILES_PER_READ, len(tiles)))
                    kept[rows] = reader.read(rows).reshape(len(rows), -1)
                    task.advance(len(rows))
            kept.flush()
            del kept
    pixels: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return pixels


def _require_folder(source: Source) -> TileFolder:
    if source.folder is None:
        raise ManifestError("tiles are needed, and features were given")
    return source.folder
