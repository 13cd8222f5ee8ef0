"""From tiles to features: one HDF5 file per slide."""

import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import FeatureInfo, read_key, write_features
from eosin.core import (
    ConfigError,
    EosinError,
    ManifestError,
    ModelError,
    Progress,
    SlideFailure,
    Task,
    hash_file,
    hash_object,
    open_run,
    to_file_name,
)
from eosin.inference import (
    Session,
    find_views,
    iter_read_ahead,
    open_session,
    read_card,
)
from eosin.tiles import apply_view
from eosin.workflows.tile_folder import TileFolder, open_tile_folder

_OUTPUTS = ("*.h5", "encoder.onnx", "run.json")
_ENCODER_FILE = "encoder.onnx"


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """How tiles become features.

    Attributes:
        encoder: An encoder's name, or the folder of a run of `eosin train`, whose
            own encoder is taken, fine-tuned as it is.
        weights: `imagenet`, `none` or a file; a run has its own.
        views: Turns and flips whose features are averaged: 1, 2, 4 or 8.
        batch: Tiles per call of the model.
        device: Where the model runs.
    """

    encoder: str = "densenet121"
    weights: str = "imagenet"
    views: Literal[1, 2, 4, 8] = 1
    batch: int = 32
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be 1 or more, got {self.batch}")


@dataclass(frozen=True)
class EmbedResult:
    """What `embed_tiles` made.

    Attributes:
        folder: Where it lies.
        n_slides: Slides with features.
        n_tiles: Tiles that were encoded by this call.
        dimension: Numbers per tile.
        failures: Slides that were given up on.
    """

    folder: Path
    n_slides: int
    n_tiles: int
    dimension: int
    failures: tuple[SlideFailure, ...]


def embed_tiles(
    tiles: Path,
    config: EmbedConfig,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EmbedResult:
    """Encode the tiles of every slide.

    Writes `<slide_id>.h5` (see `eosin.bags.write_features`) and `run.json`. Of a
    patch data set, whose patches belong to no slide, one file `patches.h5`. A second
    call encodes only slides that are new or were changed.

    Args:
        tiles: A folder of `eosin tile` or `eosin import`.
        config: How to encode.
        out: The folder to write to.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ManifestError: `tiles` is no such folder.
        ModelError: The encoder is not known, or takes other tiles.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    folder = open_tile_folder(tiles)
    out = Path(out)
    with open_run(
        out, "embed", settings=asdict(config), overwrite=overwrite, outputs=_OUTPUTS
    ) as record:
        record.notes["tiles"] = str(folder.path.resolve())
        model = _export_encoder(folder, config, out)
        model_hash = hash_file(model)
        session = open_session(model, device=config.device)
        groups = _group_tiles(folder)
        keys = {
            name: hash_object(
                {"model": model_hash, "views": config.views, "rows": rows}
            )
            for name, rows in (
                (name, _describe_rows(folder, part)) for name, part in groups.items()
            )
        }
        todo = {
            name: part
            for name, part in groups.items()
            if read_key(_find_file(out, name)) != keys[name]
        }
        if todo:
            record.reopen()
        total = sum(len(part) for part in todo.values())
        with progress.task("Encoding tiles", total) as task:
            for name, part in todo.items():
                try:
                    encoder = _Encoder(folder, config, session, task)
                    encoder.write(name, part, _find_file(out, name), keys[name])
                except EosinError as error:
                    record.failures.append(SlideFailure(name, "embed", str(error)))
        return EmbedResult(
            out,
            len(groups) - len(record.failures),
            total,
            int(session.outputs["features"][0]),
            tuple(record.failures),
        )


def _export_encoder(folder: TileFolder, config: EmbedConfig, out: Path) -> Path:
    """Find the ONNX file of a run, or make the one of an encoder."""
    run = Path(config.encoder)
    if (run / "card.json").exists():
        card = read_card(run)
        if len(card.models) > 1:
            raise ModelError(
                f"{run}: holds an ensemble of {len(card.models)} folds, each with "
                "features of its own; name one of them, such as its fold_0, trained "
                "with --folds 1"
            )
        _require_same_tiles(run, folder, card.mpp, card.tile_px, card.context)
        return run / card.models[0]
    return _build_encoder(folder, config, out / _ENCODER_FILE)


def _build_encoder(folder: TileFolder, config: EmbedConfig, path: Path) -> Path:
    # Here, because Keras takes seconds, and a run's own model needs none of it.
    from eosin.models import (  # noqa: PLC0415
        build_classifier,
        build_encoder,
        build_stem,
        export_onnx,
    )

    encoder = build_encoder(
        config.encoder, tile_px=folder.info.tile_px, weights=config.weights, seed=0
    )
    classifier = build_classifier(encoder, n_classes=2, seed=0)
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        made = Path(place) / path.name
        export_onnx(build_stem(classifier, "head"), made)
        # An equal file keeps its hash, and with it what was encoded before.
        if not path.exists() or hash_file(path) != hash_file(made):
            made.replace(path)
    return path


def _require_same_tiles(
    run: Path, folder: TileFolder, mpp: float | None, tile_px: int, context: float
) -> None:
    info = folder.info
    problems = []
    if info.tile_px != tile_px:
        problems.append(f"{tile_px} px, the tiles have {info.tile_px}")
    if mpp and info.mpp and abs(info.mpp / mpp - 1) > 0.1:
        problems.append(f"{mpp:g} mpp, the tiles have {info.mpp:g}")
    if info.context != context:
        problems.append(f"context {context:g}, the tiles have {info.context:g}")
    if problems:
        raise ModelError(
            f"{folder.path}: the encoder of {run} was trained on tiles of "
            f"{'; '.join(problems)}; tile again as it needs them"
        )


def _group_tiles(folder: TileFolder) -> dict[str, pd.DataFrame]:
    if folder.has_patches:
        return {"patches": folder.tiles.reset_index(drop=True)}
    return {
        str(name): part.reset_index(drop=True)
        for name, part in folder.tiles.groupby("slide_id", sort=False)
    }


def _describe_rows(folder: TileFolder, part: pd.DataFrame) -> dict[str, object]:
    """What a slide's features depend on beside the model."""
    places = part[["tile_id", "x_px0", "y_px0", "size_px0"]]
    info = folder.info
    return {
        "tiles": hash_object(places.to_numpy().tolist()),
        "tile": [info.tile_px, info.mpp, info.context],
    }


def _find_file(out: Path, name: str) -> Path:
    return out / (to_file_name(name) + ".h5")


class _Encoder:
    """Encodes one slide's tiles, with reading ahead."""

    def __init__(
        self, folder: TileFolder, config: EmbedConfig, session: Session, task: Task
    ) -> None:
        self._folder, self._config = folder, config
        self._session, self._task = session, task

    def write(self, name: str, part: pd.DataFrame, path: Path, key: str) -> None:
        features = self._encode(part)
        info, slide = self._folder.info, self._find_slide(name)
        write_features(
            path,
            features,
            part[["x_px0", "y_px0"]].to_numpy(np.int64),
            FeatureInfo(
                slide_id=name,
                encoder=Path(self._config.encoder).name,
                tile_px=info.tile_px,
                mpp=info.mpp,
                size_px0=int(part["size_px0"].iloc[0]),
                overlap_px=info.overlap_px,
                slide_size_px0=_find_size(slide),
                slide_mpp=float(slide["mpp_used"]) if "mpp_used" in slide else None,
                key=key,
            ),
            tile_ids=part["tile_id"].tolist(),
        )

    def _find_slide(self, name: str) -> Mapping[Any, Any]:
        slides = self._folder.slides
        own = slides[slides["slide_id"].astype(str) == name]
        return {} if own.empty else own.iloc[0].to_dict()

    def _encode(self, part: pd.DataFrame) -> npt.NDArray[np.float32]:
        dimension = int(self._session.outputs["features"][0])
        features = np.empty((len(part), dimension), np.float32)
        views = find_views(self._config.views)
        with self._folder.open_reader(part) as reader:
            batches = iter_read_ahead(reader.read, range(len(part)), self._config.batch)
            with closing(batches):
                for rows, tiles in batches:
                    if len(tiles) != len(rows):
                        raise ManifestError("a tile is missing")
                    found = [
                        self._session.run(apply_view(tiles, view))["features"]
                        for view in views
                    ]
                    features[rows] = np.mean(found, axis=0)
                    self._task.advance(len(rows))
        return features


def _find_size(slide: Mapping[Any, Any]) -> tuple[int, int] | None:
    if "width_px0" not in slide:
        return None
    return int(slide["width_px0"]), int(slide["height_px0"])
