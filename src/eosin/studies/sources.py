"""What a training is given: tiles, features or drawn bags, and the learner of each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import BAG_TABLE, BagTableInfo, find_feature_files, read_bag_table
from eosin.cohorts import read_cohort
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
from eosin.runs.origin import find_tile_folder, hash_features, see_tiles
from eosin.runs.run import ENCODER_FILE, keep_encoder
from eosin.settings import BagTraining, PixelTraining, TileTraining
from eosin.studies.bag_learner import BagLearner
from eosin.studies.encoders import open_tile_encoder
from eosin.studies.folds import Learner
from eosin.studies.labelled_bags import check_features, label_encoded, read_labelled
from eosin.studies.splits import split_tiles
from eosin.studies.study import BagStudy, Study, study_bags, study_drawn
from eosin.studies.tile_encoder import encode_rows, list_readable
from eosin.studies.tile_learner import TileLearner
from eosin.tiles import TileFolder, open_tile_folder

TrainSettings = TileTraining | BagTraining | PixelTraining
Prepared = tuple[Study, Learner, Sees]

_TILES_PER_READ = 256


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """What is learnt from.

    Attributes:
        settings: How.
        inputs: Hash of what is read, by name.
        places: Where it lies, for `run.json`.
        prepare: From the run folder and a progress to the study, its learner, and what
            the models will see.
        folder: The tiles; None for features alone.
        drawn: What is the same for all drawn bags; None where bags were not drawn.
        is_made: Whether the slides were made.
    """

    settings: TrainSettings
    inputs: dict[str, str]
    places: dict[str, str]
    prepare: Callable[[Path, Progress], Prepared]
    folder: TileFolder | None = None
    drawn: BagTableInfo | None = None
    is_made: bool = False


def open_source(
    data: Path, cohort: Path | None, tiles: Path | None, settings: TrainSettings | None
) -> Source:
    """Find out what was given, and stop where the settings are of another kind.

    `data` is a tile folder, a folder of feature files (with their slide table,
    `cohort`), or one of drawn bags, whose `tiles` may have moved. Without settings the
    defaults of what was given are taken.
    """
    path = data / BAG_TABLE if data.is_dir() else data
    if path.is_file() and not _is_parquet(path):
        raise ManifestError(
            f"{path}: training takes folders of tiles, features or drawn bags, or a "
            f"bag table ({BAG_TABLE}), and this file is none; a slide table is tiled "
            "first ('eosin tile')"
        )
    if path.is_file():
        if cohort is not None:
            raise ConfigError(
                f"{path}: drawn bags have labels of their own; leave the slide table "
                f"{cohort} out (--cohort)"
            )
        return _open_bags(path, tiles, settings or BagTraining())
    if tiles is not None:
        raise ConfigError(
            f"{data}: holds no drawn bags, whose tiles alone are named beside them; "
            f"leave {tiles} out (--tiles)"
        )
    if cohort is not None:
        return _open_features(data, cohort, settings or BagTraining())
    if not (data / "tiles.parquet").exists() and _has_features(data):
        raise ConfigError(
            f"{data}: holds features; give the slide table with the slides' labels too "
            "(--cohort slides.csv)"
        )
    return _open_tiles(data, settings or TileTraining())


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _has_features(path: Path) -> bool:
    try:
        return bool(find_feature_files(path))
    except ManifestError:
        return False


def _open_tiles(data: Path, settings: TrainSettings) -> Source:
    folder = open_tile_folder(data)
    if isinstance(settings, PixelTraining):
        raise ConfigError(
            f"{data}: a model from pixels learns from drawn bags; draw them by 'eosin "
            "bags' and give their folder"
        )
    inputs = {"tiles.parquet": folder.sha256}
    if isinstance(settings, BagTraining):
        inputs["slides.csv"] = folder.hash_labels(*settings.columns)
        prepare = partial(_prepare_slides, folder, settings)
    else:
        prepare = partial(_prepare_tiles, folder, settings)
    return Source(
        settings=settings,
        inputs=inputs,
        places={"tiles": str(folder.path.resolve())},
        prepare=prepare,
        folder=folder,
        is_made=folder.is_made,
    )


def _open_features(data: Path, cohort: Path, settings: TrainSettings) -> Source:
    if not isinstance(settings, BagTraining):
        raise ConfigError(
            f"{data}: features train a bag model, whose settings are BagTraining; got "
            f"{type(settings).__name__}"
        )
    return Source(
        settings=settings,
        inputs={"cohort": hash_file(cohort), "features": hash_features(data)},
        places={"features": str(data.resolve())},
        prepare=partial(_prepare_features, data, cohort, settings),
        is_made=read_cohort(cohort, needs_files=False).is_made,
    )


def _open_bags(path: Path, tiles: Path | None, settings: TrainSettings) -> Source:
    table, info = read_bag_table(path)
    if isinstance(settings, TileTraining):
        raise ConfigError(
            f"{path}: drawn bags train a bag model, whose settings are BagTraining or "
            "PixelTraining; got TileTraining"
        )
    place = tiles or find_tile_folder(path.parent)
    if place is None:
        raise ManifestError(
            f"{path}: does not say which tiles its bags were drawn from; name their "
            "folder (--tiles)"
        )
    folder = open_tile_folder(place)
    info.require_drawn_from(folder.sha256, bags=path, tiles=folder.path)
    make_study = partial(study_drawn, table, info, where=str(path))
    rows = np.flatnonzero(folder.tiles["tile_id"].isin(set(table["tile_id"])))
    return Source(
        settings=settings,
        inputs={"bags": hash_file(path), "tiles": folder.sha256},
        places={"tiles": str(folder.path.resolve()), "bags": str(path.resolve())},
        prepare=partial(_prepare_drawn, folder, rows, make_study, settings),
        folder=folder,
        drawn=info,
        is_made=folder.is_made,
    )


def _prepare_tiles(
    folder: TileFolder, settings: TileTraining, out: Path, progress: Progress
) -> Prepared:
    study = Study(
        unit="tile",
        class_names=folder.info.class_names,
        splits=split_tiles(folder, settings),
        cautions=folder.info.cautions,
    )
    is_file = settings.weights not in ("imagenet", "none")
    licence = "as its file's owner states" if is_file else "own"
    if settings.weights == "imagenet":
        licence = find_encoder(settings.encoder).imagenet_licence or licence
    sees = replace(
        see_tiles(folder),
        encoder=settings.encoder,
        weights=Path(settings.weights).name if is_file else settings.weights,
        licence=licence,
    )
    return study, TileLearner(folder, study, settings, out, progress), sees


def _prepare_features(
    features: Path, cohort: Path, settings: BagTraining, out: Path, progress: Progress
) -> Prepared:
    labelled = read_labelled(features, cohort, settings)
    study = study_bags(labelled, settings, where=str(cohort))
    if (features / ENCODER_FILE).is_file():
        keep_encoder(features / ENCODER_FILE, out)
    return _prepare_bags(study, settings, labelled.sees, out, progress)


def _prepare_slides(
    folder: TileFolder, settings: BagTraining, out: Path, progress: Progress
) -> Prepared:
    rows = list_readable(folder)
    features, sees = _encode(folder, rows, settings, out, progress)
    labelled = label_encoded(folder, features, settings)
    study = study_bags(labelled, settings, where=str(folder.path))
    return _prepare_bags(study, settings, sees, out, progress)


def _prepare_drawn(
    folder: TileFolder,
    rows: npt.NDArray[np.int64],
    make_study: Callable[..., BagStudy],
    settings: BagTraining | PixelTraining,
    out: Path,
    progress: Progress,
) -> Prepared:
    if isinstance(settings, BagTraining):
        features, sees = _encode(folder, rows, settings, out, progress)
        study = make_study(folder.tiles["tile_id"].tolist(), features)
        return _prepare_bags(study, settings, sees, out, progress)
    tiles = folder.tiles.iloc[rows].reset_index(drop=True)
    pixels = _read_pixels(tiles, folder, out / "state" / "tiles.npy", progress)
    study = make_study(tiles["tile_id"].tolist(), pixels)
    weights = Path(settings.weights).name
    sees = replace(see_tiles(folder), encoder=settings.encoder, weights=weights)
    tile_px = folder.info.tile_px
    return study, BagLearner(study, settings, out, progress, tile_px=tile_px), sees


def _encode(
    folder: TileFolder,
    rows: npt.NDArray[np.int64],
    settings: BagTraining,
    out: Path,
    progress: Progress,
) -> tuple[npt.NDArray[np.float32], Sees]:
    """Encode tiles, and say what the encoder is and sees."""
    encoder = open_tile_encoder(
        folder,
        settings.encoder,
        weights=settings.weights,
        device=settings.device,
        place=out,
    )
    sees = replace(
        see_tiles(folder),
        encoder=encoder.name,
        weights=settings.weights,
        licence=encoder.licence,
        encoder_sha256=encoder.graph,
    )
    return encode_rows(folder, encoder, rows, progress=progress), sees


def _prepare_bags(
    study: BagStudy, settings: BagTraining, sees: Sees, out: Path, progress: Progress
) -> Prepared:
    cautions = (*study.cautions, *check_features(study.bags, progress))
    study = replace(study, cautions=cautions)
    sees = replace(sees, dimension=study.bags[0].n_features)
    return study, BagLearner(study, settings, out, progress), sees


def _read_pixels(
    tiles: pd.DataFrame, folder: TileFolder, path: Path, progress: Progress
) -> npt.NDArray[np.uint8]:
    """Read tiles, each once, into a file that all bags share, `(tiles, px * px * 3)`.

    Memory is bounded by a few hundred tiles; the file takes `px * px * 3` bytes for
    each tile, and one that is there is used as it is.
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
            every = np.arange(len(tiles))
            with progress.task("Reading tiles", len(tiles)) as task:
                for start in range(0, len(tiles), _TILES_PER_READ):
                    rows = every[start : start + _TILES_PER_READ]
                    kept[rows] = reader.read(rows).reshape(len(rows), -1)
                    task.advance(len(rows))
            kept.flush()
            del kept
    pixels: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return pixels
